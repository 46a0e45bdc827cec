"""What a message says: a version, a lane, and the tickets. JSON, so that a person can read a dead letter.

    {"version": 1, "lane": "normal", "tickets": [[17, 1], [18, 500]]}      task id, notifications

A body of a version that is not known here is a dead letter, so a new version must be readable by one release
before the next one writes it.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidings.queue import Lane

VERSION = 1
CONTENT_TYPE = "application/json"
TYPE = "tidings.tickets"
MOST_BYTES = 16_384  # a message of MOST_TICKETS has 1.5 KB
MOST_TICKETS = 50  # in a message that is written here; each message costs some 100 µs, each ticket 2

_TaskId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Size = Annotated[int, Meta(ge=1, le=1_000_000)]


class Unreadable(ValueError):
    """The body is not one of ours. The text says why, without quoting it."""


class _Head(Struct):
    version: int


class _Body(Struct, forbid_unknown_fields=True):
    version: int
    lane: str
    tickets: Annotated[list[tuple[_TaskId, _Size]], Meta(min_length=1, max_length=1000)]


_HEAD = msgspec.json.Decoder(_Head)
_BODY = msgspec.json.Decoder(_Body)
_ENCODER = msgspec.json.Encoder()


def encode(lane: Lane, tickets: Sequence[tuple[int, int]]) -> bytes:
    """The body for tickets of one lane, each (task id, size)."""
    return _ENCODER.encode(_Body(VERSION, lane.value, list(tickets)))


def decode(lane: Lane, body: bytes) -> list[tuple[int, int]]:
    """The tickets (task id, size) of a message from the queue of `lane`. Raises `Unreadable`."""
    if len(body) > MOST_BYTES:
        raise Unreadable(f"{len(body)} bytes are more than {MOST_BYTES}")
    try:
        version = _HEAD.decode(body).version
        if version != VERSION:
            raise Unreadable(f"version {version} is not known here, only {VERSION}")
        read = _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not a list of tickets: {type(error).__name__}") from error
    if read.lane != lane:
        raise Unreadable(f"it belongs to another lane than {lane}")
    return read.tickets
