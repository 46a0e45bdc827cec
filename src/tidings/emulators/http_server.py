"""A small HTTP/1.1 and HTTP/2 server for emulators, with the hand on every connection.

Vendors say GOAWAY, reset streams, limit them and drop connections. A client must be tested against all
of that, and a general server hides it. Over TLS the protocol is chosen by ALPN, over plain TCP by the first
bytes: the HTTP/2 preface (prior knowledge) or anything else, which is HTTP/1.1. Not meant for the open
internet.
"""

import asyncio
import contextlib
import ssl
from typing import cast

from tidings.emulators import frames
from tidings.emulators.exchange import Handler, Limits
from tidings.emulators.http1 import Http1Session
from tidings.emulators.http2 import Http2Session
from tidings.emulators.listener import Listener

_GRACE_S = 2.0
_HANDSHAKE_S = 10.0


class RunningServer:
    """A listening socket and its connections. Made by `serve`."""

    def __init__(self, server: asyncio.Server, listener: Listener) -> None:
        self._server = server
        self._listener = listener
        self.port: int = server.sockets[0].getsockname()[1]
        self._sweep = asyncio.get_running_loop().create_task(self._close_idle())

    @property
    def requests(self) -> int:
        """Complete requests so far, of any outcome."""
        return self._listener.requests

    @property
    def connections(self) -> int:
        """Connections so far."""
        return self._listener.connections

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._listener.sessions)

    def goaway(self, spare: object = None) -> int:
        """Say GOAWAY on every connection but `spare`; open streams are finished. Answers how many there
        were."""
        sessions = [session for session in self._listener.sessions if session is not spare]
        for session in sessions:
            session.goaway()
        return len(sessions)

    def drop(self, spare: object = None) -> int:
        """Cut every connection but `spare`. Answers how many there were."""
        sessions = [session for session in self._listener.sessions if session is not spare]
        for session in sessions:
            session.drop()
        return len(sessions)

    async def close(self) -> None:
        """Take no more connections, give open requests two seconds, then cut. Twice is safe."""
        self._server.close()
        self._sweep.cancel()
        self.goaway()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listener.empty.wait(), _GRACE_S)
        self.drop()
        late = list(self._listener.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(self._sweep, *late, return_exceptions=True)
        await asyncio.sleep(0)

    async def _close_idle(self) -> None:
        """A connection on which nothing came for `idle_s`, and that waits for nothing of ours, is sent away;
        one that doesn't leave is cut on a later round."""
        loop = asyncio.get_running_loop()
        idle_s = self._listener.limits.idle_s
        while True:
            await asyncio.sleep(min(idle_s / 4, 5.0))
            for session in list(self._listener.sessions):
                silent = loop.time() - session.last_active
                if session.waiting or silent < idle_s:
                    continue
                if silent > idle_s * 1.5:
                    session.drop()
                else:
                    session.goaway()


class _Newcomer(asyncio.Protocol):
    """A connection whose protocol isn't known yet."""

    waiting = False

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._seen = b""
        self.last_active = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)
        self.last_active = asyncio.get_running_loop().time()
        listener = self._listener
        listener.connections += 1
        if len(listener.sessions) >= listener.limits.max_connections:
            self._transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            listener.join(self)
        elif tls.selected_alpn_protocol() == "h2":
            self._become(Http2Session(listener))
        else:
            self._become(Http1Session(listener))

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._seen.startswith(frames.PREFACE):
            self._become(Http2Session(self._listener))
        elif not frames.PREFACE.startswith(self._seen):
            self._become(Http1Session(self._listener))

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.leave(self)

    def goaway(self, code: int = 0, debug: bytes = b"") -> None:
        self._transport.close()

    def drop(self) -> None:
        self._transport.abort()

    def _become(self, session: Http1Session | Http2Session) -> None:
        self._listener.leave(self)
        self._transport.set_protocol(session)
        session.connection_made(self._transport)
        if self._seen:
            session.data_received(self._seen)
            self._seen = b""


async def serve(
    app: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    max_concurrent_streams: int = 1000,
    max_body: int = 1024 * 1024,
    max_connections: int = 10_000,
    idle_s: float = 300.0,
    linger_s: float = 1.0,
) -> RunningServer:
    """Listen on `host`:`port` (0: any free one) and answer by `app`.

    With `tls` (see `certificate.py`) clients choose HTTP/2 or HTTP/1.1 by ALPN. Sizes are in bytes; a larger
    body is answered 413. `Limits` explains the rest. Raises `OSError` when the address can't be had.
    """
    limits = Limits(
        max_concurrent_streams=max_concurrent_streams,
        max_body=max_body,
        max_connections=max_connections,
        idle_s=idle_s,
        linger_s=linger_s,
    )
    listener = Listener(app, limits)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Newcomer(listener),
        host,
        port,
        ssl=tls,
        backlog=1024,
        ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
    )
    return RunningServer(server, listener)
