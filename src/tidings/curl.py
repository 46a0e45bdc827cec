"""libcurl's side of `http.py`: how its handles are set, and what its results mean.

The options are documented at https://curl.se/libcurl/c/curl_easy_setopt.html. Left as they come: certificates are
checked, redirects are answers, answers are not decompressed.
"""

import io
import os
import socket
import tempfile
import weakref
from collections.abc import Collection, Sequence
from typing import Any

import certifi
import pycurl
from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct

from tidings.discreet import Discreet

MAX_ANSWER_BYTES = 64 * 1024
"""No vendor answer that we understand comes near this; what is longer is cut here and the rest never read."""

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 60
IDLE_TIMEOUT_S = 300
FOREVER_S = 10 * 365 * 86400
GRACE_S = 10.0  # that a peer's system may take to acknowledge what was sent, beyond the deadline of the call
MOST_STREAMS = 1000  # on a connection; the peer's own limit is below this

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it, see tcp(7)
_COULD_NOT_REPEAT = "necessary data rewind was not possible"

Options = tuple[tuple[int, Any], ...]


class Request(Discreet, frozen=True):
    """What is sent, without its body. Made by `http.request`, which checks it. `lines`: the headers."""

    method: str
    url: str
    lines: tuple[str, ...]


class Answer(Discreet, frozen=True):
    """What came back. `headers` holds only those that were asked for and present, by lower-case name.

    `cut`: the body was longer than the bound and `body` is its beginning.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    cut: bool = False


class Failure(Struct, frozen=True):
    """No whole answer came. `detail` is a short sentence without the URL (a URL can be a secret).

    `timed_out`: the deadline passed, else the connection failed.
    `maybe_sent`: the other side may have taken the request. False when nothing of it left.
    """

    timed_out: bool
    maybe_sent: bool
    detail: str


class _Roots:
    """The certificates to trust, at `path`. With some of one's own it is a file without a place on disk, as long
    as this lives.

    To libcurl a text is no substitute: it compares all of it, 250 KB, with that of the connection at each call.
    """

    def __init__(self, own_pem: bytes | None) -> None:
        self.path = certifi.where()
        if own_pem is None:
            return
        load_pem_x509_certificates(own_pem)  # libcurl would say so only when it connects
        file: Any
        if hasattr(os, "memfd_create"):
            file = open(os.memfd_create("tidings-roots"), "wb")  # noqa: SIM115 - closed below
            self.path = f"/proc/self/fd/{file.fileno()}"
        else:
            file = tempfile.NamedTemporaryFile("wb")  # noqa: SIM115
            self.path = file.name
        file.write(certifi.contents().encode() + own_pem)
        file.flush()
        weakref.finalize(self, file.close)


class _GivesUp:
    """Called with each new socket: what the peer's system does not acknowledge for so long breaks the connection."""

    def __init__(self, after_s: float) -> None:
        self._after_ms = milliseconds(after_s)

    def __call__(self, file: int, purpose: int) -> int:
        with socket.socket(fileno=os.dup(file)) as made:
            if _USER_TIMEOUT is not None and made.family in (socket.AF_INET, socket.AF_INET6):
                made.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, self._after_ms)
        return int(pycurl.SOCKOPT_OK)


class Connecting(Discreet, frozen=True):
    """How all calls of one client are made. `of_each`: libcurl's options of a handle."""

    of_each: Options
    timeout_s: float
    connections: int
    http2_only: bool
    roots: _Roots

    @classmethod
    def of(
        cls,
        *,
        timeout_s: float,
        ca_pem: bytes | None,
        certificate_pem: bytes | None,
        http2_only: bool,
        system_proxy: bool,
        connections: int,
        pinned_to: str,
        keep_idle: bool,
    ) -> "Connecting":
        """See `http.open_client`. Raises ValueError when `ca_pem` holds no certificate."""
        version = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if http2_only else pycurl.CURL_HTTP_VERSION_2TLS
        options: list[tuple[int, Any]] = [
            (pycurl.USERAGENT, "tidings"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | pycurl.PROTO_HTTP),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.HTTP_VERSION, version),
            (pycurl.PIPEWAIT, 1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.CONNECTTIMEOUT_MS, milliseconds(min(CONNECT_TIMEOUT_S, timeout_s))),
            (pycurl.MAXAGE_CONN, FOREVER_S if keep_idle else IDLE_TIMEOUT_S),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.TCP_KEEPIDLE, KEEPALIVE_S),
            (pycurl.TCP_KEEPINTVL, KEEPALIVE_S // 4),
            (pycurl.SOCKOPTFUNCTION, _GivesUp(timeout_s + GRACE_S)),
        ]
        if not system_proxy or pinned_to:
            options.append((pycurl.PROXY, ""))
        if pinned_to:
            address = f"[{pinned_to}]" if ":" in pinned_to else pinned_to
            options.append((pycurl.CONNECT_TO, [f"::{address}:"]))
        roots = _Roots(ca_pem)
        options.append((pycurl.CAINFO, roots.path))
        if certificate_pem is not None:
            options += [(pycurl.SSLCERT_BLOB, certificate_pem), (pycurl.SSLKEY_BLOB, certificate_pem)]
        return cls(tuple(options), timeout_s, connections, http2_only, roots)

    def of_all(self) -> Options:
        """libcurl's options of the client's connections."""
        return (
            (pycurl.M_MAX_HOST_CONNECTIONS, self.connections),
            (pycurl.M_MAX_CONCURRENT_STREAMS, MOST_STREAMS),
        )


