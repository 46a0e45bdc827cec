"""The inside of a process of the bench: takes commands from standard input until that closes."""

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec

from tidings.bench.commands import Failed
from tidings.errors import TidingsError

LONGEST_LINE = 1 << 20
TROUBLES = (OSError, TimeoutError, TidingsError, msgspec.MsgspecError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def obey(hello: msgspec.Struct, commands: Any, carry_out: Callable[[Any], Awaitable[msgspec.Struct]]) -> None:
    """Say hello, then answer each command in turn. Returns when standard input closes.

    What goes wrong in a command is answered as `Failed`; the process goes on.
    """
    # Whatever prints by mistake must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    decoder = msgspec.json.Decoder(commands)
    answers.write(msgspec.json.encode(hello) + b"\n")
    while line := await reader.readline():
        try:
            answer = await carry_out(decoder.decode(line))
        except TROUBLES as error:
            answer = Failed(f"{type(error).__name__}: {error}")
        answers.write(msgspec.json.encode(answer) + b"\n")


def allow_many_files() -> int:
    """Raise the soft limit of open files to the hard one; answers it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
