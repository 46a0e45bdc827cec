"""What all connections of one listening socket share: handler, limits, counters and the set of open ones."""

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial
from typing import Protocol

from tidings.emulators.exchange import (
    INTERNAL_ERROR,
    Answer,
    Handler,
    Limits,
    Request,
)

log = logging.getLogger(__name__)


class Session(Protocol):
    """One open connection, whatever protocol it speaks."""

    last_active: float

    @property
    def waiting(self) -> bool:
        """True while the peer waits for an answer of ours: such a connection isn't idle."""
        ...

    def goaway(self, code: int = 0, debug: bytes = b"") -> None: ...

    def drop(self) -> None: ...


class Listener:
    """Mutable by nature, owned by one `RunningServer`. `requests`: complete ones, of any outcome."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
        self.sessions: set[Session] = set()
        self.tasks: set[asyncio.Future[Answer]] = set()
        self.requests = 0
        self.connections = 0
        self.empty = asyncio.Event()
        self.empty.set()

    def join(self, session: Session) -> None:
        """A connection was made."""
        self.sessions.add(session)
        self.empty.clear()

    def leave(self, session: Session) -> None:
        """Twice is safe."""
        self.sessions.discard(session)
        if not self.sessions:
            self.empty.set()

    def ask(self, request: Request) -> Answer | Awaitable[Answer]:
        """The handler's answer. A handler that fails is logged and answers 500: the peer did no wrong."""
        self.requests += 1
        try:
            return self.handler(request)
        except Exception:
            log.exception("emulator failed on %s %s", request.method, request.path)
            return INTERNAL_ERROR

    def spawn(self, awaitable: Awaitable[Answer], session: "Answering", key: int) -> asyncio.Future[Answer]:
        """Await an answer in a task and hand it to `session.answer(key, …)`. Cancel the task to forget it."""
        task = asyncio.ensure_future(awaitable)
        self.tasks.add(task)
        task.add_done_callback(partial(self._finish, session, key))
        return task

    def _finish(self, session: "Answering", key: int, task: asyncio.Future[Answer]) -> None:
        self.tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("emulator failed while answering later", exc_info=error)
        session.answer(key, INTERNAL_ERROR if error is not None else task.result())


class Answering(Protocol):
    """Where a late answer goes. `key` says which request it is for."""

    def answer(self, key: int, answer: Answer) -> None: ...
