"""Why Google's JSON front refuses a request body: the violations, in its words, from the field table.

Wordings for unknown names and text values are captured; the rest follows the same pattern.
"""

import re
from typing import Any

import msgspec

from tidings.emulators.fcm_schema import DURATION, Choice, Field, Shape, camel

_KINDS = {"text": "TYPE_STRING", "flag": "TYPE_BOOL", "whole": "TYPE_INT32", "number": "TYPE_FLOAT"}
_KINDS |= {"duration": "type.googleapis.com/google.protobuf.Duration"}
_KINDS |= {"timestamp": "type.googleapis.com/google.protobuf.Timestamp"}
_KINDS |= {"object": "type.googleapis.com/google.protobuf.Struct"}

Violations = list[tuple[str, str]]


def explain(value: Any, shape: Shape, path: str = "") -> tuple[Violations, dict[str, Any]]:
    """All violations of `value` against `shape`, as (field, description), and the value in snake_case."""
    found: Violations = []
    plain: dict[str, Any] = {}
    if not isinstance(value, dict):
        where = path or "root"
        return [(path, f"Invalid value at '{where}' (oneof), {_shown(value)}")], plain
    spellings = {spelling: name for name in shape.fields for spelling in (name, camel(name))}
    for key, item in value.items():
        name = spellings.get(key)
        if name is None:
            at = f" at '{path}'" if path else ""
            found.append((path, f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.'))
        elif item is not None:
            inner, plain[name] = _check(item, shape.fields[name], f"{path}.{name}" if path else name)
            found += inner
    return found, plain


def _check(value: Any, field: Field, path: str) -> tuple[Violations, Any]:
    if isinstance(field, Shape):
        return explain(value, field, path)
    if isinstance(field, Choice):
        return ([] if value in field.values else [_wrong(path, field.kind, value)]), value
    if isinstance(field, tuple):
        if not isinstance(value, list):
            return [_wrong(path, _KINDS[field[0]], value)], value
        return [wrong for at, item in enumerate(value) for wrong in _check(item, field[0], f"{path}[{at}]")[0]], value
    if field == "texts":
        return _texts(value, path), value
    if field == "whole" and isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value):
        return [], int(value)  # Protobuf's JSON mapping allows numbers in quotes.
    return ([] if _fits(value, field) else [_wrong(path, _KINDS[field], value)]), value


def _texts(value: Any, path: str) -> Violations:
    if not isinstance(value, dict):
        kind = "list" if isinstance(value, list) else "scalar"
        return [(path, f"Invalid value at '{path}' (map), Cannot bind a {kind} to map for field '{path}'.")]
    pairs = enumerate(value.values())
    return [_wrong(f"{path}[{at}].value", "TYPE_STRING", item) for at, item in pairs if not isinstance(item, str)]


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "flag":
            return isinstance(value, bool)
        case "whole":
            return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "duration":
            return isinstance(value, str) and re.fullmatch(DURATION, value) is not None
        case _:
            return isinstance(value, str)


def _wrong(path: str, kind: str, value: Any) -> tuple[str, str]:
    return path, f"Invalid value at '{path}' ({kind}), {_shown(value)}"


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:200]
