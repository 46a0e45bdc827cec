"""Logging: one structured line an event; readable text on a terminal, JSON elsewhere."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Set logging up for the process. Twice is safe. Tracebacks show no values: they could be keys and addresses."""
    number = {"warn": logging.WARNING}.get(level) or getattr(logging, level.upper())
    terminal = sys.stderr.isatty()
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if terminal else [structlog.processors.format_exc_info]),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a traceback for each lost connection; ours is one line
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)
