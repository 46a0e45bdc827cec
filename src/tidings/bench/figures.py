"""A figure: what was measured, its ceiling in the same run, and whether the bar is reached."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from msgspec import Struct

from tidings.bench import usage
from tidings.bench.processes import Child

PAIRS = 3
FOLDER = Path("/var/tmp")  # on a disk; /tmp is in memory on many systems, and then nothing is durable


class Options(Struct, frozen=True):
    """`seconds`: of one timed leg. `scale`: counts are multiplied by it. `pairs`: of ceiling and figure, in turn.

    `folder`: where databases are made for the run.
    """

    seconds: float = 3.0
    scale: float = 1.0
    pairs: int = PAIRS
    folder: Path = FOLDER

    def count(self, full: int, least: int = 1) -> int:
        """A count at this scale."""
        return max(least, round(full * self.scale))


class Leg(Struct, frozen=True):
    """One timed piece of work. `cpu_us`: CPU microseconds per unit, by process."""

    units: float
    seconds: float
    cpu_us: dict[str, float] = {}

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


class Figure(Struct, frozen=True):
    """One line of the report.

    `value` and `ceiling` are medians over the pairs, `ratio` the median of each pair's own ratio: a pair's two
    legs are neighbours in time, so what else the machine did touches both. `pairs`: (ceiling, value) of each.
    `bar`: what the ratio must be at least (or at most, if `at_most`). `goal`: an absolute number to beat.
    """

    name: str
    what: str
    unit: str
    value: float
    ceiling: float | None
    ceiling_is: str
    ratio: float | None
    bar: float | None
    goal: float | None = None
    at_most: bool = False
    pairs: list[tuple[float, float]] = []
    cpu_us: dict[str, float] = {}
    ceiling_cpu_us: dict[str, float] = {}
    details: dict[str, float] = {}

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        return None if self.ratio is None or self.bar is None else self._good(self.ratio, self.bar)

    @property
    def goal_reached(self) -> bool | None:
        """Whether the absolute goal is reached; None without one."""
        return None if self.goal is None else self._good(self.value, self.goal)

    def _good(self, measured: float, wanted: float) -> bool:
        return measured <= wanted if self.at_most else measured >= wanted


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value below which the part `q` of an ascending sequence lies; 0 for an empty one."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else 0.0


class Meter:
    """Reads the CPU time of named processes. `family`: the children of a process, such as its PostgreSQL."""

    def __init__(self, own: Mapping[str, Child], family: Mapping[str, Child] | None = None) -> None:
        self._own = own
        self._family = family or {}

    async def leg(self, work: Callable[[], Awaitable[tuple[float, float]]]) -> Leg:
        """Do the work (→ units, seconds) and tell what it cost."""
        before = self._read()
        units, seconds = await work()
        after = self._read()
        per_unit = 1e6 / max(units, 1)
        return Leg(units, seconds, {name: round((after[name] - before[name]) * per_unit, 2) for name in after})

    def _read(self) -> dict[str, float]:
        read = {name: usage.cpu_s(child.pid) for name, child in self._own.items()}
        return read | {name: usage.family_cpu_s(child.pid) for name, child in self._family.items()}


async def in_turn(
    pairs: int, ceiling: Callable[[], Awaitable[Leg]], figure: Callable[[], Awaitable[Leg]]
) -> list[tuple[Leg, Leg]]:
    """Ceiling, figure, ceiling, figure …: neighbours in time share whatever else the machine does."""
    return [(await ceiling(), await figure()) for _ in range(pairs)]


def compared(
    name: str,
    legs: Sequence[tuple[Leg, Leg]],
    *,
    what: str,
    unit: str,
    ceiling_is: str,
    bar: float,
    goal: float | None,
    details: dict[str, float] | None = None,
) -> Figure:
    """The figure of (ceiling, figure) legs."""
    rates = [(ceiling.rate, figure.rate) for ceiling, figure in legs]
    return Figure(
        name=name,
        what=what,
        unit=unit,
        value=median(value for _, value in rates),
        ceiling=median(ceiling for ceiling, _ in rates),
        ceiling_is=ceiling_is,
        ratio=median(value / ceiling for ceiling, value in rates),
        bar=bar,
        goal=goal,
        pairs=rates,
        cpu_us=_middle([figure.cpu_us for _, figure in legs]),
        ceiling_cpu_us=_middle([ceiling.cpu_us for ceiling, _ in legs]),
        details=details or {},
    )


def _middle(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(reading[name] for reading in readings) for name in readings[0]}
