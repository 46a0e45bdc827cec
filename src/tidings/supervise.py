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
from collections.abc import Sequence
from pathlib import Path

import structlog
from prometheus_client import multiprocess

from tidings import metrics
from tidings.listening import listen
from tidings.operations import Operations
from tidings.settings import Settings

log = structlog.get_logger("tidings.supervise")

PROCESS = "TIDINGS_PROCESS"  # in the environment of a child: its number
RESTART_WAIT_S = (0.2, 1.0, 5.0, 15.0)  # a process that dies again and again must not eat the machine
STABLE_S = 60.0
GRACE_S = 40.0  # on top of the drain; longer than a process's own, so that it can finish by itself


async def supervise(settings: Settings, arguments: Sequence[str], processes: int, stopped: asyncio.Event) -> int:
    """Keep `processes` of `python -m tidings <arguments>` running until `stopped`; answers the exit status.

    Stopping: not ready any more; SIGTERM to all, then SIGKILL to those that are still there after the grace.
    """
    with tempfile.TemporaryDirectory(prefix="tidings-metrics-") as name:
        folder = Path(name)
        os.environ[metrics.MULTIPROCESS_DIR] = name
        operations = Operations(lambda: _states(folder, processes))
        await operations.start(listen(settings.host, settings.operations_port, "TIDINGS_OPERATIONS_PORT"))
        keepers = [
            asyncio.create_task(_keep(arguments, number, folder, settings.drain_s + GRACE_S))
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
    return 0 if stopped.is_set() else 1


def tell_ready() -> None:
    """Called by a child when it can do its work: the supervisor answers `/readyz` for all of them."""
    _ready_file(Path(os.environ[metrics.MULTIPROCESS_DIR]), int(os.environ[PROCESS])).touch()


def _ready_file(folder: Path, number: int) -> Path:
    return folder / f"ready-{number}"


async def _states(folder: Path, processes: int) -> dict[str, str]:
    numbers = range(processes)
    return {f"process_{number}": "ok" if _ready_file(folder, number).exists() else "down" for number in numbers}


async def _keep(arguments: Sequence[str], number: int, folder: Path, grace_s: float) -> None:
    failures = 0
    while True:
        begun = time.monotonic()
        environ = {**os.environ, PROCESS: str(number), metrics.MULTIPROCESS_DIR: str(folder)}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tidings", *arguments, env=environ)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process, grace_s)
            raise
        finally:
            _ready_file(folder, number).unlink(missing_ok=True)
            multiprocess.mark_process_dead(process.pid, str(folder))  # type: ignore[no-untyped-call]
        if code == 2:  # a setting is wrong: starting again would not mend it
            return
        failures = 0 if time.monotonic() - begun > STABLE_S else failures + 1
        wait_s = RESTART_WAIT_S[min(failures, len(RESTART_WAIT_S) - 1)]
        log.error("process_died", number=number, code=code, again_in_s=wait_s)
        await asyncio.sleep(wait_s)


async def _stop(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        process.kill()
        await process.wait()
