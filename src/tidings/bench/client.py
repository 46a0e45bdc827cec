"""A client of the `providers` figure: something that sends messages to an emulator, ours or a foreign one."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec import Struct

from tidings.emulators.address import Address
from tidings.providers.contract import Message

Send = Callable[[Sequence[Message]], Awaitable[Sequence[str]]]
"""Send some messages; answers one sentence for each that was not taken."""


class Client(Struct, frozen=True):
    """A client that is ready. `messages` are taken in turn, `batch` a call of `send`, and `at_once` such calls.

    `close` ends its connections.
    """

    messages: Sequence[Message]
    send: Send
    at_once: int
    batch: int = 1
    close: Callable[[], Awaitable[None]] | None = None


class Place(Struct, frozen=True):
    """Where the emulators are, and a folder that goes away with the run."""

    address: Address
    folder: Path

    def roots_file(self) -> str:
        """The emulators' root certificate, for libraries that take one only from a file."""
        path = self.folder / f"roots-{os.getpid()}.pem"
        path.write_text(self.address.ca_pem)
        return str(path)


Opener = Callable[[Place], Awaitable[Client]]
