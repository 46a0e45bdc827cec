"""The bus: who is online, and how a frame reaches the sockets of a user, whichever gateway holds them.

Two implementations keep one contract: `memory.py` for one process, `redis.py` for many. The bus is allowed
to lose everything; the truth is in PostgreSQL. What it must never do is hide a loss: each stream has an
`epoch` (random, new whenever its history is lost) and an `offset` (from 1, no gaps within an epoch).
`docs/bus.md` tells what each call does while Redis is away.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from tidings.bus.limits import Rate, Verdict

__all__ = [
    "Bus",
    "BusUnavailable",
    "Heard",
    "Lost",
    "Position",
    "Presence",
    "Rate",
    "Recovery",
    "Sink",
    "Verdict",
    "encode_frame",
    "read_position",
]

POSITION_TEXT = re.compile(r"([A-Za-z0-9_-]{1,32}):(0|[1-9][0-9]{0,17})", re.ASCII)


class BusUnavailable(ConnectionError):
    """The bus can't be reached or doesn't answer. Whatever was asked may or may not have happened."""


class Position(Struct, frozen=True):
    """A place in a stream: everything up to and including `offset` of `epoch` has been seen.

    Its text is `epoch:offset`. The epoch is 1 to 32 of `A-Z a-z 0-9 _ -`, the offset below 10^18.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def read_position(text: str) -> Position | None:
    """The position that `str(position)` wrote, or None when the text is not one."""
    found = POSITION_TEXT.fullmatch(text)
    return Position(found[1], int(found[2])) if found else None


def encode_frame(event: str, position: Position, data: bytes) -> bytes:
    """The JSON text of a frame. `data` is already JSON, so it is set in and not encoded again."""
    head = f'{{"event":"{event}","position":"{position.epoch}:{position.offset}","data":'
    return b"%b%b}" % (head.encode(), data)


class Recovery(Struct, frozen=True):
    """What a client that reconnects is owed.

    `recovered` True: `frames` is the exact gap (empty too when no position was asked for). False: it cannot
    be told, page the inbox. `position`: where the stream stands now, before any later frame.
    """

    recovered: bool
    frames: list[bytes]
    position: Position


class Presence(Struct, frozen=True):
    """`last_seen_at`: the last moment a socket of the user was open, None if never (or forgotten)."""

    online: bool
    sockets: int
    last_seen_at: datetime | None


# A socket's sink: takes one encoded frame, answers False when the socket can't take it (closed, too slow).
# It must not raise and must not wait. A socket that once refused a frame is closed, so it never has a hole.
Sink = Callable[[bytes], bool]

# Called when a socket may have missed a frame: it gets no more, and must close, so that its client comes back
# with its positions. Perhaps called twice, never after `leave`. It must not raise and must not wait.
Lost = Callable[[], None]

# What a listener is called with: the value that was announced, or "": something may have been missed, forget
# everything that announcements would have corrected. It must not raise and must not wait.
Heard = Callable[[str], None]


class Bus(Protocol):
    """Frames are complete UTF-8 JSON texts. `data` is the JSON text of the frame's `data` member.

    `publish`, `broadcast`, `presence` and `announce` raise `BusUnavailable` when the bus can't be reached or
    does not answer in time; the others have an answer for that case. Nothing waits longer than a second or
    so, whatever has happened to the bus.
    """

    @property
    def healthy(self) -> bool:
        """The bus can be reached, and what it carries arrives here."""
        ...

    async def publish(self, project_id: int, user_id: int, key: int, data: bytes) -> int:
        """Send `{"event": "notification", "position": …, "data": data}` to the user's sockets.

        Answers how many sockets it was handed to (0: none open). Only the process that holds a socket knows
        whether it then took the frame, so this is `sent`, and no more. Keeps the frame for recovery if the
        user was here lately.
        Twice with the same `key` (the notification id) is safe as long as the stream remembers it (at least
        as long as its history): the second is not sent again and gets the first one's answer.
        """
        ...

    async def broadcast(self, project_id: int, key: int, data: bytes) -> int:
        """Send `{"event": "broadcast", …}` to every socket of the project. Same promises as `publish`."""
        ...

    async def join(
        self,
        project_id: int,
        user_id: int,
        sink: Sink,
        notifications: Position | None,
        broadcasts: Position | None,
        *,
        lost: Lost | None = None,
    ) -> tuple[Recovery, Recovery]:
        """Register a socket and answer the gaps of its two streams (user's, project's), with nothing
        published in between lost or doubled: frames after the answers come by `sink`, the first perhaps
        a moment before this call returns, so the caller holds them back until it has written the answers.

        While the bus can't be reached nothing is recovered: `recovered` is False, the epoch is new, and the
        socket is `lost` when the bus is back. Without `lost` the frames just stop.
        """
        ...

    async def leave(self, project_id: int, user_id: int, sink: Sink) -> None:
        """Unregister a socket. Twice is safe, and so is a bus that can't be reached: it forgets by itself."""
        ...

    async def presence(self, project_id: int, user_id: int) -> Presence:
        """Whether the user has an open socket, and when there last was one."""
        ...

    async def absent(self, users: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of these users, as (project, user), to whom `publish` would send nothing: no socket, and none lately.

        Perhaps not all of them: for a few it may cost more to ask than to publish, and a bus that can't tell within
        its deadline knows nobody. A frame that was published before its stream was evicted is forgotten here.
        """
        ...

    async def allow(self, key: str, rate: Rate, cost: int = 1) -> Verdict:
        """May `key` (a text that names who is limited, for what) do this now? A yes is counted, a no is not.

        When the bus can't tell within its deadline, the verdict is not `known` and the caller decides:
        `verdict.permits(otherwise=…)`. A cost above the burst is a ValueError: it would never be allowed.
        """
        ...

    async def announce(self, topic: str, value: str) -> None:
        """Call every listener of the topic with the value, in all processes. At most once; a listener that
        may have missed one is called with "" as soon as it can be. `topic`: without spaces. `value`: not
        empty. Twice is as safe as the listeners are."""
        ...

    def listen(self, topic: str, heard: Heard) -> None:
        """Be called with what is announced on the topic from now on, by this process too."""
        ...

    async def close(self) -> None:
        """Let go of everything. The sockets are the gateway's to close. Twice is safe."""
        ...