class Handle:
    """One of libcurl's handles, which makes one call after the other: to set one up costs as much as a call.

    `untaken`: the last call failed although nothing is wrong with it: its connection was gone before anything was sent,
    or the peer wants it over another one (GOAWAY, REFUSED_STREAM: it promises that it did nothing, RFC 9113 §8.7).
    """

    def __init__(self, connecting: Connecting, timeout_s: float | None = None) -> None:
        """`timeout_s`: instead of that of `connecting`."""
        self.curl = curl = pycurl.Curl()
        self._request: Request | None = None
        self._lines: list[bytes] = []
        self._body: list[bytes] = []
        self._left = 0
        self.untaken = False
        self._connecting = connecting
        for option, value in connecting.of_each:
            curl.setopt(option, value)
        curl.setopt(pycurl.TIMEOUT_MS, milliseconds(timeout_s or connecting.timeout_s))
        curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)

    def prepare(self, request: Request, body: bytes, limit: int) -> None:
        """For the next call."""
        curl = self.curl
        self._lines.clear()
        self._body.clear()
        self._left = limit
        self.untaken = False
        if request is not self._request:
            self._request = request
            curl.setopt(pycurl.URL, request.url)
            curl.setopt(pycurl.HTTPHEADER, request.lines)
            curl.setopt(pycurl.HTTPGET if request.method == "GET" else pycurl.POST, 1)
        if request.method != "GET":
            # By a function that can't go back, not as a field: libcurl repeats what it sent over a kept connection that
            # then broke, unless it can't. The vendor may have taken it, and only the worker may decide to repeat.
            curl.setopt(pycurl.POSTFIELDSIZE, len(body))
            curl.setopt(pycurl.READFUNCTION, io.BytesIO(body).read)

    def _take(self, piece: bytes) -> int | None:
        self._left -= len(piece)
        if self._left >= 0:
            self._body.append(piece)
            return None
        self._body.append(piece[: self._left])
        return 0  # ends the call

    def answer(self, keep: Collection[str], plain: int | None = None) -> Answer:
        """What came, when the call has ended well."""
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        headers = {} if status == plain or not keep else headers_of(self._lines, keep)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Answer(status, body, headers, cut=self._left < 0)

    def ended(self, error: pycurl.error, keep: Collection[str]) -> Answer | Failure:
        """What came, or why nothing did, when libcurl ended the call with an error."""
        if self._left < 0:
            return self.answer(keep)
        code, said = error.args
        maybe_sent = self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        # libcurl wanted to repeat the call itself, and could not. It says the first thing that went wrong: when it is
        # just that, the peer refused the stream. Over HTTP/1.1 it may as well have closed after taking the request.
        refused = self._connecting.http2_only and said == _COULD_NOT_REPEAT
        self.untaken = code == pycurl.E_SEND_FAIL_REWIND and (refused or not maybe_sent)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return Failure(True, maybe_sent, "no answer in time" if maybe_sent else "no connection in time")
        what = "the connection broke" if maybe_sent else "could not connect"
        number = self.curl.getinfo(pycurl.OS_ERRNO)
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            said = "the name can't be resolved"
        elif code == pycurl.E_COULDNT_CONNECT and number:
            said = os.strerror(number)
        elif refused:
            said = "the vendor refuses calls over it"
        elif said == _COULD_NOT_REPEAT:
            said = "it was closed before the answer"
        return Failure(False, maybe_sent and not refused, f"{what}: {said}"[:200])


def headers_of(lines: Sequence[bytes], keep: Collection[str]) -> dict[str, str]:
    """The headers of the last answer in `lines`; before it, answers with 1xx may have come (RFC 9110 §15.2)."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()
            continue
        name, _, value = line.partition(b":")
        wanted = name.decode("latin-1").lower()
        if wanted in keep:
            found.setdefault(wanted, value.strip().decode("latin-1"))
    return found


def milliseconds(seconds: float) -> int:
    """At least one: to libcurl, none means for ever."""
    return max(1, round(seconds * 1000))
