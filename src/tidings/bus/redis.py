"""The bus for many processes, over one Redis (7.0 or newer; not a Redis Cluster).

Every process has one connection (`link.py`, `wire.py`), a node id of its own and a channel of that name. A
stream (of a user, or of a project for its broadcasts) lives in Redis, and knows which nodes hold sockets of
it; `publish` is one Lua call that keeps the frame and hands it to just those (`lua.py`). What a node holds
is in `seats.py`.

Nothing that Redis or the network loses stays unnoticed: each socket must get each offset, every node asks
again and again where its streams stand, and a Redis that was started anew is another one. A socket that
may have missed something is told so by `lost`.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from tidings import clock
from tidings.bus import BusUnavailable, Heard, Lost, Position, Presence, Recovery, Sink, lua
from tidings.bus.address import Address, read_address
from tidings.bus.limits import Rate, Verdict
from tidings.bus.link import Link, Patience
from tidings.bus.lua import Script
from tidings.bus.seats import Losses, Seat, Seats
from tidings.bus.wire import Word, settle

# (project, user) is a user's stream, (project, None) the project's.
StreamName = tuple[int, int | None]

REFRESH_STREAMS = 64  # in one Lua call: Redis does nothing else meanwhile (about half a millisecond)
REFRESH_CALLS = 8  # at once
WORTH_ASKING = 16  # users: for fewer the round trip takes longer than it saves
ABSENT_USERS = 512  # in one Lua call
NO_STREAM = ord("0")
FRAME = b"f"
BEAT = b"b"

T = TypeVar("T")

log = logging.getLogger(__name__)


class RedisBounds(Struct, frozen=True):
    """How long and how much.

    prefix: of every key and channel. keep_s: seconds that a stream outlives its last socket. refresh_s:
    seconds in which a gateway says once what it holds and checks that it has missed nothing; a gateway that
    is silent for three of them holds nothing. max_frames, max_bytes: history of one stream. allow_s: how
    long a rate limit, and who is absent, may take before it is not known.
    """

    prefix: str = "tidings"
    keep_s: float = 600.0
    refresh_s: float = 25.0
    max_frames: int = 256
    max_bytes: int = 1024 * 1024
    allow_s: float = 0.05
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        if self.keep_s < 3 * self.refresh_s:
            raise ValueError("keep_s must be at least three times refresh_s")


async def open_redis_bus(address: Address | str, bounds: RedisBounds | None = None) -> "RedisBus":
    """A bus that has tried to connect once. If that failed it goes on trying and is not `healthy` until then.
    Raises ValueError for an URL that is none, and `SetupError` for TLS that can't be or a certificate that can't be
    trusted."""
    where = read_address(address) if isinstance(address, str) else address
    bus = RedisBus(where, bounds or RedisBounds())
    try:
        await bus.first_try()
    except BaseException:
        await bus.close()
        raise
    return bus


class RedisBus:
    """See `Bus`. Not thread-safe: one event loop owns it."""

    def __init__(self, address: Address, bounds: RedisBounds) -> None:
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self.node = secrets.token_hex(6)
        self._nodes = f"{bounds.prefix}:node:"
        self._announcements = f"{bounds.prefix}:announce"
        self._local: dict[StreamName, Seats] = {}
        self._listeners: dict[str, list[Heard]] = {}
        self._losses = Losses()
        self._keep_ms = round(bounds.keep_s * 1000)
        self._stale_ms = round(bounds.refresh_s * 3000)
        self._link = Link(
            address,
            bounds.patience,
            name=f"tidings-{self.node}",
            channels=(self._nodes + self.node, self._announcements),
            on_message=self._on_message,
            on_up=self._on_up,
            beat=self._beat,
        )
        self._refreshing = self._loop.create_task(self._refresh_for_ever(), name="bus refresh")

    @property
    def healthy(self) -> bool:
        return self._link.healthy

    async def first_try(self) -> None:
        """Come back when the first attempt to connect has ended, well or not."""
        await self._link.first_try()

    async def publish(self, project_id: int, user_id: int, key: int, data: bytes) -> int:
        return await self._publish((project_id, user_id), "notification", key, data)

    async def broadcast(self, project_id: int, key: int, data: bytes) -> int:
        return await self._publish((project_id, None), "broadcast", key, data)

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
        names: tuple[StreamName, StreamName] = ((project_id, user_id), (project_id, None))
        fresh = (secrets.token_urlsafe(9), secrets.token_urlsafe(9))  # 72 bits: no epoch comes twice
        args: list[Word] = [self.node, self._keep_ms, self._bounds.max_frames]
        for name, epoch, asked in zip(names, fresh, (notifications, broadcasts), strict=True):
            seats = self._local.setdefault(name, Seats())
            seats.arrive(sink)
            args += (len(seats), epoch, asked.epoch if asked else "", asked.offset if asked else -1)
        seat = partial(self._seat, names, sink, lost)
        try:
            return await self._run(lua.JOIN, self._keys(*names), tuple(args), seat)
        except BusUnavailable:
            answer = [[epoch.encode(), b"0", 0, []] for epoch in fresh]
            return seat(answer)  # of no epoch that Redis knows: lost as soon as it is back
        except BaseException:
            await self.leave(project_id, user_id, sink)
            raise

    async def leave(self, project_id: int, user_id: int, sink: Sink) -> None:
        changed: list[StreamName] = []
        for name in ((project_id, user_id), (project_id, None)):
            seats = self._local.get(name)
            if seats is None:
                continue
            if seats.leave(sink) or not seats:
                changed.append(name)
        if changed:
            try:
                await self._refresh(changed)
            except BusUnavailable as error:
                log.debug("Redis does not know yet that a socket left, it will by itself: %s", error)

    async def presence(self, project_id: int, user_id: int) -> Presence:
        """While Redis is away only the sockets of this process are known; without any, nothing is known and
        `BusUnavailable` is raised."""
        keys = self._keys((project_id, user_id))[:1]
        try:
            return await self._run(lua.PRESENCE, keys, (self._stale_ms, self._nodes), _read_presence)
        except BusUnavailable:
            here = len(self._local.get((project_id, user_id), ()))
            if not here:
                raise
            return Presence(online=True, sockets=here, last_seen_at=clock.now())

    async def absent(self, users: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """One round trip for all of them. It delays what comes after it, so a few are not asked about at all, and
        Redis has `allow_s` for its answer."""
        wanted = tuple(set(users))
        if len(wanted) < WORTH_ASKING:
            return set()
        parts = [wanted[start : start + ABSENT_USERS] for start in range(0, len(wanted), ABSENT_USERS)]
        try:
            async with asyncio.timeout(self._bounds.allow_s):
                found = await asyncio.gather(*(self._absent_of(part) for part in parts))
        except (BusUnavailable, TimeoutError):
            return set()
        return set().union(*found)

    async def _absent_of(self, users: tuple[tuple[int, int], ...]) -> set[tuple[int, int]]:
        start = self._stream_start()
        keys = tuple([f"{start}{project}:{user}" for project, user in users])
        streams = await self._run(lua.EXIST, keys, (), bytes)
        return {user for user, answer in zip(users, streams, strict=True) if answer == NO_STREAM}

    async def allow(self, key: str, rate: Rate, cost: int = 1) -> Verdict:
        rate.check(cost)
        future: asyncio.Future[Verdict] = self._loop.create_future()
        unknown = Verdict.unknown(rate)
        args = (1_000_000 / rate.per_s, rate.burst, cost)
        keys = (f"{self._bounds.prefix}:limit:{key}",)
        try:
            self._link.open_wire().run(lua.ALLOW, keys, args, partial(settle, future, partial(_read_verdict, rate)))
            timer = self._loop.call_later(self._bounds.allow_s, _give_up, future, unknown)
            try:
                return await future
            finally:
                timer.cancel()
        except BusUnavailable:
            return unknown

    async def announce(self, topic: str, value: str) -> None:
        if not topic or " " in topic or not value:
            raise ValueError("a topic has no spaces, and a value is not empty")
        await self._link.open_wire().ask("PUBLISH", self._announcements, f"{topic} {value}")

    def listen(self, topic: str, heard: Heard) -> None:
        self._listeners.setdefault(topic, []).append(heard)

    async def close(self) -> None:
        self._refreshing.cancel()
        await asyncio.wait((self._refreshing,))
        await self._link.close()
        self._local.clear()

    # What Redis says

    def _on_message(self, channel: bytes, data: bytes) -> None:
        if channel == self._announcements.encode():
            topic, _, value = data.decode().partition(" ")
            self._tell_listeners(topic, value)
        elif data[:1] == FRAME:
            _, project, user, epoch, offset, frame = data.split(b" ", 5)
            seats = self._local.get((int(project), None if user == b"*" else int(user)))
            if seats is not None:
                self._losses.tell(seats.offer(epoch, int(offset), frame))
        elif data == BEAT:
            self._link.heard_beat()

    def _tell_listeners(self, topic: str, value: str) -> None:
        for heard in self._listeners.get(topic, ()):
            heard(value)

    def _seat(
        self, names: tuple[StreamName, StreamName], sink: Sink, lost: Lost | None, answer: Any
    ) -> tuple[Recovery, Recovery]:
        """Called in the moment when the answer is read: the next message is the first after it."""
        recoveries = []
        for name, (epoch, offset, recovered, entries) in zip(names, answer, strict=True):
            seats = self._local.get(name)
            if seats is not None:
                seats.take(sink, Seat(epoch, int(offset), lost))
            frames = [entry.split(b" ", 1)[1] for entry in entries]
            recoveries.append(Recovery(recovered == 1, frames, Position(epoch.decode(), int(offset))))
        return recoveries[0], recoveries[1]

    # What this node says again and again

    async def _on_up(self) -> None:
        """A new connection: whatever was said while there was none is not known here."""
        for topic in tuple(self._listeners):
            self._tell_listeners(topic, "")
        await self._run(lua.BEAT, self._mark(), self._beat_args(), bool)
        await self._refresh(tuple(self._local))

    async def _beat(self) -> None:
        if not await self._run(lua.BEAT, self._mark(), self._beat_args(), bool):
            log.warning("Redis has forgotten what it held; the sockets of this gateway are checked")
            for topic in tuple(self._listeners):
                self._tell_listeners(topic, "")
            await self._refresh(tuple(self._local))

    async def _refresh_for_ever(self) -> None:
        while True:
            names = tuple(self._local)
            size = REFRESH_STREAMS * REFRESH_CALLS
            parts = [names[start : start + size] for start in range(0, len(names), size)] or [()]
            for part in parts:
                await asyncio.sleep(self._bounds.refresh_s / len(parts))
                try:
                    await self._refresh(part)
                except BusUnavailable as error:
                    log.debug("what this gateway holds will be said when Redis is back: %s", error)

    async def _refresh(self, names: Iterable[StreamName]) -> None:
        """Say how many sockets this process has at each stream, and check that they have missed nothing."""
        waiting = tuple(names)
        size = REFRESH_STREAMS * REFRESH_CALLS
        for start in range(0, len(waiting), size):
            part = waiting[start : start + size]
            calls = [self._refresh_some(part[n : n + REFRESH_STREAMS]) for n in range(0, len(part), REFRESH_STREAMS)]
            await asyncio.gather(*calls)

    async def _refresh_some(self, names: tuple[StreamName, ...]) -> None:
        counts = [len(self._local.get(name, ())) for name in names]
        for name, count in zip(names, counts, strict=True):
            if count == 0:  # that is being said now
                self._local.pop(name, None)
        args: tuple[Word, ...] = (self.node, self._keep_ms, *counts)
        await self._run(lua.REFRESH, self._keys(*names), args, partial(self._check, names))

    def _check(self, names: tuple[StreamName, ...], answer: list[bytes]) -> None:
        """All that was published before this answer came before it, so who is behind has lost something."""
        for n, name in enumerate(names):
            seats = self._local.get(name)
            if seats is not None:
                self._losses.tell(seats.check(answer[2 * n], int(answer[2 * n + 1])))

    # The inside

    async def _publish(self, name: StreamName, event: str, key: int, data: bytes) -> int:
        bounds = self._bounds
        project, user = name
        args: tuple[Word, ...] = (
            key,
            f'{{"event":"{event}","position":"',
            data,
            bounds.max_frames,
            bounds.max_bytes,
            self._stale_ms,
            self._nodes,
            f"f {project} {'*' if user is None else user}",
        )
        return await self._run(lua.PUBLISH, self._keys(name), args, int)

    async def _run(self, script: Script, keys: tuple[str, ...], args: tuple[Word, ...], read: Callable[[Any], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._link.open_wire().run(script, keys, args, partial(settle, future, read))
        return await future

    def _keys(self, *names: StreamName) -> tuple[str, ...]:
        start = self._stream_start()
        keys: list[str] = []
        for project, user in names:
            stream = f"{start}{project}:{'*' if user is None else user}"
            keys += (stream, stream + ":frames", stream + ":keys")
        return tuple(keys)

    def _stream_start(self) -> str:
        # The run id is in the name: what a Redis has kept on its disk is older than what was published, so
        # offsets would be given out a second time. It expires unread.
        return f"{self._bounds.prefix}:{self._link.run_id}:"

    def _mark(self) -> tuple[str]:
        return (f"{self._bounds.prefix}:{self._link.run_id}:mark:{self.node}",)

    def _beat_args(self) -> tuple[Word, ...]:
        return (round(self._bounds.patience.beat_s * 30_000), self._nodes + self.node, BEAT)


def _read_presence(answer: list[int]) -> Presence:
    sockets, seen_ms = answer
    if sockets:
        return Presence(online=True, sockets=sockets, last_seen_at=clock.now())
    return Presence(False, 0, datetime.fromtimestamp(seen_ms / 1000, UTC) if seen_ms else None)


def _read_verdict(rate: Rate, answer: list[int]) -> Verdict:
    allowed, remaining, reset_us, retry_us = answer
    return Verdict(allowed == 1, rate.burst, remaining, reset_us / 1e6, retry_us / 1e6)


def _give_up(future: "asyncio.Future[Verdict]", unknown: Verdict) -> None:
    if not future.done():
        future.set_result(unknown)
