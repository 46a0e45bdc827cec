"""`tidings` as people run it: a process of its own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from tests.conftest import environ

START_TIMEOUT_S = 90
COMMAND_TIMEOUT_S = 120


class Ended(Struct, frozen=True):
    """What a command answered."""

    code: int
    out: str
    err: str


async def run(*command: str, env: dict[str, str], cwd: Path | None = None) -> Ended:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **env},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def tidings(*arguments: str, env: dict[str, str]) -> Ended:
    """Run `tidings …` to its end."""
    return await run(sys.executable, "-m", "tidings", *arguments, env=env)


class Served(Struct, frozen=True):
    """A running service. `printed`: what it said at the start."""

    url: str
    printed: str


@asynccontextmanager
async def served(data_dir: Path, **more: str) -> AsyncIterator[Served]:
    """`tidings serve` on a data directory; it must end by itself, and well, when it is told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidings",
        "serve",
        env={**os.environ, **environ(data_dir, **more)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while "Send another" not in printed:
                line = await process.stdout.readline()
                assert line, printed
                printed += line.decode()
        rest = asyncio.create_task(process.stdout.read())  # so that it never waits for us to read
        found = re.search(r"http://127\.0\.0\.1:\d+(?=/api)", printed)
        assert found, printed
        yield Served(found[0], printed)
        process.terminate()
        said = (await asyncio.wait_for(rest, COMMAND_TIMEOUT_S)).decode()
        assert await asyncio.wait_for(process.wait(), COMMAND_TIMEOUT_S) == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
