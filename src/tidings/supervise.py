"""Several processes of one role on one machine: starts them, starts them again when they die, stops them together.

They share their listening port (`SO_REUSEPORT`) and their metrics. The supervisor itself does no work and holds no
connection; it answers the operations port for all of them.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import multiprocess

from tidings import metrics
from tidings.listening import listen
from tidings.operations import Operations
from tidings.settings import Settings

log = structlog.get_logger("tidings.supervise")

PROCESS = "TIDINGS_PROCESS"  # in the environment of a child: its number
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a restart, doubled each time: one that dies again and again must not
STABLE_S = 60.0  # eat the machine; one that lived so long begins anew
GRACE_S = 40.0  # on top of the drain; longer than a process's own, so that it can finish by itself
TELL_EVERY_S = 1.0
SILENT_S = 10.0  # a child that has not told its state for so long hangs

Check = Callable[[], Awaitable[dict[str, str]]]  # dependency → ok or what is wrong


class State(Struct, frozen=True):
    """What a child tells the supervisor, in a file of its own. `at`: `time.monotonic()`, one clock for the machine."""

    at: float
    dependencies: dict[str, str]


_DECODER = msgspec.json.Decoder(State)


async def supervise(settings: Settings, arguments: Sequence[str], processes: int, stopped: asyncio.Event) -> int:
    """Keep `processes` of `python -m tidings <arguments>` running until `stopped`; answers the exit status.

    Stopping: not ready any more; SIGTERM to all, then SIGKILL to those that are still there after the grace. Status 2,
    and the end of all: one says that a setting can't be used before any was ready.
    """
    with tempfile.TemporaryDirectory(prefix="tidings-metrics-") as name:
        folder = Path(name)
        os.environ[metrics.MULTIPROCESS_DIR] = name
        operations = Operations(lambda: _states(folder, processes))
        await operations.start(listen(settings.host, settings.operations_port, "TIDINGS_OPERATIONS_PORT"))
        begun = asyncio.Event()
        keepers = [
            asyncio.create_task(_keep(arguments, number, folder, settings.drain_s + GRACE_S, begun))
            for number in range(processes)
        ]
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait([waiting, *keepers], return_when=asyncio.FIRST_COMPLETED)
        operations.draining = True
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        waiting.cancel()
        await operations.close()
    return 0 if stopped.is_set() else 2


async def tell_state(check: Check) -> None:
    """Run by a child from when it can do its work until it ends: the supervisor answers `/readyz` for all of them."""
    folder, number = Path(os.environ[metrics.MULTIPROCESS_DIR]), int(os.environ[PROCESS])
    written = folder / f"new-{number}"
    while True:
        told = State(time.monotonic(), await check())
        try:
            written.write_bytes(msgspec.json.encode(told))
            written.replace(_state_file(folder, number))  # at once, so that nobody reads half of it
        except OSError as error:  # a full disk must not end a process that works; it counts as silent meanwhile
            log.warning("state_untold", error=str(error))
        await asyncio.sleep(TELL_EVERY_S)


def _state_file(folder: Path, number: int) -> Path:
    return folder / f"state-{number}"


def _any_state(folder: Path) -> bool:
    return any(folder.glob("state-*"))


async def _states(folder: Path, processes: int) -> dict[str, str]:
    """Each process: ok, down or silent; and what they need: ok, or what is wrong with it for one of them."""
    found = {}
    for number in range(processes):
        try:
            told = _DECODER.decode(_state_file(folder, number).read_bytes())
        except FileNotFoundError:
            found[f"process_{number}"] = "down"
            continue
        if time.monotonic() - told.at > SILENT_S:
            found[f"process_{number}"] = "silent"
            continue
        found[f"process_{number}"] = "ok"
        for name, state in told.dependencies.items():
            if found.get(name, "ok") == "ok":
                found[name] = state
    return found


async def _keep(arguments: Sequence[str], number: int, folder: Path, grace_s: float, begun: asyncio.Event) -> None:
    """Run one child again and again, until cancelled. `begun`: set once any child was ready.

    Returns when its settings can't be used. Later the same status means that a server was away when it came back; that
    passes, and its siblings work on.
    """
    wait_s = FIRST_WAIT_S
    while True:
        started = time.monotonic()
        code = await _run(arguments, number, folder, grace_s)
        if _any_state(folder):
            begun.set()
        _state_file(folder, number).unlink(missing_ok=True)
        if code == 2 and not begun.is_set():
            return
        wait_s = FIRST_WAIT_S if time.monotonic() - started > STABLE_S else wait_s
        log.error("process_died", number=number, code=code, again_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


async def _run(arguments: Sequence[str], number: int, folder: Path, grace_s: float) -> int | str:
    """Run one child to its end; its exit status, or why it could not be started."""
    environ = {**os.environ, PROCESS: str(number), metrics.MULTIPROCESS_DIR: str(folder)}
    try:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tidings", *arguments, env=environ)
    except OSError as error:  # no memory, or too many processes: that may pass
        return str(error)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _stop(process, grace_s)
        raise
    finally:
        multiprocess.mark_process_dead(process.pid, str(folder))  # type: ignore[no-untyped-call]


async def _stop(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        process.kill()
        await process.wait()
