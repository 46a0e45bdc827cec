"""Logging: one structured line an event; readable text on a terminal, JSON elsewhere.

What PostgreSQL adds to an error (`DETAIL:  Failing row contains (…)`) quotes the row, with what it says and to whom. It
is cut out of every line. Secrets and addresses are kept out where the lines are made; tests/test_canary.py looks.
"""

import io
import logging
import re
import sys
from typing import TextIO

import structlog

# To the end, the hint, or what follows of a traceback: what a row says may have lines of its own.
_ROWS = re.compile(r"\n *DETAIL: .*?(?=\n *HINT: |\nTraceback |\n\n(?:The above|During handling)|\Z)", re.DOTALL)


def without_rows(text: str) -> str:
    """The text of an error, or a traceback, without what PostgreSQL quotes of the database. Pure."""
    return _ROWS.sub("", text)


class _Lines(logging.Formatter):
    """The same for what libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        return without_rows(super().format(record))


def _cut(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {name: without_rows(value) if isinstance(value, str) else value for name, value in event.items()}


def _traceback(out: TextIO, exc_info: structlog.types.ExcInfo) -> None:
    """On a terminal."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(without_rows(text.getvalue()))


def configure(level: str) -> None:
    """Set logging up for the process. Twice is safe. Tracebacks show no values: they could be keys and addresses."""
    number = {"warn": logging.WARNING}.get(level) or getattr(logging, level.upper())
    terminal = sys.stderr.isatty()
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if terminal else [structlog.processors.format_exc_info]),
        _cut,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a traceback for each lost connection; ours is one line
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(logging.BASIC_FORMAT))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
