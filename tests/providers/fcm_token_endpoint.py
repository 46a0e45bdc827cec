"""A token endpoint on a real socket (HTTP/1.1), for the tests of OAuth: it answers what the test tells it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

KEY = generate_private_key(public_exponent=65537, key_size=2048)
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

# What the test answers with: status, headers, body. Called with the number of the request, from 1.
Reply = tuple[int, dict[str, str], bytes]


def service_account(endpoint: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "type": "service_account",
        "project_id": "shop-1",
        "client_email": "sender@shop-1.iam.gserviceaccount.com",
        "private_key": KEY_PEM,
        "private_key_id": "key-1",
        "token_uri": endpoint,
        "client_id": "ignored",
    }
    return fields | changes


def granted(number: int, life_s: Any = 3600) -> Reply:
    body = {"access_token": f"token-{number:04d}", "expires_in": life_s, "token_type": "Bearer"}
    return 200, {}, msgspec.json.encode(body)


@dataclass
class TokenEndpoint:
    """`forms`: every form received. `gate`: cleared, no request is answered until it is set."""

    url: str = ""
    reply: Callable[[int], Reply] = granted
    forms: list[dict[str, str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            body = await reader.readexactly(int(fields[b"content-length"]))
            self.forms.append(dict(parse_qsl(body.decode())))
            number = len(self.forms)
            await self.gate.wait()
            status, headers, content = self.reply(number)
            if status:  # 0: hang up without an answer
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", "connection: close"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def token_endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    endpoint.gate.set()
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", 0)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    try:
        yield endpoint
    finally:
        server.close()
        await server.wait_closed()
