"""The bus for one process. It keeps the contract of `bus/__init__.py` with dictionaries and no tasks.

A user's stream lives while a socket is open and for `keep_s` after, so that a short disconnection costs
nothing. There is no timer: each call first drops what has been idle too long, oldest first, which is cheap
because streams become idle in the order of time.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from tidings import clock
from tidings.bus import Heard, Lost, Position, Presence, Recovery, Sink
from tidings.bus.limits import Buckets, Rate, Verdict
from tidings.bus.streams import Stream

# (project, user) is a user's stream, (project, None) the project's.
StreamName = tuple[int, int | None]


class Bounds(Struct, frozen=True):
    """What the bus may hold.

    keep_s: seconds that a stream outlives its last socket. max_frames, max_bytes: history of one stream.
    max_streams: idle streams beyond this number are dropped, longest idle first (streams with sockets are
    bounded by the sockets). max_total_bytes: all histories together; beyond it idle streams go, then the
    histories that have been written to least recently.
    """

    keep_s: float = 600.0
    max_frames: int = 256
    max_bytes: int = 1024 * 1024
    max_streams: int = 200_000
    max_total_bytes: int = 256 * 1024 * 1024


class MemoryBus:
    """See `Bus`. Not thread-safe: one event loop owns it. `monotonic`
    is a clock in seconds that never goes back."""

    def __init__(self, bounds: Bounds | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds or Bounds()
        self._monotonic = monotonic
        self._streams: dict[StreamName, Stream] = {}
        self._idle: OrderedDict[StreamName, Stream] = OrderedDict()
        self._written: OrderedDict[StreamName, Stream] = OrderedDict()  # the ones with a history, oldest first
        self._total_bytes = 0
        self._buckets = Buckets()
        self._listeners: dict[str, list[Heard]] = {}

    @property
    def healthy(self) -> bool:
        return True

    async def publish(self, project_id: int, user_id: int, key: int, data: bytes) -> int:
        return self._append((project_id, user_id), "notification", key, data)

    async def broadcast(self, project_id: int, key: int, data: bytes) -> int:
        return self._append((project_id, None), "broadcast", key, data)

    async def join(
        self,
        project_id: int,
        user_id: int,
        sink: Sink,
        notifications: Position | None,
        broadcasts: Position | None,
        *,
        lost: Lost | None = None,  # never called: between here and the sink nothing can be missed
    ) -> tuple[Recovery, Recovery]:
        self._drop_expired()
        mine = self._open((project_id, user_id), sink)
        everyone = self._open((project_id, None), sink)
        return mine.recover(notifications), everyone.recover(broadcasts)

    async def leave(self, project_id: int, user_id: int, sink: Sink) -> None:
        self._drop_expired()
        for name in ((project_id, user_id), (project_id, None)):
            stream = self._streams.get(name)
            if stream is None or sink not in stream.sinks:
                continue
            del stream.sinks[sink]
            if not stream.sinks:
                stream.idle_since = self._monotonic()
                self._idle[name] = stream
        self._drop_surplus()

    async def presence(self, project_id: int, user_id: int) -> Presence:
        self._drop_expired()
        stream = self._streams.get((project_id, user_id))
        if stream is None:
            return Presence(online=False, sockets=0, last_seen_at=None)
        sockets = len(stream.sinks)
        return Presence(sockets > 0, sockets, clock.now() if sockets else self._last_seen(stream))

    async def absent(self, users: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        return {user for user in users if user not in self._streams}

    async def allow(self, key: str, rate: Rate, cost: int = 1) -> Verdict:
        return self._buckets.allow(key, self._monotonic(), rate, cost)

    async def announce(self, topic: str, value: str) -> None:
        for heard in self._listeners.get(topic, ()):
            heard(value)

    def listen(self, topic: str, heard: Heard) -> None:
        self._listeners.setdefault(topic, []).append(heard)

    async def close(self) -> None:
        self._streams.clear()
        self._idle.clear()
        self._written.clear()
        self._total_bytes = 0

    def _last_seen(self, stream: Stream) -> datetime:
        return clock.now() - timedelta(seconds=self._monotonic() - stream.idle_since)

    def _open(self, name: StreamName, sink: Sink) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream()
        self._idle.pop(name, None)
        stream.sinks[sink] = None
        return stream

    def _append(self, name: StreamName, event: str, key: int, data: bytes) -> int:
        self._drop_expired()
        stream = self._streams.get(name)
        if stream is None:
            return 0
        before = stream.kept_bytes
        taken = stream.append(event, key, data, self._bounds.max_frames, self._bounds.max_bytes)
        self._total_bytes += stream.kept_bytes - before
        self._written[name] = stream
        self._written.move_to_end(name)
        self._drop_surplus()
        return taken

    def _drop_expired(self) -> None:
        if not self._idle:
            return
        limit = self._monotonic() - self._bounds.keep_s
        while self._idle and next(iter(self._idle.values())).idle_since <= limit:
            self._drop_longest_idle()

    def _drop_surplus(self) -> None:
        while self._idle and (
            len(self._streams) > self._bounds.max_streams or self._total_bytes > self._bounds.max_total_bytes
        ):
            self._drop_longest_idle()
        while self._written and self._total_bytes > self._bounds.max_total_bytes:
            _, stream = self._written.popitem(last=False)
            self._total_bytes -= stream.kept_bytes
            stream.forget_frames()

    def _drop_longest_idle(self) -> None:
        name, stream = self._idle.popitem(last=False)
        del self._streams[name]
        if self._written.pop(name, None) is not None:
            self._total_bytes -= stream.kept_bytes
