"""Who may open a socket, decided from the HTTP request alone: path, origin, version, room, and where the
token is.

Browsers do not apply the same-origin policy to WebSockets, so the server must check the Origin header (RFC
6455 §10.2). Cookies are not looked at, so a foreign page has nothing to ride on anyway.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from tidings.discreet import Discreet
from tidings.gateway.protocol import SUBPROTOCOL, TOKEN_SUBPROTOCOL, AskedPositions

PATHS = frozenset({"/", "/ws"})
TOKEN_PARAMETERS = frozenset({"token", "access_token", "jwt", "auth", "authorization"})
MAX_QUERY_CHARS = 512
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origin(Struct, frozen=True):
    """A web origin (RFC 6454 §4), lower-case, its port filled in."""

    scheme: str
    host: str
    port: int


class Origins(Struct, frozen=True):
    """Which pages may connect. `any_page`: all. `local_pages`: those of this machine, any port."""

    any_page: bool
    local_pages: bool
    listed: frozenset[Origin]

    def allow(self, header: str | None) -> bool:
        """A request without the header does not come from a browser's page and is allowed."""
        if header is None or self.any_page:
            return True
        origin = read_origin(header)
        if origin is None:
            return False
        return origin in self.listed or (self.local_pages and origin.host in LOCAL_HOSTS)


class Accept(Discreet, frozen=True):
    """Open the socket. `token`: it came as a subprotocol. `subprotocol`: the one to answer with."""

    token: str | None
    asked: AskedPositions
    subprotocol: str | None


class Answer(Discreet, frozen=True):
    """A plain HTTP answer instead of a socket. `name` is for the metrics."""

    name: str
    status: HTTPStatus
    headers: Mapping[str, str]
    body: bytes


def read_origin(text: str) -> Origin | None:
    """The origin, or None for anything that is not exactly one: `null`, a path, a user, a bad port."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https") or not host or text.lower() != f"{scheme}://{parts.netloc}".lower():
        return None
    if "@" in parts.netloc or parts.netloc.endswith(":") or any(c <= " " or c in "\\%" for c in text):
        return None
    return Origin(scheme, host, port or DEFAULT_PORTS[scheme])


def read_origins(texts: Sequence[str]) -> Origins:
    """The setting: `*` for all pages, nothing for pages of localhost.
    Raises ValueError for what is no origin."""
    listed = frozenset(filter(None, (read_origin(text.rstrip("/")) for text in texts if text != "*")))
    for text in texts:
        if text != "*" and read_origin(text.rstrip("/")) is None:
            raise ValueError(f"not an origin such as https://app.example.com: {text!r}")
    return Origins("*" in texts, not texts, listed)


def decide(
    target: str,
    headers: Mapping[str, Sequence[str]],
    origins: Origins,
    full: bool,
    draining: bool,
) -> Accept | Answer:
    """`target`: path and query. `headers`: lower-case names, every
    value. `full`: no room for one more socket."""
    path, _, query = target.partition("?")
    if path == "/livez":
        return Answer("livez", HTTPStatus.OK, {"Content-Type": "text/plain", "Cache-Control": "no-store"}, b"ok\n")
    if path not in PATHS:
        return problem("not_found", HTTPStatus.NOT_FOUND, "Sockets are opened at / or /ws.")
    if (headers.get("upgrade") or [""])[0].lower() != "websocket":
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        return problem("no_upgrade", HTTPStatus.UPGRADE_REQUIRED, "Only WebSockets are served here.", upgrade)
    if (headers.get("sec-websocket-version") or [""])[0] != "13":
        version = {"Sec-WebSocket-Version": "13"}
        return problem("version", HTTPStatus.UPGRADE_REQUIRED, "Use version 13 (RFC 6455).", version)
    if not _single_allowed(headers.get("origin", ()), origins):
        return problem("origin", HTTPStatus.FORBIDDEN, "Pages of this origin are not allowed to connect.")
    if full or draining:
        again = {"Retry-After": "5"}
        return problem("full", HTTPStatus.SERVICE_UNAVAILABLE, "No room for another socket now.", again)
    return _accept(query, headers.get("sec-websocket-protocol", ()))


def _single_allowed(values: Sequence[str], origins: Origins) -> bool:
    return len(values) <= 1 and origins.allow(values[0] if values else None)


def _accept(query: str, protocol_values: Sequence[str]) -> Accept | Answer:
    if len(query) > MAX_QUERY_CHARS:
        return problem("query", HTTPStatus.BAD_REQUEST, f"The query has more than {MAX_QUERY_CHARS} characters.")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if TOKEN_PARAMETERS.intersection(name.lower() for name in parameters):
        detail = "A token in the address ends up in logs. Send it as the first message or as a subprotocol."
        return problem("token_in_query", HTTPStatus.BAD_REQUEST, detail)
    offered = [name.strip() for value in protocol_values for name in value.split(",")]
    token = next((n[len(TOKEN_SUBPROTOCOL) :] for n in offered if n.startswith(TOKEN_SUBPROTOCOL)), None)
    if offered and SUBPROTOCOL not in offered:
        detail = f"Offer the subprotocol {SUBPROTOCOL} (with the token as a second one, or none)."
        return problem("subprotocol", HTTPStatus.BAD_REQUEST, detail)
    asked = AskedPositions(parameters.get("notification"), parameters.get("broadcast"))
    return Accept(token, asked, SUBPROTOCOL if offered else None)


def problem(name: str, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A problem document (RFC 9457). `name` is its stable code."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": name,
    }
    all_headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store", **(headers or {})}
    return Answer(name, status, all_headers, msgspec.json.encode(body))
