"""Values that don't tell: what a traceback with locals, a debugger or a careless log line shows of a Struct."""

from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from msgspec import UNSET, Struct

# Texts of ours, by the name of their field: they tell what a value is about and never hold what a person wrote.
OURS = frozenset(
    ("channel", "device_type", "fate", "kind", "lane", "outcome", "provider", "reason", "status", "vendor")
)


class _Hidden:
    def __repr__(self) -> str:
        return "…"


HIDDEN = _Hidden()


class Discreet(Struct, frozen=True):
    """A Struct that may hold secrets, addresses or what was said to somebody.

    repr() shows its numbers, times, flags and kinds, what is empty, and of everything else only that it is there. So
    does `__rich_repr__`, which rich uses in its place. A class that says more in a `__repr__` of its own chooses every
    field of it by hand.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Each field with its value, or with `HIDDEN` in its place."""
        given = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, value if name in OURS or _is_plain(value) else HIDDEN) for name, value in given]


def _is_plain(value: object) -> bool:
    if isinstance(value, Enum | Discreet):
        return True  # a word of ours; and what takes care of itself
    if isinstance(value, str | bytes | tuple | list | dict):
        return not value
    return value is None or value is UNSET or isinstance(value, bool | int | float | datetime | timedelta)
