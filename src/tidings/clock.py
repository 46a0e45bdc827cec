"""The only clock. Everything that decides by time gets `now` as an argument; the edges ask here."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, timezone-aware, UTC."""
    return datetime.now(UTC)
