"""`python -m tidings.bench.sender <Sending as JSON>`: one client, ours or a foreign one, that sends to an emulator.

Each client has a process of its own, so that no library's threads, caches or imports touch another's figure.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from tidings.bench import foreign_clients, own_clients
from tidings.bench.child import allow_many_files, obey
from tidings.bench.client import Client, Place
from tidings.bench.commands import SendFor, Sending, SentFor
from tidings.emulators import address
from tidings.errors import SetupError
from tidings.providers.contract import Message


class Ready(Struct, frozen=True):
    """The client is open; `open_files`: how many it may have."""

    open_files: int


async def send_for(client: Client, command: SendFor) -> SentFor:
    """See `SendFor`. The clock stops when the last message that was begun is answered."""
    left: Iterator[Message] = cycle(client.messages)
    refusals: list[str] = []
    sent, batch = 0, client.batch
    began = time.monotonic()
    until = began + command.seconds

    async def one_after_the_other() -> None:
        nonlocal sent
        while time.monotonic() < until:
            some = (next(left),) if batch == 1 else tuple(islice(left, batch))
            refused = await client.send(some)
            if refused:
                refusals.extend(refused)
            sent += batch

    await asyncio.gather(*(one_after_the_other() for _ in range(client.at_once)))
    seconds = time.monotonic() - began
    return SentFor(sent, seconds, len(refusals), next(iter(refusals), "")[:300])


async def serve(how: Sending) -> None:
    """Obey until standard input closes."""
    open_files = allow_many_files()
    clients = {**own_clients.CLIENTS, **foreign_clients.CLIENTS}
    opener = clients.get((how.vendor, how.client))
    if opener is None:
        raise SetupError(f"there is no client {how.client} for {how.vendor}")
    file = Path(how.emulators)
    client = await opener(Place(address.read(file), file.parent))
    try:
        await obey(Ready(open_files), SendFor, lambda command: send_for(client, command))
    finally:
        if client.close is not None:
            await client.close()


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Sending)))
