"""A real gateway on a real port, and its clients: `websockets` as a foreign one, and one of raw bytes."""

import asyncio
import base64
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tidings import clock, signing
from tidings.bus import Bus
from tidings.bus.memory import MemoryBus
from tidings.gateway.hub import GatewayConfig
from tidings.gateway.server import Gateway, start_gateway

KEY = signing.derive(bytes(32), signing.USER_TOKENS)
PATIENCE_S = 20.0  # for this machine at its worst; nothing is asserted about time


async def until(condition: Callable[[], object]) -> None:
    """Come back when it holds; TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is inside the thing under test
            await asyncio.sleep(0.005)


def token(user_id: int = 7, project_id: int = 1, ttl_s: int = 600) -> str:
    return signing.mint_user_token(KEY, project_id, user_id, clock.now(), ttl_s)


class World:
    """A gateway with its bus, and what it told the core."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.acknowledged: list[tuple[int, int, list[int]]] = []
        self.read: list[tuple[int, int, list[int]]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.core_is_broken = False
        self.gateway: Gateway

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.gateway.port}/ws"

    async def acknowledge(self, project_id: int, user_id: int, ids: list[int]) -> None:
        if self.core_is_broken:
            raise RuntimeError("the core is away")
        self.acknowledged.append((project_id, user_id, ids))

    async def mark_read(self, project_id: int, user_id: int, ids: list[int]) -> None:
        self.read.append((project_id, user_id, ids))

    def count(self, name: str, label: str, n: int) -> None:
        self.counts[name, label] += n

    @asynccontextmanager
    async def client(self, user_id: int = 7, project_id: int = 1, **positions: str) -> AsyncIterator["Client"]:
        """A client that has said who it is and was welcomed."""
        async with connect(self.url, compression=None, max_queue=None, close_timeout=2) as connection:
            client = Client(connection)
            await client.say(command="authenticate", token=token(user_id, project_id), positions=positions or None)
            client.welcome = await client.hear()
            assert client.welcome["event"] == "welcome"
            yield client


class Client:
    """A foreign client that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: dict[str, Any] = {}

    async def say(self, **fields: Any) -> None:
        given = {name: value for name, value in fields.items() if value is not None}
        await self.connection.send(msgspec.json.encode(given).decode())

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            event: dict[str, Any] = msgspec.json.decode(await self.connection.recv())
            return event

    async def hear_ids(self, n: int) -> list[int]:
        return [(await self.hear())["data"]["id"] for _ in range(n)]

    def position(self, stream: str) -> str:
        """Where the stream stood at the welcome."""
        found: str = self.welcome["data"]["streams"][stream]["position"]
        return found

    def recovered(self, stream: str) -> bool | None:
        found: bool | None = self.welcome["data"]["streams"][stream]["recovered"]
        return found


async def close_code(connection: ClientConnection) -> int:
    """The code with which the gateway closed; frames before it are passed over."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await connection.recv()
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd else 1006


class Raw:
    """A client that can do wrong: it writes what it is told and reads frames only when asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> None:
        """Write one frame, right or wrong."""
        size = len(payload)
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        flag = 0x80 if masked else 0
        if size < 126:
            head += bytes([flag | size])
        elif size < 65536:
            head += bytes([flag | 126]) + size.to_bytes(2)
        else:
            head += bytes([flag | 127]) + size.to_bytes(8)
        self.writer.write(head + (bytes(4) if masked else b"") + payload)  # a mask of zeros changes nothing

    def say(self, **fields: Any) -> None:
        self.frame(1, msgspec.json.encode(fields))

    async def hear(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; (-1, b"") when the connection ended."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                return first & 0x0F, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return -1, b""

    async def close_code(self) -> int:
        """The code of the gateway's close frame, 1006 when it only cut."""
        while True:
            opcode, payload = await self.hear()
            if opcode == 8:
                return int.from_bytes(payload[:2])
            if opcode == -1:
                return 1006

    async def ended(self) -> None:
        """Wait until the gateway has cut the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return


@asynccontextmanager
async def raw(port: int, *, authenticated: bool = False, small_buffer: bool = False) -> AsyncIterator[Raw]:
    """Connect and upgrade by hand; perhaps authenticate as user 7 and hear the welcome."""
    sock = socket.socket()
    sock.setblocking(False)
    if small_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    try:
        key = base64.b64encode(os.urandom(16))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        client = Raw(reader, writer)
        if authenticated:
            client.say(command="authenticate", token=token())
            _, welcome = await client.hear()
            assert msgspec.json.decode(welcome)["event"] == "welcome"
        yield client
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def http(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and body of one plain HTTP exchange; (0, b"") when the gateway only cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
    except ConnectionError:
        return 0, b""
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body


@asynccontextmanager
async def world(bus: Bus | None = None, **config: Any) -> AsyncIterator[World]:
    """A running gateway with these settings."""
    made = World(bus or MemoryBus())
    made.gateway = await start_gateway(
        GatewayConfig(**{"close_timeout_s": 0.5, **config}),
        made.bus,
        token_key=KEY,
        acknowledge=made.acknowledge,
        mark_read=made.mark_read,
        on_count=made.count,
    )
    try:
        yield made
    finally:
        await made.gateway.close()
