"""Logging: one structured line an event; readable text on a terminal, JSON elsewhere. Also what libraries log.

Each has `timestamp`, `level`, `logger` and `event`, an error its traceback as text in `exception`, and the ids of what
it is about (`About`): of a request, or of the tasks and the notification that a worker has in hand.

What PostgreSQL adds to an error (`DETAIL:  Failing row contains (…)`) quotes the row, with what it says and to whom. It
is cut out of every line. Secrets and addresses are kept out where the lines are made; tests/test_canary.py looks.
"""

import io
import logging
import re
import sys
from contextvars import ContextVar, Token
from typing import Self, TextIO

import structlog

# To the end, the hint, or what follows of a traceback: what a row says may have lines of its own.
_ROWS = re.compile(r"\n *DETAIL: .*?(?=\n *HINT: |\nTraceback |\n\n(?:The above|During handling)|\Z)", re.DOTALL)


def without_rows(text: str) -> str:
    """The text of an error, or a traceback, without what PostgreSQL quotes of the database. Pure."""
    return _ROWS.sub("", text)


class About:
    """`with About(request_id=…):` puts the ids into every line of what is done within, also in tasks that begin there.

    Costs less than a microsecond, measured; the work is done when a line is made. At the end the ids are let go of, so
    that a task that lives on, such as one that keeps a connection, does not go on to speak of its first caller.
    """

    __slots__ = ("_around", "_token", "ids")

    def __init__(self, **ids: object) -> None:
        self.ids = ids

    def __enter__(self) -> Self:
        self._around = _about.get()
        self._token: Token[About | None] = _about.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.ids = {}
        _about.reset(self._token)

    def all(self) -> dict[str, object]:
        """Our ids, and those of what we are a part of."""
        return self.ids if self._around is None else {**self._around.all(), **self.ids}


_about: ContextVar[About | None] = ContextVar("about", default=None)


def also(**ids: object) -> None:
    """More ids for the lines of what is being done, now that they are known. Nothing happens outside of an `About`."""
    about = _about.get()
    if about is not None:
        about.ids.update(ids)


def _add_ids(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    about = _about.get()
    return event if about is None else {**about.all(), **event}


def _cut(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {name: without_rows(value) if isinstance(value, str) else value for name, value in event.items()}


def _traceback(out: TextIO, exc_info: structlog.types.ExcInfo) -> None:
    """On a terminal."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(without_rows(text.getvalue()))


class _Printer(structlog.PrintLogger):
    """Knows its name, for the lines to say it."""

    def __init__(self, name: str, file: TextIO) -> None:
        super().__init__(file)
        self.name = name


def configure(level: str) -> None:
    """Set logging up for the process. Twice is safe. Tracebacks show no values: they could be keys and addresses."""
    number = {"warn": logging.WARNING}.get(level) or getattr(logging, level.upper())
    terminal, out = sys.stderr.isatty(), sys.stderr
    every: list[structlog.types.Processor] = [
        _add_ids,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown: list[structlog.types.Processor] = (
        [_cut, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, _cut, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*every, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda name="tidings": _Printer(name, out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=every,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a traceback for each lost connection; ours is one line
