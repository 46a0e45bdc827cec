"""The address guard: where Tidings may connect when the address is someone else's word (SSRF, OWASP API7).

Web Push endpoints and webhook URLs are input. They are read by the same parser that connects (so two parsers
can't disagree), their names are resolved here, every address found must be public, and the connection is
made to a checked address while the name stays in Host and SNI: a name that changes its address afterwards
(DNS rebinding) changes nothing. Redirects are never followed.

The ranges: IANA's IPv4 and IPv6 special-purpose registries (RFC 6890 and updates), without their exceptions
that nobody sends notifications to. `ipaddress.is_global` is not the same list: it lets NAT64 and 6to4 pass.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pycurl
from msgspec import Struct

from tidings import http

MAX_URL_CHARS = 2048
LOOKUP_TIMEOUT_S = 5.0
MAX_ADDRESSES = 32

Network = IPv4Network | IPv6Network
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

_AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#]+)")
# Everything in IPv6 outside of this is for special purposes or not given out (RFC 4291 §2.4).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_USUAL_PORTS = {"https": 443, "http": 80}
_LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

BLOCKED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (RFC 6598)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast included"),
        ("::/96", "unspecified, loopback and IPv4-compatible"),
        ("64:ff9b::/96", "NAT64: an IPv4 address inside"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/23", "protocol assignments, Teredo, ORCHID, benchmarks"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4: an IPv4 address inside"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "SRv6"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)


class AddressRefused(ValueError):
    """The guard does not let us connect there. The text says why, and quotes neither the URL nor an
    address."""


class Guard(Struct, frozen=True):
    """What may be reached. The default: any public host by https on its usual ports.

    `hosts`: names that are allowed, `*.example.org` for all below example.org; empty: every name.
    `networks`: addresses that are allowed although they are not public, for services of one's own.
    `loopback`: this machine is allowed too, by name or number, and http with it: for emulators only.
    """

    hosts: tuple[str, ...] = ()
    ports: Collection[int] = frozenset({443, 8443})
    schemes: frozenset[str] = frozenset({"https"})
    networks: tuple[Network, ...] = ()
    loopback: bool = False


class Target(Struct, frozen=True):
    """A URL that passed. `url` is what to call; `origin` has no path (RFC 6454); `literal`: the host is a
    number."""

    url: str
    origin: str
    host: str
    port: int
    literal: bool


def check_address(address: str | IPv4Address | IPv6Address, guard: Guard | None = None) -> None:
    """Pass when `address` is public, or allowed by `guard`. Raises AddressRefused; ValueError for no address.

    An IPv4 address written as IPv6 (`::ffff:…`, RFC 4291 §2.5.5.2) is judged as the IPv4 address that it is.
    """
    found = ip_address(address) if isinstance(address, str) else address
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise AddressRefused("the address belongs to one network interface")
        found = found.ipv4_mapped or found
    if guard is not None:
        allowed = guard.networks + (_LOOPBACK if guard.loopback else ())
        if any(found in network for network in allowed):
            return
    for network, why in BLOCKED:
        if found in network:
            raise AddressRefused(f"the address is not public: {why}")
    if found.version == 6 and found not in _GLOBAL_UNICAST:
        raise AddressRefused("the address is not public: not given out")


def check_url(text: str, guard: Guard) -> Target:
    """Read a URL and check all of it that needs no lookup. Raises AddressRefused.

    Numbers as hosts, in whatever spelling, pass only when `guard` allows that very address beyond the public
    ones.
    """
    if len(text) > MAX_URL_CHARS:
        raise AddressRefused(f"the URL is longer than {MAX_URL_CHARS} characters")
    if "\\" in text or not text.isprintable() or " " in text:
        raise AddressRefused("the URL holds a blank, a backslash or a control character")
    if not text.isascii():
        raise AddressRefused("the URL must be in ASCII: a name in other letters is written xn--…")
    try:
        url = pycurl.CurlUrl(text)
        port = int(url.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT))
        host = url.host = (url.host or "").lower()
    except pycurl.error:
        raise AddressRefused("the URL can't be read") from None
    # The parser forgives a missing or third slash; what stands here must be what anybody else reads, too.
    authority = _AUTHORITY.match(text)
    if not host or not port or authority is None:
        raise AddressRefused("the URL must begin with a scheme, :// and a host")
    if "@" in authority[1]:
        raise AddressRefused("the URL must not hold a user or password")
    if url.zoneid is not None:
        raise AddressRefused("the address belongs to one network interface")
    literal = _is_number(host)
    if literal:
        _check_literal(host.strip("[]"), guard)
    else:
        _check_name(host, guard)
    local = guard.loopback and (literal or host == "localhost")
    if not local and url.scheme not in guard.schemes:
        raise AddressRefused(f"the URL must begin with {' or '.join(sorted(guard.schemes))}")
    if url.scheme not in _USUAL_PORTS:
        raise AddressRefused("the URL must begin with https")
    if not local and port not in guard.ports:
        raise AddressRefused("the port is not one that may be called")
    if port == _USUAL_PORTS[url.scheme]:
        url.port = None
    origin = f"{url.scheme}://{host}" if url.port is None else f"{url.scheme}://{host}:{port}"
    return Target(url.url, origin, host, port, literal)


async def resolve(target: Target, guard: Guard, lookup: Lookup | None = None) -> tuple[str, ...]:
    """The addresses of a target, every one of them checked, in the order to try them (RFC 6724).

    Raises AddressRefused when any of them is not allowed: a name with one foot inside is refused whole.
    Raises OSError (TimeoutError after 5 s) when the name can't be resolved; later it may. `lookup` replaces
    the system's resolver.
    """
    if target.literal:
        found: Sequence[str] = (target.host.strip("[]"),)
    else:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            found = await (lookup or system_lookup)(target.host, target.port)
    if not found:
        raise OSError("the name has no address")
    for address in found:
        check_address(address, guard)
    return tuple(dict.fromkeys(found))[:MAX_ADDRESSES]


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """What the system's resolver knows. Raises OSError."""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long: raised before the resolver is asked
        raise OSError("the name can't be resolved") from error
    return [str(info[4][0]) for info in infos]


