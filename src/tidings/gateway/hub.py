"""All sockets of this process: what they share. Frames, room, subscriptions, deadlines, counts."""

import asyncio
import itertools
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from tidings.bus import Bus, Position, Recovery
from tidings.gateway import protocol
from tidings.gateway.confirmations import Confirmations, Record
from tidings.gateway.deadlines import Wheel
from tidings.gateway.draining import batches
from tidings.gateway.protocol import CloseCode
from tidings.gateway.session import Join, Session, Unauthenticated
from tidings.gateway.sockets import Socket, encode_websocket_frame

# Name, label, how many: ("closes", "4008", 1), ("frames", "sent", 512), ("upgrades", "origin", 1).
Count = Callable[[str, str, int], None]

FLUSH_SLICE_S = 0.002  # then everything else in the loop gets its turn
FLUSH_CHECK = 64
DRAIN_STEPS = 20
DRAIN_SHARE = 0.8  # of the time of a drain, for telling them; the rest is for the last to go

log = logging.getLogger(__name__)


class GatewayConfig(Struct, frozen=True):
    """How the gateway listens and what it bears. Times in seconds, sizes in bytes.

    port: 0 is a free one. allowed_origins: pages that may connect, `("*",)` all, empty: pages of localhost
    only. max_message_bytes: one message of a client. max_queue_bytes: what may wait for one slow reader.
    close_timeout_s: between saying close and cutting. bus_timeout_s: for one call of the bus.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allowed_origins: tuple[str, ...] = ()
    auth_timeout_s: float = 10.0
    ping_interval_s: float = 25.0
    pong_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    bus_timeout_s: float = 5.0
    max_message_bytes: int = 65_536
    max_queue_bytes: int = 1_048_576
    max_connections: int = 100_000
    max_connections_per_user: int = 20
    backlog: int = 4096
    reuse_port: bool = False

    def __post_init__(self) -> None:
        times = (self.auth_timeout_s, self.pong_timeout_s, self.close_timeout_s, self.bus_timeout_s)
        if min(times) <= 0 or self.pong_timeout_s > self.ping_interval_s:
            raise ValueError("times must be positive, and pong_timeout_s at most ping_interval_s")

    @property
    def tick_s(self) -> float:
        """How exact deadlines are: a fifth of the shortest, between 10 ms and 250 ms."""
        shortest = min(self.auth_timeout_s, self.pong_timeout_s, self.close_timeout_s)
        return min(0.25, max(0.01, shortest / 5))


class Hub:
    """Made once for each gateway. Sockets call it; it calls the bus and the core."""

    def __init__(
        self,
        config: GatewayConfig,
        bus: Bus,
        *,
        token_key: bytes,
        acknowledge: Record,
        mark_read: Record,
        count: Count,
    ) -> None:
        self.config = config
        self.count = count
        self.unauthenticated = Unauthenticated(token_key)
        self.acknowledgements = Confirmations("acknowledge", acknowledge)
        self.reads = Confirmations("read", mark_read)
        self.sockets: set[Socket] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._wheel = Wheel(config.tick_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets_of_user: dict[tuple[int, int], int] = {}
        self._session_prefix = secrets.token_urlsafe(6)
        self._session_numbers = itertools.count(1)
        self._dirty: deque[Socket] = deque()
        self._flush_is_due = False
        self.last_text = b""
        self.last_frame = encode_websocket_frame(b"")

    # Frames

    def frame_of(self, text: bytes) -> bytes:
        """The WebSocket frame of a text. A broadcast offers the same
        object to every socket: it is framed once."""
        if text is not self.last_text:
            self.last_text = text
            self.last_frame = encode_websocket_frame(text)
        return self.last_frame

    def mark_dirty(self, socket: Socket) -> None:
        """Write the socket's frames in the next turn of the loop, together with what comes until then."""
        self._dirty.append(socket)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        dirty = self._dirty
        end = self._loop.time() + FLUSH_SLICE_S
        sent = 0
        while dirty:
            for _ in range(min(FLUSH_CHECK, len(dirty))):
                sent += dirty.popleft().flush()
            if self._loop.time() > end:
                break
        self.count("frames", "sent", sent)
        self._flush_is_due = bool(dirty)
        if dirty:
            self._loop.call_soon(self._flush)

    # The life of a socket

    def opened(self, socket: Socket) -> float:
        """A handshake is done. Answers when (the loop's time) the first ping is due: spread, so that sockets
        that came together do not stay together."""
        self.sockets.add(socket)
        self._all_gone.clear()
        now = self._loop.time()
        self._wheel.put(socket, now + self.config.auth_timeout_s)
        return now + self.config.ping_interval_s * random.uniform(0.5, 1.0)

    def has_room_for(self, join: Join) -> bool:
        """False when the user has as many sockets as one may have."""
        user = (join.project_id, join.user_id)
        return self._sockets_of_user.get(user, 0) < self.config.max_connections_per_user

    def join(self, socket: Socket, state: Session, join: Join) -> None:
        """Subscribe the socket, then welcome it."""
        user = (join.project_id, join.user_id)
        self._sockets_of_user[user] = self._sockets_of_user.get(user, 0) + 1
        self.look_again(socket)
        self._start(self._join(socket, state, join))

    def look_again(self, socket: Socket) -> None:
        """The socket's deadlines have changed: ask it at the next tick."""
        self._wheel.put(socket, self._loop.time())

    def ending(self, socket: Socket) -> float:
        """A close was said: unsubscribe. Answers when (the loop's time) to cut the connection."""
        abort_at = self._loop.time() + self.config.close_timeout_s
        self._wheel.put(socket, abort_at)
        self._leave_soon(socket)
        return abort_at

    def closed(self, socket: Socket) -> None:
        """The connection is gone."""
        self._wheel.remove(socket)
        self.sockets.discard(socket)
        if not self.sockets:
            self._all_gone.set()
        self._leave_soon(socket)

    async def drain(self, grace_s: float) -> None:
        """Tell every socket to come back elsewhere, in batches over most of `grace_s`, so that not all come at once."""
        began = self._loop.time()
        for at_s, batch in batches(list(self.sockets), grace_s * DRAIN_SHARE, DRAIN_STEPS):
            await asyncio.sleep(began + at_s - self._loop.time())
            for socket in batch:
                socket.close(CloseCode.SHUTTING_DOWN)
        await self._wait_for_all_gone(grace_s * (1 - DRAIN_SHARE))

    async def close(self) -> None:
        """Close what is open, finish what is to be recorded, stop.
        Bounded by `close_timeout_s` and `bus_timeout_s`."""
        for socket in list(self.sockets):
            socket.close(CloseCode.SHUTTING_DOWN)
        # The wheel cuts those that do not answer.
        await self._wait_for_all_gone(self.config.close_timeout_s + 4 * self.config.tick_s)
        grace_s = self.config.bus_timeout_s
        await asyncio.gather(self.acknowledgements.close(grace_s), self.reads.close(grace_s))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        self._wheel.close()

    async def _wait_for_all_gone(self, at_most_s: float) -> None:
        waiting = self._loop.create_task(self._all_gone.wait())
        await asyncio.wait((waiting,), timeout=at_most_s)
        waiting.cancel()

    # The bus

    async def _join(self, socket: Socket, state: Session, join: Join) -> None:
        failed = False
        mine = everyone = Recovery(False, [], Position("", 0))
        try:
            async with asyncio.timeout(self.config.bus_timeout_s):
                mine, everyone = await self._bus.join(
                    join.project_id,
                    join.user_id,
                    socket.push,
                    join.notifications,
                    join.broadcasts,
                    lost=socket.lost,
                )
        except Exception:
            # The bus may or may not hold the socket now: closing it unsubscribes in either case.
            log.warning("a socket could not subscribe", exc_info=True)
            failed = True
        if socket.closing:  # meanwhile, and its leave may have come before this join
            await self._leave(socket, join.project_id, join.user_id)
        elif failed:
            socket.close(CloseCode.BUS_UNAVAILABLE)
        else:
            gap = [*mine.frames, *everyone.frames]
            socket.welcome([self._welcome_text(state, join, mine, everyone), *gap], sum(map(len, gap)))

    def _welcome_text(self, state: Session, join: Join, mine: Recovery, everyone: Recovery) -> bytes:
        data = protocol.WelcomeData(
            user_id=state.user_id,
            session_id=f"{self._session_prefix}-{next(self._session_numbers)}",
            expires_at=state.expires_at,
            ping_interval_s=self.config.ping_interval_s,
            streams=protocol.Streams(
                notification=_stream_start(join.notifications is not None, mine),
                broadcast=_stream_start(join.broadcasts is not None, everyone),
            ),
            inbox=f"/api/notifications/user/{state.user_id}",
        )
        return protocol.encode_event(protocol.Welcome(data))

    def _leave_soon(self, socket: Socket) -> None:
        state = socket.state
        if isinstance(state, Unauthenticated):
            return
        socket.state = self.unauthenticated
        user = (state.project_id, state.user_id)
        left = self._sockets_of_user[user] - 1
        if left:
            self._sockets_of_user[user] = left
        else:
            del self._sockets_of_user[user]
        self._start(self._leave(socket, state.project_id, state.user_id))

    async def _leave(self, socket: Socket, project_id: int, user_id: int) -> None:
        try:
            async with asyncio.timeout(self.config.bus_timeout_s):
                await self._bus.leave(project_id, user_id, socket.push)
        except Exception:
            log.warning("a socket could not unsubscribe; the bus will forget it by itself", exc_info=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _stream_start(asked: bool, recovery: Recovery) -> protocol.StreamStart:
    return protocol.StreamStart(recovery.recovered if asked else None, str(recovery.position))
