"""The HTTP of Apprise's plugins, guarded: what stands in each plugin's module in place of `requests`.

The plugins call `requests.post` and its kin, which would connect wherever a URL leads and follow redirects from there.
Here every call is read by the address guard, its name is resolved once, all its addresses are checked and the
connection goes to a checked one, with the name in Host and SNI; so a name that changes its address between the check
and the call (DNS rebinding) changes nothing. Redirects are not followed, proxies and cookies are not used, answers are
bounded, and all calls of one message end together at its deadline. What came back is kept: the plugins themselves only
say yes or no.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from tidings.addresses import AddressRefused, Guard, Lookup, check_url, resolve
from tidings.http import MAX_ANSWER_BYTES, Answer, Failure

CONNECT_TIMEOUT_S = 5.0
LEAST_TIMEOUT_S = 0.05
KEPT_HEADERS = ("retry-after", "x-ratelimit-reset-after")
MOST_CALLS = 8
"""One message to one room takes one or two calls of HTTP."""

_CHUNK = 8192
_POOLS = 32
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_PASSED_ON = ("params", "data", "json", "headers", "auth")


class Exchanges:
    """The calls of one message: their bounds, and what became of each. The worker thread writes, the loop reads."""

    def __init__(
        self,
        guard: Guard,
        deadline: float,
        sessions: "Sessions",
        loop: asyncio.AbstractEventLoop,
        lookup: Lookup | None,
    ) -> None:
        """`deadline`: a time of `time.monotonic` at which every call ends. `lookup` replaces the system's resolver."""
        self.guard = guard
        self.deadline = deadline
        self.sessions = sessions
        self.loop = loop
        self.lookup = lookup
        self.seen: list[Answer | Failure | AddressRefused] = []
        self.under_way = False
        self.address = ""
        self.socket: socket.socket | None = None
        self.ended = False

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; 0 when it is over or the calls were ended."""
        return 0.0 if self.ended else max(0.0, self.deadline - time.monotonic())

    def end(self) -> None:
        """No more calls, and the one under way fails now. From the event loop's thread; twice is safe."""
        self.ended = True
        held = self.socket
        if held is not None:
            with contextlib.suppress(OSError):  # closed meanwhile: what we wanted
                held.shutdown(socket.SHUT_RDWR)


PRESENT: ContextVar[Exchanges] = ContextVar("tidings_chat_exchanges")
"""The message on whose behalf this thread works."""


