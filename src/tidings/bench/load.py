"""`python -m tidings.bench.load`: everybody who calls the service, in a process of their own."""

from collections.abc import Awaitable
from typing import assert_never

import msgspec
import uvloop
from msgspec import Struct

from tidings.bench import posts, probe, rows, trickle, vendor
from tidings.bench.child import allow_many_files, obey
from tidings.bench.commands import (
    Connect,
    Connected,
    Disconnect,
    Insert,
    Post,
    Probe,
    Push,
    Receive,
    Trickle,
)
from tidings.bench.readers import Readers

Command = Post | Insert | Push | Connect | Receive | Disconnect | Trickle | Probe


class Ready(Struct, frozen=True):
    """The load process is up; `open_files`: how many it may have."""

    open_files: int


async def serve() -> None:
    """Obey until standard input closes."""
    readers = Readers()

    def carry_out(command: Command) -> Awaitable[msgspec.Struct]:
        match command:
            case Post():
                return posts.post(command)
            case Insert():
                return rows.insert(command)
            case Push():
                return vendor.push(command)
            case Trickle():
                return trickle.trickle(command)
            case Probe():
                return probe.probe(command)
            case Connect():
                return readers.connect(command)
            case Receive():
                return readers.receive(command)
            case Disconnect():
                return _disconnect(readers)
            case _:
                assert_never(command)

    await obey(Ready(allow_many_files()), Command, carry_out)


async def _disconnect(readers: Readers) -> Connected:
    await readers.disconnect()
    return Connected(0)


if __name__ == "__main__":
    uvloop.run(serve())
