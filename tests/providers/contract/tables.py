"""The decision tables of docs/providers, read as they stand there, and the recorded answers beside them."""

import json
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "providers"
ANSWERS = ROOT / "tests" / "providers" / "answers"
OUTCOMES = ("sent", "retry", "rejected", "gone", "paused")

WITHOUT_ANSWER = {
    "timeout": re.compile(r"no answer", re.IGNORECASE),
    "connection": re.compile(r"broke|broken|no connection|no name|GOAWAY|refused stream", re.IGNORECASE),
}
"""What stands on the left of a line about no answer at all, and the reason that it must have. The faults of the suite
(`bad_vendor`) play them for real."""

LOCALLY = re.compile(r"^none:|the guard does not let|no TLS|not offered", re.IGNORECASE)
"""What stands on the left of a line about what is decided without the vendor's word."""

_NUMBERS = re.compile(r"(?<![\d.])\d{1,5}(?![\d.])|\b[1-5]\.\d{1,2}\.\d{1,3}\b")
_CLASSES = re.compile(r"\b([1-5])xx\b|\b([1-5]\.\d)\.x\b")
_RANGE = re.compile(r"(\d{3})(?:–| to )(\d{3})")


class Line(Struct, frozen=True):
    """One line of a table. `said`: what stands left of the outcome. `perhaps_taken`: the line says so."""

    provider: str
    said: str
    outcome: str
    reasons: tuple[str, ...]
    perhaps_taken: bool

    def __str__(self) -> str:
        return f"{self.provider}: {self.said} -> {self.outcome} {' '.join(self.reasons)}".strip()

    @property
    def without_answer(self) -> str | None:
        """The reason of a line about no answer, None for others."""
        return next((reason for reason, words in WITHOUT_ANSWER.items() if words.search(self.said)), None)

    @property
    def locally(self) -> bool:
        """Whether it is decided without an answer."""
        return LOCALLY.search(self.said) is not None


class Recorded(Struct, frozen=True):
    """One recorded answer. `text`: all of it, without source and outcome."""

    name: str
    code: int
    text: str
    outcome: dict[str, Any]


def lines(provider: str) -> list[Line]:
    """The lines of the section "What each answer leads to", of all its tables."""
    text = (DOCS / f"{provider}.md").read_text()
    section = text.partition("## What each answer leads to")[2].partition("\n## ")[0]
    found: list[Line] = []
    column = 0
    for row in re.findall(r"^\|(.*)\|\s*$", section, re.MULTILINE):
        cells = [cell.strip() for cell in row.split("|")]
        if "outcome" in cells:
            column = cells.index("outcome")
        elif not set(row) <= set("-| :"):
            found += _lines_of(provider, cells, column)
    return found


def _lines_of(provider: str, cells: list[str], column: int) -> list[Line]:
    """One row; several cases in it are parted by a middle dot, on the left and in the reason."""
    said, reason = " | ".join(cells[:column]).strip(" |"), cells[column + 1] if column + 1 < len(cells) else ""
    cases, reasons = said.split(" · "), reason.split(" · ")
    if len(reasons) != len(cases):
        cases, reasons = [said], [reason]
    word = re.split(r"[ ,]", cells[column])[0]
    return [
        Line(provider, case, word, tuple(re.findall(r"`([a-z_]+)`", each)), "perhaps taken" in cells[column])
        for case, each in zip(cases, reasons, strict=True)
    ]


def recorded(provider: str) -> list[Recorded]:
    """The recorded answers of a provider."""
    found = []
    for path in sorted((ANSWERS / provider).glob("*.json")):
        entry = json.loads(path.read_text())
        told = {key: value for key, value in entry.items() if key not in ("source", "outcome")}
        code = entry.get("status", entry.get("code")) or 0
        found.append(Recorded(path.stem, int(code), json.dumps(told), entry["outcome"]))
    return found


def agrees(line: Line, answer: Recorded) -> bool:
    """Whether the outcome of an answer is that of the line."""
    outcome = answer.outcome
    if outcome["type"] != line.outcome or (line.reasons and outcome.get("reason") not in line.reasons):
        return False
    return not line.perhaps_taken or outcome.get("maybe_taken") is True


def names(line: Line, answer: Recorded) -> bool:
    """Whether the line speaks of such an answer: one of its codes is the answer's, or stands in it.

    A line without codes speaks of every one.
    """
    codes = set(_NUMBERS.findall(line.said))
    classes = {first or second for first, second in _CLASSES.findall(line.said)}
    ranges = [(int(low), int(high)) for low, high in _RANGE.findall(line.said)]
    if not codes and not classes and not ranges:
        return True
    return (
        str(answer.code) in codes
        or any(low <= answer.code <= high for low, high in ranges)
        or any(str(answer.code)[:1] == each for each in classes)
        or any(re.search(rf"(?<![\d.]){re.escape(each)}", answer.text) for each in classes if "." in each)
        or any(re.search(rf"(?<![\d.]){re.escape(code)}(?![\d.])", answer.text) for code in codes)
    )
