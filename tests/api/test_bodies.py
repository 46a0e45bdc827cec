"""Decoding of bodies, without a server: encodings against Python's own JSON, pointers, bounds."""

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from tidings.api.bodies import check_built, check_depth, decode, in_utc, split
from tidings.errors import BadRequest, Invalid, Problem

PIECES = st.sampled_from(
    [
        "\\u0000",
        "\\ud800",
        "\\uDBFF",
        "\\udc00",
        "\\uDFFF",
        "\\ud83d\\ude00",
        "\\\\",
        "\\n",
        '\\"',
        "u0000",
        "a",
        "é",
        "😀",
    ]
)


class Item(Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=1)] = 1
    at: Annotated[datetime, Meta(tz=True)] | None = None


class Body(Struct, forbid_unknown_fields=True):
    text: str = ""
    data: dict[str, Any] = {}
    labels: dict[str, str] = {}
    items: list[Item] = []


class Rough(Struct):
    items: list[msgspec.Raw]


@given(st.lists(PIECES, max_size=12).map("".join))
@example("\\\\u0000")
@example("\\\\\\u0000")
@example("\\ud800\\ud800\\udc00")
@example("\\ud800\\\\udc00")
def test_text_is_refused_exactly_if_it_can_not_be_stored(inside: str) -> None:
    """As Python's own decoder sees it: it takes both NUL and half pairs."""
    truth = json.loads(f'"{inside}"')
    storable = "\x00" not in truth and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in truth)
    for raw in (f'{{"text": "{inside}"}}', f'{{"data": {{"{inside}": [["{inside}"]]}}}}'):
        try:
            decoded = decode(raw.encode(), Body)
        except BadRequest as problem:
            assert problem.code == "bad_encoding"
            assert not storable
        else:
            assert storable
            assert truth in (decoded.text, *decoded.data)


@given(st.lists(PIECES, max_size=6).map("".join), st.lists(PIECES, max_size=6).map("".join))
def test_a_bad_item_does_not_spoil_the_next(first: str, second: str) -> None:
    raw = f'{{"items": [{{"text": "{first}"}}, {{"text": "{second}"}}]}}'.encode()
    items = split(raw, Rough).items
    for inside, item in zip((first, second), items, strict=True):
        alone = outcome(f'{{"text": "{inside}"}}'.encode())
        assert outcome(item) == alone


def outcome(raw: bytes | msgspec.Raw) -> str:
    try:
        return decode(raw, Body).text
    except BadRequest as problem:
        return f"problem {problem.code}"


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for body in (raw, b'{"text": "' + raw + b'"}', b'{"data": {"a": ' + raw + b"}}"):
        try:
            decode(body, Body)
        except Problem as problem:
            assert problem.status in (400, 422)


POINTERS = [
    (b'{"nope": 1}', "unknown_field", "/nope"),
    (b'{"a/b~c": 1}', "unknown_field", "/a~1b~0c"),
    (b'{"text": 1}', "invalid_field", "/text"),
    (b'{"items": [{}, {"number": 0}]}', "invalid_field", "/items/1/number"),
    (b'{"items": [{"x": 0}]}', "unknown_field", "/items/0/x"),
    (b'{"items": [7]}', "invalid_field", "/items/0"),
    (b'{"items": [{"at": "2036-01-01T00:00:00"}]}', "time_naive", "/items/0/at"),
    (b'{"labels": {"a": 1}}', "invalid_field", "/labels"),
    (b'{"data": {"a": 1e999}}', "invalid_field", "/data"),
    (b"[]", "invalid_body", ""),
]


@pytest.mark.parametrize(("body", "code", "pointer"), POINTERS)
@pytest.mark.parametrize("prefix", ["", "/notifications/3"])
def test_pointers(body: bytes, code: str, pointer: str, prefix: str) -> None:
    with pytest.raises(Invalid) as raised:
        decode(body, Body, prefix)
    [error] = raised.value.errors
    assert error.pointer == prefix + pointer
    assert error.code == raised.value.code == (code if pointer or not prefix else "invalid_field")


@pytest.mark.parametrize("unit", [b"\\\\u0000", b"\\ud83d\\ude00", b"\\\\\\\\u0000"])
def test_many_escapes_take_no_longer_than_their_number(unit: bytes) -> None:
    """Eight megabytes of what must be looked at twice. Were that quadratic, this would not end within the day."""
    decode(b'{"text": "' + unit * (8_000_000 // len(unit)) + b'"}', Body)
    with pytest.raises(BadRequest):
        decode(b'{"text": "' + unit * (8_000_000 // len(unit)) + b'\\ud800"}', Body)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


def test_depth_and_size_of_numbers() -> None:
    check_depth(nested(31), "/data")
    check_depth({"a": [1.7e308, -(10**308), True, None, "x"]}, "/data")
    for bad in (nested(32), nested(500), {"a": 10**309}, {"a": [{"b": -(10**400)}]}):
        with pytest.raises(Invalid) as raised:
            check_depth(bad, "/data")
        assert raised.value.errors[0].pointer == "/data"
    with pytest.raises(Invalid):
        check_built(nested(100_000), "/fcm")


def test_times_in_utc() -> None:
    assert in_utc(None, "/at") is None
    at = in_utc(datetime.fromisoformat("2036-04-29T11:00:00+02:00"), "/at")
    assert at is not None
    assert at.isoformat() == "2036-04-29T09:00:00+00:00"
    with pytest.raises(Invalid, match="9999"):
        in_utc(datetime.fromisoformat("9999-12-31T23:59:59-02:00"), "/at")
