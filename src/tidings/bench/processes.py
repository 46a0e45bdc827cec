"""The processes of a run: started, asked, and ended whatever happens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from tidings.bench.child import LONGEST_LINE
from tidings.bench.commands import Failed
from tidings.errors import SetupError, TidingsError
from tidings.settings import env_names

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LAST_TIMEOUT_S = 5.0

Hello = TypeVar("Hello")
Answer = TypeVar("Answer")


class BenchError(TidingsError):
    """A measurement could not be made. The text says which and why."""


class Child:
    """A process that obeys commands, one at a time."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._busy = asyncio.Lock()

    async def hello(self, kind: type[Hello]) -> Hello:
        """What it says when it is ready. Raises `BenchError` when it never is."""
        return msgspec.json.decode(await self._line(START_TIMEOUT_S, "start"), type=kind)

    async def ask(self, command: msgspec.Struct, kind: type[Answer], timeout_s: float) -> Answer:
        """Carry out one command. Raises `BenchError` when it fails or takes longer than `timeout_s`."""
        writer = self._process.stdin
        assert writer is not None
        async with self._busy:
            writer.write(msgspec.json.encode(command) + b"\n")
            line = await self._line(timeout_s, type(command).__name__)
        # The tags tell an answer from a failure.
        answer = msgspec.json.decode(line, type=kind | Failed)
        if isinstance(answer, Failed):
            raise BenchError(f"{self.name}: {type(command).__name__}: {answer.why}")
        return answer  # type: ignore[no-any-return]

    async def _line(self, timeout_s: float, what: str) -> bytes:
        reader = self._process.stdout
        assert reader is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await reader.readline()
        except TimeoutError:
            raise BenchError(f"{self.name}: no answer to {what} in {timeout_s:.0f} seconds") from None
        if not line:
            raise BenchError(f"{self.name} ended during {what}; its last words are above")
        return line

    async def stop(self) -> None:
        """Close its standard input, on which it ends by itself; then less and less gently. Twice is safe."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        for wait_s, signal in ((STOP_TIMEOUT_S, self._process.terminate), (LAST_TIMEOUT_S, self._process.kill)):
            try:
                async with asyncio.timeout(wait_s):
                    await self._process.wait()
                return
            except TimeoutError:
                signal()
        await self._process.wait()


@asynccontextmanager
async def child(
    name: str, module: str, arguments: Sequence[str] = (), keep: Collection[str] = ()
) -> AsyncIterator[Child]:
    """Run `python -m module` for as long as the block does. Of our settings it is told only those in `keep`."""
    known = {name for names in env_names().values() for name in names} - set(keep)
    environment = {name: value for name, value in os.environ.items() if name not in known}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for us; we end our children in order
        )
    except OSError as error:
        raise SetupError(f"{sys.executable} -m {module} can't be started: {error}") from error
    made = Child(name, process)
    try:
        yield made
    finally:
        await made.stop()
