"""The run: figure after figure, then the report."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tidings.bench import accept, bulk, deliver, distributed, lanes, latency, memory, providers, report, sockets
from tidings.bench.figures import FOLDER, Figure, Options
from tidings.bench.processes import BenchError
from tidings.embedded import others_may_enter
from tidings.errors import SetupError

Measures = Mapping[str, Callable[[Options], Awaitable[list[Figure]]]]

FIGURES: Measures = {
    "accept": accept.measure,
    "bulk": bulk.measure,
    "deliver": deliver.measure,
    "sockets": sockets.measure,
    "latency": latency.measure,
    "lanes": lanes.measure,
}
DISTRIBUTED: Measures = {
    "accept": distributed.measure_accept,
    "deliver": distributed.measure_deliver,
    "lanes": lanes.measure_distributed,
    "memory": memory.measure,
}
BY_NAME: Measures = {"providers": providers.measure}
"""Only measured when asked for: they say more about libraries than about this machine."""

MOST_SECONDS = 60.0
MOST_SCALE = 4.0
FIGURE_TIMEOUT_S = 1800.0
LONGEST_FOLDER = 40


def run(
    only: str = "",
    json: Path | None = None,
    seconds: float = 3.0,
    scale: float = 1.0,
    *,
    distributed: bool = False,
    folder: Path | None = None,
) -> int:
    """Measure, print the table, and write the JSON if wanted. Answers the exit status: 0, all was measured.

    A missed bar is marked in the table and in the JSON; it is not a failure, since the machine may be to blame.
    `only`: names separated by commas, empty for all but those of `BY_NAME`. `distributed`: of the figures over RabbitMQ
    and Redis. `folder`: where databases are made for the run, None: `FOLDER`.

    Raises `SetupError` for what can't be asked for, `BenchError` when a measurement fails. Twice at once is safe, and
    makes both worthless.
    """
    figures_of = DISTRIBUTED if distributed else {**FIGURES, **BY_NAME}
    names = chosen(only, figures_of)
    if not 0 < seconds <= MOST_SECONDS:
        raise SetupError(f"--seconds must be over 0 and at most {MOST_SECONDS:.0f}.")
    if not 0 < scale <= MOST_SCALE:
        raise SetupError(f"--scale must be over 0 and at most {MOST_SCALE:.0f}.")
    folder = (folder or FOLDER).absolute()
    machine = _machine(folder)
    console = Console(stderr=True)
    figures = asyncio.run(measure(names, Options(seconds, scale, folder=folder), console, figures_of))
    report.show(machine, figures, Console())
    if json is not None:
        json.write_bytes(report.encode(machine, figures))
    return 0


def _machine(folder: Path) -> report.Machine:
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        raise SetupError(f"--folder may have {LONGEST_FOLDER} characters: sockets are made in it.")
    try:
        machine = report.machine(folder)
    except OSError as error:
        raise SetupError(f"--folder: {folder} can't be written to: {error.strerror}. Name a folder that can.") from None
    if os.geteuid() == 0 and not others_may_enter(folder):
        raise SetupError(f"--folder: as root, the database runs as somebody else, who can't enter {folder}.")
    return machine


def chosen(only: str, figures_of: Measures = FIGURES) -> list[str]:
    """The names of the figures, in the order of the report. Raises `SetupError` for one that there is not."""
    asked = {name.strip() for name in only.split(",") if name.strip()}
    unknown = asked - figures_of.keys()
    if unknown:
        raise SetupError(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(figures_of)}.")
    return [name for name in figures_of if (name in asked if asked else name not in BY_NAME)]


async def measure(
    names: Sequence[str], options: Options, console: Console, figures_of: Measures = FIGURES
) -> list[Figure]:
    """One figure after the other, never two at once. SIGTERM ends it like Ctrl-C: what was started is stopped."""
    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    figures: list[Figure] = []
    try:
        for name in names:
            console.print(f"measuring {name} …", style="dim")
            async with asyncio.timeout(FIGURE_TIMEOUT_S):
                figures += await figures_of[name](options)
    except asyncio.CancelledError:
        raise BenchError("stopped before everything was measured") from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    return figures
