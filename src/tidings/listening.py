"""Listening for HTTP: the socket, and uvicorn inside our own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import uvicorn

from tidings.errors import SetupError

BACKLOG = 4096  # connections that wait to be accepted; the usual 100 makes a burst wait for a second
KEEP_ALIVE_S = 75


def listen(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared`: other processes may listen on the same port.

    Raises `SetupError` that names the setting when the port is taken.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
        # Connections inherit it. Without it an answer in two writes waits for a delayed acknowledgement: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        sentence = f"{host}:{port} can't be used: {error.strerror}. Set {setting} to another port."
        raise SetupError(sentence) from error


def url_of(scheme: str, listening: socket.socket) -> str:
    """How to reach it from this machine."""
    host, port = listening.getsockname()[:2]
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return f"{scheme}://{everywhere.get(host, f'[{host}]' if ':' in host else host)}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: signals are the command line's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve_http(asgi: Any, listening: socket.socket, grace_s: float, stack: AsyncExitStack) -> None:
    """Serve until the stack closes; then open requests have `grace_s` seconds to finish."""
    config = uvicorn.Config(
        asgi,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(grace_s),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))

    async def stop() -> None:
        server.should_exit = True
        await serving

    stack.push_async_callback(stop)
    while not server.started:
        if serving.done():
            serving.result()
            raise SetupError("The API server ended at once.")
        await asyncio.sleep(0.005)
