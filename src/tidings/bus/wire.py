"""One connection to Redis, for commands and for what it publishes to us.

Redis runs one thing at a time and writes to a connection in that order. With RESP3 answers and published
messages share the connection, so their order here is the order in which things happened there. The whole
bus leans on this: a message that comes after the answer to `join` was published after it, and one that
came before was in the answer. So whoever must not miss that moment gives a function, called at once when
the answer is read; a task that waits for a future runs later.

Commands of one turn of the event loop are written together. Answers come in the order of the commands.
`hiredis` reads and writes the protocol; the client library around it is not used, because its pipelines and
its Pub/Sub are two connections without a common order, and cost seven times the CPU.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import hiredis

from tidings.bus import BusUnavailable
from tidings.bus.lua import Script

Word = str | int | float | bytes | memoryview
# Gets the answer, an error that Redis answered (`hiredis.ReplyError`), or `BusUnavailable`. Must not raise.
OnReply = Callable[[Any], None]
# Gets a published message: channel, data. Must not raise; if it does, that is logged.
OnMessage = Callable[[bytes, bytes], None]

T = TypeVar("T")

SECOND_LOOK_S = 0.02

log = logging.getLogger(__name__)


class Wire(asyncio.Protocol):
    """Lives as long as its connection. `closed` is done when that has ended; every command that was waiting
    has its `BusUnavailable` by then.

    timeout_s: for the answer to each command; one that is late ends the connection, because all later ones
    stand behind it. most_waiting, most_bytes: commands without an answer, bytes not yet written; beyond
    them a command is refused at once.
    """

    def __init__(
        self,
        on_message: OnMessage,
        *,
        timeout_s: float = 1.0,
        most_waiting: int = 20_000,
        most_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._timeout_s = timeout_s
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[OnReply, float]] = deque()
        self._unwritten: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.why = "the connection to Redis was closed"  # or what ended it
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def command(self, words: tuple[Word, ...], on_reply: OnReply) -> None:
        """Send a command. `on_reply` is called exactly once, also when this raises nothing but fails later.
        Raises `BusUnavailable` when it can't even be sent; then `on_reply` is not called."""
        transport = self._transport
        if transport is None or self.closed.done() or transport.is_closing():
            raise BusUnavailable(self.why)
        if len(self._waiting) >= self._most_waiting or transport.get_write_buffer_size() > self._most_bytes:
            raise BusUnavailable("more is being asked of Redis than it takes")
        self._waiting.append((on_reply, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look, False)
        self.tell(*words)

    def tell(self, *words: Word) -> None:
        """Send a command that has no answer: SUBSCRIBE, whose confirmation is a message."""
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub: one word

    def run(self, script: Script, keys: tuple[str, ...], args: tuple[Word, ...], on_reply: OnReply) -> None:
        """Run a script, sending its text only if Redis does not know it (any more). Else as `command`."""
        rest = (len(keys), *keys, *args)
        again = partial(self._or_with_text, script, rest, on_reply)
        self.command(("EVALSHA", script.sha, *rest), again)

    async def ask(self, *words: Word) -> Any:
        """A command and its answer. Raises `BusUnavailable`, also for an error that Redis answered."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.command(words, partial(settle, future, _as_it_is))
        return await future

    def abort(self, why: str) -> None:
        """End the connection now. Twice is safe."""
        if self._transport is not None and not self._transport.is_closing():
            self.why = why
            self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, and not their class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (said := self._reader.gets()) is not False:
                if isinstance(said, hiredis.PushNotification):
                    self._hear(said)
                elif self._waiting:
                    self._waiting.popleft()[0](said)
        except hiredis.ProtocolError as error:
            self.abort(f"that is not Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.why = f"the connection to Redis broke: {exc}"
        if self._timer is not None:
            self._timer.cancel()
        self.closed.set_result(None)
        error = BusUnavailable(self.why)
        while self._waiting:
            self._waiting.popleft()[0](error)

    # The inside

    def _hear(self, push: list[Any]) -> None:
        if push[0] != b"message":  # the confirmation of a subscription
            return
        try:
            self._on_message(push[1], push[2])
        except Exception:
            # A listener with a fault must not cost the connection that all others share.
            log.exception("a message of the bus could not be handled")

    def _or_with_text(self, script: Script, rest: tuple[Word, ...], on_reply: OnReply, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            try:
                self.command(("EVAL", script.text, *rest), on_reply)
            except BusUnavailable as error:
                on_reply(error)
        else:
            on_reply(reply)

    def _flush(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(unwritten))

    def _look(self, again: bool) -> None:
        """Is the oldest answer overdue? The second look is for a process that was itself too busy to read:
        what has arrived is read between the two."""
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][1] + self._timeout_s - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look, False)
        elif not again:
            self._timer = self._loop.call_later(SECOND_LOOK_S, self._look, True)
        else:
            self.abort(f"Redis did not answer within {self._timeout_s} s")


def settle(future: "asyncio.Future[T]", read: Callable[[Any], T], reply: object) -> None:
    """Give the future what `read` makes of the answer, at once. Nobody waits any more: nothing is done."""
    if future.done():
        return
    if isinstance(reply, BusUnavailable):
        future.set_exception(reply)
    elif isinstance(reply, hiredis.ReplyError):
        future.set_exception(BusUnavailable(f"Redis answered: {reply}"))
    else:
        try:
            future.set_result(read(reply))
        except Exception as error:  # the caller's to handle, not the connection's
            future.set_exception(error)


def _as_it_is(reply: Any) -> Any:
    return reply