class _Guarded:
    """A connection of urllib3 that goes to the checked address, whatever its name leads to now."""

    host: str
    port: int
    timeout: Any
    sock: Any

    def _new_conn(self) -> socket.socket:
        exchanges = PRESENT.get()
        try:
            made = socket.create_connection(
                (exchanges.address, self.port), min(CONNECT_TIMEOUT_S, exchanges.left_s or LEAST_TIMEOUT_S)
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            raise NewConnectionError(self, "could not connect") from error  # type: ignore[arg-type]
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchanges.socket = made
        return made

    def request(self, *arguments: Any, **how: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        PRESENT.get().socket = self.sock
        super().request(*arguments, **how)  # type: ignore[misc]


class _Plain(_Guarded, HTTPConnection):
    pass


class _Secure(_Guarded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=_POOLS, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **how: Any) -> None:
        super().init_poolmanager(*arguments, **how, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}


class Sessions:
    """One session for each worker thread: they are not made to be shared. Connections are kept and used again."""

    def __init__(self, ca_pem: bytes | None) -> None:
        self._context = ssl.create_default_context(cafile=certifi.where())
        if ca_pem is not None:
            self._context.load_verify_locations(cadata=ca_pem.decode())
        self._local = threading.local()
        self._all: list[requests.Session] = []

    def mine(self) -> requests.Session:
        """The session of this thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False  # proxies would resolve the name anew, .netrc would add passwords
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # nothing passes from one to another
            session.headers["accept-encoding"] = "identity"
            adapter = _Adapter(self._context)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._all.append(session)
        return session

    def close(self) -> None:
        """Close what is kept. Twice is safe."""
        for session in self._all:
            session.close()


class GuardedRequests:
    """Stands for the module `requests` in a plugin. Outside of a message nothing can be called."""

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            return lambda url, *_, **how: self.request(name, url, **how)
        return getattr(requests, name)

    def request(self, method: str, url: str, **how: Any) -> requests.Response:
        """One call. Raises `requests.RequestException` as the real one does: plugins know what to do with it."""
        exchanges = PRESENT.get()
        if len(exchanges.seen) >= MOST_CALLS:
            exchanges.seen.append(Failure(False, False, "the service needs too many calls for one message"))
            raise requests.ConnectionError("too many calls")
        exchanges.under_way = True
        try:
            response = _call(exchanges, method, url, {name: how[name] for name in _PASSED_ON if name in how})
        except AddressRefused as refused:
            exchanges.seen.append(refused)
            raise requests.ConnectionError("the address is not allowed") from None
        except (requests.RequestException, OSError) as error:
            failure = _failure(error, exchanges)
            exchanges.seen.append(failure)
            raise requests.ConnectionError(failure.detail) from None
        finally:
            exchanges.under_way, exchanges.socket = False, None
        return response


def _call(exchanges: Exchanges, method: str, url: str, how: dict[str, Any]) -> requests.Response:
    target = check_url(url, exchanges.guard)
    if exchanges.left_s <= 0:
        raise requests.ConnectTimeout("over")
    # On the loop that waits for us: its resolver has a deadline, and is the one that everything else uses.
    found = asyncio.run_coroutine_threadsafe(resolve(target, exchanges.guard, exchanges.lookup), exchanges.loop)
    try:
        exchanges.address = found.result(exchanges.left_s)[0]
    except TimeoutError:
        found.cancel()
        raise requests.ConnectTimeout("the name was not resolved in time") from None
    left_s = max(exchanges.left_s, LEAST_TIMEOUT_S)
    response = exchanges.sessions.mine().request(
        method.upper(),
        target.url,  # as the guard has read it: another parser might read the original otherwise
        timeout=(min(CONNECT_TIMEOUT_S, left_s), left_s),
        allow_redirects=False,
        stream=True,
        **how,
    )
    body, cut = _read(response, exchanges)
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    exchanges.seen.append(Answer(response.status_code, body, headers, cut))
    response._content = body
    return response


def _read(response: requests.Response, exchanges: Exchanges) -> tuple[bytes, bool]:
    """The body up to the bound, not decompressed: it could unfold to any size."""
    body = bytearray()
    try:
        while len(body) <= MAX_ANSWER_BYTES:
            if exchanges.left_s <= 0:
                raise requests.ReadTimeout("over")
            chunk = response.raw.read1(_CHUNK)
            if not chunk:
                return bytes(body), False
            body += chunk
    except Exception:
        response.close()
        raise
    response.close()
    return bytes(body[:MAX_ANSWER_BYTES]), True


def _failure(error: Exception, exchanges: Exchanges) -> Failure:
    """Without the error's text: it quotes the URL, whose path is often the secret."""
    if isinstance(error, requests.ConnectTimeout):
        return Failure(True, False, "no connection in time")
    if isinstance(error, requests.exceptions.SSLError):
        return Failure(False, False, "could not connect: the certificate is not trusted, or TLS failed")
    causes = [error, error.__cause__, error.__context__, *error.args]
    if isinstance(error, socket.gaierror) or (
        isinstance(error, OSError) and not isinstance(error, requests.RequestException)
    ):
        return Failure(False, False, "the service's name can't be resolved")
    if any(isinstance(getattr(cause, "reason", cause), NewConnectionError) for cause in causes):
        return Failure(False, False, "could not connect")
    if isinstance(error, requests.Timeout) or exchanges.left_s <= 0:
        return Failure(True, True, "no answer in time")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return Failure(False, False, "the call can't be made as the URL asks for it")
    return Failure(False, True, "the connection broke")
