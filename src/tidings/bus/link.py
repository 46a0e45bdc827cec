"""Keeps one connection to Redis up: opens it, proves with a heartbeat that it carries, opens it again.

A connection can be dead in ways that nobody reports: the machine is gone, the server hangs, the subscription
is not there. So every `beat_s` a message goes out through Redis and must come back; when three are missing,
or one command is not answered in time, the connection is given up and everything starts from the beginning.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from tidings.bus import BusUnavailable
from tidings.bus.address import Address, open_connection
from tidings.bus.lua import SCRIPTS
from tidings.bus.wire import OnMessage, Wire
from tidings.errors import SetupError
from tidings.tls import impossible

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
STEADY_S = 5.0  # a connection that lasted so long was a good one
MISSED_BEATS = 3

log = logging.getLogger(__name__)


class Patience(Struct, frozen=True):
    """Seconds. call_s: for the answer to one command. connect_s: to open a connection and say hello.
    beat_s: between two heartbeats."""

    call_s: float = 1.0
    connect_s: float = 1.0
    beat_s: float = 2.0


class Link:
    """`wire` is the open connection, None while there is none. `run_id` names the life of the Redis behind
    it: a server that was started again is another one, whatever it has kept on its disk.

    on_up: called for each new connection, before commands of others are likely; may raise
    `BusUnavailable`. beat: sends one heartbeat; its message must lead to a call of `heard_beat`.
    """

    def __init__(
        self,
        address: Address,
        patience: Patience,
        *,
        name: str,
        channels: tuple[str, ...],
        on_message: OnMessage,
        on_up: Callable[[], Awaitable[None]],
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        self.wire: Wire | None = None
        self.run_id = ""
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._patience = patience
        self._name = name
        self._channels = channels
        self._on_message = on_message
        self._on_up = on_up
        self._beat = beat
        self._heard_at = 0.0
        self._is_settled = False
        self._first_try = asyncio.Event()
        self._refused = ""
        self._task = self._loop.create_task(self._keep_up(), name="bus link")

    @property
    def healthy(self) -> bool:
        """Connected, all that was missed meanwhile is settled, and a heartbeat came back lately."""
        return self._is_settled and self._loop.time() - self._heard_at < MISSED_BEATS * self._patience.beat_s

    def heard_beat(self) -> None:
        """A heartbeat has come back."""
        self._heard_at = self._loop.time()

    def open_wire(self) -> Wire:
        """The connection. Raises `BusUnavailable` at once when there is none."""
        if self.wire is None:
            raise BusUnavailable(f"Redis at {self._address} can't be reached")
        return self.wire

    async def first_try(self) -> None:
        """Come back when the first attempt has ended, well or not: within `connect_s` and a few calls. Raises
        `SetupError` when it can't end well: TLS is not possible, or not safe."""
        await self._first_try.wait()
        if self._refused:
            raise SetupError(self._refused)

    async def close(self) -> None:
        """Let go of the connection. Twice is safe."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _keep_up(self) -> None:
        pause_s = FIRST_PAUSE_S
        told = False
        while True:
            started = self._loop.time()
            try:
                wire = await self._open()
            except (OSError, TimeoutError, BusUnavailable) as error:
                if not told:  # once, not every second for as long as it lasts
                    log.warning("Redis at %s can't be reached: %r", self._address, error)
                told = True
                if not self._first_try.is_set():
                    self._refused = impossible(error, f"Redis at {self._address}", "REDIS")
            else:
                log.log(logging.WARNING if told else logging.INFO, "connected to Redis at %s", self._address)
                told = False
                await self._use(wire)
                log.warning("the connection to Redis at %s has ended: %s", self._address, wire.why)
            self._first_try.set()
            if self._loop.time() - started > STEADY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _open(self) -> Wire:
        """A connection that has said hello, knows the scripts and listens."""
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self._patience.connect_s):
                wire = await open_connection(self._address, self._make)
                self.run_id = await self._introduce(wire)
        except BaseException:
            if wire is not None:
                wire.abort("the start of the connection failed")
            raise
        return wire

    def _make(self) -> Wire:
        return Wire(self._on_message, timeout_s=self._patience.call_s)

    async def _introduce(self, wire: Wire) -> str:
        address = self._address
        entry = ("AUTH", address.user, address.password) if address.password else ()
        await wire.ask("HELLO", 3, *entry, "SETNAME", self._name)
        if address.db:
            await wire.ask("SELECT", address.db)
        about: Any = await wire.ask("INFO", "server")
        await asyncio.gather(*(wire.ask("SCRIPT", "LOAD", script.text) for script in SCRIPTS))
        # Confirmed by a message and not by an answer: the heartbeat proves it.
        wire.tell("SUBSCRIBE", *self._channels)
        return _run_id(about)

    async def _use(self, wire: Wire) -> None:
        """Until the connection ends, or is given up."""
        self.wire = wire
        self.heard_beat()
        try:
            await self._on_up()
            self._is_settled = True
            self._first_try.set()
            while not wire.closed.done():
                await self._beat()
                await asyncio.wait((wire.closed,), timeout=self._patience.beat_s)
                if self._loop.time() - self._heard_at > MISSED_BEATS * self._patience.beat_s:
                    wire.abort("no heartbeat came back through Redis")
        except BusUnavailable as error:
            wire.abort(f"the connection to Redis was given up: {error}")
        except Exception:
            # A fault in what is called here must not end the keeping up: without it nothing ever comes back.
            log.exception("the use of the connection to Redis failed")
            wire.abort("its use failed, the log has the details")
        finally:
            self.wire = None
            self._is_settled = False
            wire.abort("the bus was closed")


def _run_id(about: object) -> str:
    text = str(about, "utf-8", "replace") if isinstance(about, bytes) else str(about)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "run_id" and value:
            return value.strip()[:10]
    raise BusUnavailable("Redis does not tell its run_id; the user needs the right to INFO")
