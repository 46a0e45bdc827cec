"""Where Redis is: the address as an URL, and the connection made from it."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from tidings.discreet import Discreet
from tidings.tls import trusting

DEFAULT_PORT = 6379

P = TypeVar("P", bound=asyncio.Protocol)


class Address(Discreet, frozen=True):
    """`path`: a Unix socket, "" for TCP. `db`: which of the numbered databases. `tls`: what the server's
    certificate is checked by; None: nothing is encrypted."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""
    user: str = "default"
    password: str = ""
    db: int = 0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """For logs: without the password."""
        return self.path or f"{self.host}:{self.port}/{self.db}"

    def __repr__(self) -> str:
        return f"Address({self})"


def read_address(url: str) -> Address:
    """`redis://[user:password@]host[:port][/db]`, `rediss://` for TLS (`?ca_file=` for an authority of your
    own), `unix:///path[?db=]`. Raises ValueError, without the password in its text, and `SetupError` for a
    file of authorities that can't be used."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme not in ("redis", "rediss", "unix") or set(query) - {"db", "ca_file"}:
        raise ValueError("a Redis URL looks like redis://user:password@host:6379/0, rediss://… or unix:///…")
    is_unix = parts.scheme == "unix"
    number = query.get("db", "0") if is_unix else (parts.path.strip("/") or query.get("db", "0"))
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"the database of a Redis URL is a number, not {number!r}")
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError("the port of a Redis URL is a number up to 65535") from None
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port,
        path=unquote(parts.path) if is_unix else "",
        user=unquote(parts.username or "") or "default",
        password=unquote(parts.password or ""),
        db=int(number),
        tls=trusting(query.get("ca_file", ""), "ca_file") if parts.scheme == "rediss" else None,
    )


async def open_connection(address: Address, make: Callable[[], P]) -> P:
    """Connect. The caller sets the deadline. Raises OSError (also for TLS)."""
    loop = asyncio.get_running_loop()
    if address.path:
        _, protocol = await loop.create_unix_connection(make, address.path)
        return protocol
    _, protocol = await loop.create_connection(make, address.host, address.port, ssl=address.tls)
    return protocol
