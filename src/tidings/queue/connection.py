"""One connection to RabbitMQ that ends for certain, and the loop that opens it again.

aiormq is used without aio-pika's reconnecting layer: that one waits without a deadline while the broker is
away (mosquito/aio-pika#556, #636), and Tidings must know when a connection ends to forget what it carried.
"""

import asyncio
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import structlog
from aiormq.channel import Channel
from aiormq.connection import Connection, TransportFactory
from aiormq.exceptions import AMQPError, InvalidFrameError, ProbableAuthenticationError
from yarl import URL

from tidings import tls
from tidings.errors import SetupError
from tidings.queue.config import RabbitConfig

T = TypeVar("T")

log = structlog.get_logger("tidings.queue")

CLOSE_TIMEOUT_S = 2.0
FIRST_PAUSE_S = 0.1  # before connecting again; doubled each time, with full jitter
LONGEST_PAUSE_S = 5.0
STEADY_S = 30.0  # a connection that lasted so long starts the pauses anew


class BrokerGone(ConnectionError):
    """The broker closed, refused or did not answer in time. `__cause__`: aiormq's error, if there is one."""


async def ask(call: Awaitable[T], deadline_s: float) -> T:
    """The broker's answer. Raises `BrokerGone`.

    aiormq mixes up two things that are told apart here. It ends pending calls with `CancelledError` when its
    connection closes, although nobody cancelled the caller: that is a lost connection. And it may turn the
    caller's real cancellation into an error of its own, or swallow it: that stays a cancellation.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    try:
        async with asyncio.timeout(deadline_s):
            answer = await call
    except TimeoutError as error:
        _stay_cancelled(task, cancelled_before)
        raise BrokerGone(f"no answer within {deadline_s:g} s") from error
    except asyncio.CancelledError as error:
        _stay_cancelled(task, cancelled_before)
        raise BrokerGone("the connection was closed") from error
    except (AMQPError, OSError, RuntimeError) as error:  # RuntimeError: aiormq's for what is closed already
        _stay_cancelled(task, cancelled_before)
        raise BrokerGone(f"{type(error).__name__}: {error}") from error
    _stay_cancelled(task, cancelled_before)
    return answer


def _stay_cancelled(task: asyncio.Task[Any], before: int) -> None:
    if task.cancelling() > before:
        raise asyncio.CancelledError


class _Socket(TransportFactory):
    """Opens the socket and keeps it, so that it can be cut: aiormq's own closing waits for the peer."""

    def __init__(self, dead_after_s: float, tls: ssl.SSLContext | None) -> None:
        self._dead_after_s = dead_after_s
        self._tls = tls
        self._transport: asyncio.WriteTransport | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Called by aiormq."""
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=self._tls)
        self._transport = writer.transport
        raw = writer.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._dead_after_s * 1000))
        return reader, writer

    def cut(self) -> None:
        """Close without a word. Twice is safe."""
        if self._transport is not None:
            self._transport.abort()


class Link:
    """An open connection."""

    def __init__(self, connection: Connection, config: RabbitConfig) -> None:
        self._connection = connection
        self._config = config

    async def channel(self, *, confirms: bool) -> Channel:
        """Open a channel. Raises `BrokerGone`."""
        opening = self._connection.channel(publisher_confirms=confirms)
        channel = await ask(opening, self._config.answer_timeout_s)
        assert isinstance(channel, Channel)  # its abstract form lacks `wait` of basic_publish
        return channel

    @property
    def blocked(self) -> bool:
        """True while the broker reads nothing from this connection (its memory or disk alarm is on).

        aiormq shows this only as a coroutine that waits, so it gets one step: it ends at once, or waits.
        """
        ready = self._connection.ready()
        try:
            ready.send(None)
        except StopIteration:
            return False
        finally:
            ready.close()
        return True

    async def gone(self) -> NoReturn:
        """Wait for the end of the connection, then raise `BrokerGone`."""
        await end_of(self._connection)


async def end_of(part: Connection | Channel) -> NoReturn:
    """Wait until a connection or channel is closed, then raise `BrokerGone` with the reason."""
    closing = part.closing
    await asyncio.wait([closing])
    error = None if closing.cancelled() else closing.exception()
    raise BrokerGone(f"closed: {type(error).__name__}: {error}") from error


async def first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run all at once until the first one ends, and end the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task.cancelled():
            raise BrokerGone("the connection was closed")
        task.result()


def _url(config: RabbitConfig, role: str) -> URL:
    name = f"{config.prefix} {role} {socket.gethostname()}:{os.getpid()}"
    return URL.build(
        scheme="amqp",
        user=config.user,
        password=config.password,
        host=config.host,
        port=config.port,
        path="/" + config.vhost,
        query={"heartbeat": str(config.heartbeat_s), "name": name},
    )


@asynccontextmanager
async def open_link(config: RabbitConfig, role: str) -> AsyncIterator[Link]:
    """A connection that is gone at the end, whatever the peer does. `role` shows in RabbitMQ's own lists.

    Raises `BrokerGone`, and `SetupError` when the broker refuses these credentials or we its certificate.
    """
    wire = _Socket(3.0 * config.heartbeat_s, config.tls)
    connection = Connection(_url(config, role), transport_factory=wire)
    try:
        try:
            await ask(connection.connect(), config.connect_timeout_s)
        except BrokerGone as error:
            _explain(error, config)
            raise
        yield Link(connection, config)
    finally:
        try:
            await ask(connection.close(), CLOSE_TIMEOUT_S)
        except BrokerGone as error:
            log.debug("queue_close", role=role, error=str(error))
        finally:
            wire.cut()


def _explain(error: BrokerGone, config: RabbitConfig) -> None:
    """Raise a clearer error: `SetupError` if waiting would not help."""
    where = f"RabbitMQ at {config.host}:{config.port}"
    if said := tls.impossible(error.__cause__, where, "RABBITMQ"):
        raise SetupError(said) from error
    if isinstance(error.__cause__, ProbableAuthenticationError):
        raise SetupError(f"{where} refuses the user {config.user} with this password.") from error
    # Connection.Close instead of Connection.Open-Ok. aiormq takes it for a wrong frame and drops its text; a
    # vhost that is still coming up gets the same, so it is tried again.
    if isinstance(error.__cause__, InvalidFrameError) and "Connection.Close" in str(error.__cause__):
        raise BrokerGone(
            f"the vhost {config.vhost} does not exist, is not up, or has no rights for {config.user}"
        ) from error


async def keep_connected(
    config: RabbitConfig,
    role: str,
    serve: Callable[[Link], Coroutine[Any, Any, None]],
    lost: Callable[[Exception], None],
) -> NoReturn:
    """Connect, serve until that fails, tell `lost` why, and begin again, until cancelled."""
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            async with open_link(config, role) as link:
                await first_end(link.gone(), serve(link))
        except (BrokerGone, SetupError) as error:
            lost(error)
        except Exception as error:
            log.exception("queue_failed", role=role)  # a defect of ours; the rest of the service goes on
            lost(error)
        failures = 0 if loop.time() - began > STEADY_S else failures + 1
        await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 10))))
