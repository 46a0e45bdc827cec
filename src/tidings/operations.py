"""The operations port of a process: `/metrics`, `/livez`, `/readyz`. For machines; it needs no key, so keep it inside.

Liveness says that the process answers; readiness that it can do its work now. While the service drains it is alive
and not ready; its dependencies are not asked then, for they are being closed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec

from tidings import metrics

READ_TIMEOUT_S = 5.0
MOST_HEADER_BYTES = 8192
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], Awaitable[dict[str, str]]]  # dependency → ok or what is wrong


class Operations:
    """A tiny HTTP/1.0 server. `draining` turns readiness off."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self.draining = False
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Answer on this socket until `close`."""
        self._server = await asyncio.start_server(self._answer, sock=listening, limit=MOST_HEADER_BYTES)

    async def close(self) -> None:
        """Stop listening. Twice is safe."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._route(head.split(b"\r\n", 1)[0].split(b" "))
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever asked did not ask properly, or went away
        finally:
            writer.close()

    async def _route(self, request: list[bytes]) -> tuple[str, str, bytes]:
        if len(request) < 2 or request[0] not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", "text/plain", b"GET only\n"
        match request[1].partition(b"?")[0]:
            case b"/metrics":
                return "200 OK", TEXT, metrics.render()
            case b"/livez":
                return "200 OK", "application/json", b'{"status":"ok"}'
            case b"/readyz":
                found = {} if self.draining else await self._check()
                ready = not self.draining and all(state == "ok" for state in found.values())
                body = msgspec.json.encode({"status": _word(ready, self.draining), "dependencies": found})
                return ("200 OK" if ready else "503 Service Unavailable"), "application/json", body
        return "404 Not Found", "text/plain", b"/metrics, /livez, /readyz\n"


def _word(ready: bool, draining: bool) -> str:
    if ready:
        return "ok"
    return "draining" if draining else "unavailable"
