"""The run: figure after figure, then the report."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tidings.bench import accept, bulk, deliver, lanes, latency, report, sockets
from tidings.bench.figures import Figure, Options
from tidings.bench.processes import BenchError
from tidings.errors import SetupError

FIGURES: Mapping[str, Callable[[Options], Awaitable[list[Figure]]]] = {
    "accept": accept.measure,
    "bulk": bulk.measure,
    "deliver": deliver.measure,
    "sockets": sockets.measure,
    "latency": latency.measure,
    "lanes": lanes.measure,
}
MOST_SECONDS = 60.0
MOST_SCALE = 4.0
FIGURE_TIMEOUT_S = 1800.0


def run(only: str = "", json: Path | None = None, seconds: float = 3.0, scale: float = 1.0) -> int:
    """Measure, print the table, and write the JSON if wanted. Answers the exit status: 0, all was measured.

    A missed bar is marked in the table and in the JSON; it is not a failure, since the machine may be to blame.
    `only`: names separated by commas, empty for all. Raises `SetupError` for what can't be asked for, `BenchError`
    when a measurement fails. Twice at once is safe, and makes both worthless.
    """
    names = chosen(only)
    if not 0 < seconds <= MOST_SECONDS:
        raise SetupError(f"--seconds must be over 0 and at most {MOST_SECONDS:.0f}.")
    if not 0 < scale <= MOST_SCALE:
        raise SetupError(f"--scale must be over 0 and at most {MOST_SCALE:.0f}.")
    console = Console(stderr=True)
    figures = asyncio.run(measure(names, Options(seconds, scale), console))
    machine = report.machine()
    report.show(machine, figures, Console())
    if json is not None:
        json.write_bytes(report.encode(machine, figures))
    return 0


def chosen(only: str) -> list[str]:
    """The names of the figures, in the order of the report. Raises `SetupError` for one that there is not."""
    asked = {name.strip() for name in only.split(",") if name.strip()}
    unknown = asked - FIGURES.keys()
    if unknown:
        raise SetupError(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}.")
    return [name for name in FIGURES if not asked or name in asked]


async def measure(names: Sequence[str], options: Options, console: Console) -> list[Figure]:
    """One figure after the other, never two at once. SIGTERM ends it like Ctrl-C: what was started is stopped."""
    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    figures: list[Figure] = []
    try:
        for name in names:
            console.print(f"measuring {name} …", style="dim")
            async with asyncio.timeout(FIGURE_TIMEOUT_S):
                figures += await FIGURES[name](options)
    except asyncio.CancelledError:
        raise BenchError("stopped before everything was measured") from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    return figures
