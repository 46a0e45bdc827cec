"""The outcome for people, as a table, and for programs, as JSON."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tidings import __version__
from tidings.bench.figures import Figure

SYNCS = 20


class Machine(Struct, frozen=True):
    """Where it was measured. `sync_ms`: how long the disk takes to keep 8 KiB, which bounds what is durable."""

    tidings: str
    python: str
    system: str
    cores: int
    sync_ms: float


def machine(folder: Path) -> Machine:
    """This machine. Writes a few kilobytes to a file in the folder that is gone at once."""
    return Machine(
        tidings=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        sync_ms=round(sync_ms(folder), 2),
    )


def sync_ms(folder: Path) -> float:
    """The median time of a write of one database page with fsync in this folder."""
    took = []
    with TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(b"\0" * 8192)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return sorted(took)[SYNCS // 2] * 1000


def encode(where: Machine, figures: Sequence[Figure]) -> bytes:
    """The JSON report: `machine`, and `figures` with `reached` and `goal_reached` beside what was measured."""
    shown: list[dict[str, Any]] = [
        msgspec.to_builtins(figure) | {"reached": figure.reached, "goal_reached": figure.goal_reached}
        for figure in figures
    ]
    return msgspec.json.format(msgspec.json.encode({"machine": where, "figures": shown}), indent=2)


def show(where: Machine, figures: Sequence[Figure], console: Console) -> None:
    """Print the table, then what each figure and its ceiling are, and which bars were missed."""
    console.print(
        f"Tidings {where.tidings}, Python {where.python}, {where.system}, {where.cores} cores, "
        f"fsync {where.sync_ms} ms. Load, service, database and emulators share this machine.",
        highlight=False,
    )
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("figure", "measured", "ceiling", "ratio", "bar", "goal"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure in figures:
        table.add_row(figure.name, *_cells(figure))
    console.print(table)
    for figure in figures:
        console.print("\n" + "\n".join(_lines(figure)), highlight=False, markup=False, soft_wrap=True)
    missed = [figure.name for figure in figures if figure.reached is False]
    if missed:
        console.print(f"\nBar missed: {', '.join(missed)}.", style="bold red")


def _cells(figure: Figure) -> tuple[str, ...]:
    sign = "≤" if figure.at_most else "≥"
    return (
        _amount(figure.value, figure.unit),
        _amount(figure.ceiling, figure.unit) if figure.ceiling is not None else "–",
        f"{figure.ratio:.2f}" if figure.ratio is not None else "–",
        _judged(f"{sign} {figure.bar:.2f}", figure.reached) if figure.bar is not None else "–",
        _judged(f"{sign} {_amount(figure.goal, figure.unit)}", figure.goal_reached) if figure.goal is not None else "–",
    )


def _judged(wanted: str, reached: bool | None) -> str:
    return f"{wanted} {'[green]✓[/]' if reached else '[red]✗[/]'}"


def _amount(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f} {unit}" if unit.isalpha() else f"{value:,.{digits}f}{unit}"


def _lines(figure: Figure) -> list[str]:
    lines = [f"{figure.name}: {figure.what}."]
    if figure.ceiling_is:
        lines.append(f"  ceiling: {figure.ceiling_is}.")
    if len(figure.pairs) > 1:
        shown = "  ".join(f"{ceiling:,.0f}→{value:,.0f} ({value / ceiling:.2f})" for ceiling, value in figure.pairs)
        lines.append(f"  pairs, ceiling→measured: {shown}")
    if figure.cpu_us:
        lines.append(f"  CPU µs a unit: {_listed(figure.cpu_us)}")
    if figure.ceiling_cpu_us:
        lines.append(f"  CPU µs a unit of the ceiling: {_listed(figure.ceiling_cpu_us)}")
    if figure.details:
        lines.append(f"  {_listed(figure.details)}")
    return lines


def _listed(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.1f}" for name, value in numbers.items())