def open_pinned(
    address: str, *, timeout_s: float, ca_pem: bytes | None = None, connections: int = http.MOST_CONNECTIONS
) -> http.Client:
    """A client whose calls all go to `address`, with the name that the URL says in Host and SNI.

    Its bounds are those of `http.open_client`; it ignores proxies (a proxy would resolve the name anew). It is to be
    used for the origin only whose address this is.
    """
    return http.open_client(timeout_s=timeout_s, ca_pem=ca_pem, connections=connections, pinned_to=address)


def matches(host: str, patterns: Sequence[str]) -> bool:
    """Whether `host` is one of `patterns`; `*.example.org` stands for every name below example.org."""
    for pattern in patterns:
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) >= len(pattern)):
            return True
    return False


def _is_number(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _check_literal(host: str, guard: Guard) -> None:
    if guard.loopback and host == "127.0.0.1":  # where emulators are, a thousand times a second
        return
    try:
        check_address(host)
    except AddressRefused:
        check_address(host, guard)
    else:
        if not matches(host, guard.hosts):
            raise AddressRefused("the host must be a name, not a number")


def _check_name(host: str, guard: Guard) -> None:
    labels = host.split(".")
    # A dot at the end too: the same place by another name. Some resolvers read a number at the end as an address.
    if not all(labels) or _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("the host is not a name that can be called")
    if host == "localhost" or host.endswith(".localhost"):
        if not guard.loopback:
            raise AddressRefused("the address is not public: loopback")
    elif guard.hosts and not matches(host, guard.hosts):
        raise AddressRefused("the host is not on the list of those that may be called")
