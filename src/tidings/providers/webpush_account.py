"""What is needed to send by Web Push: a VAPID key, and where push services may be."""

from ipaddress import ip_network

from tidings.addresses import Guard, Network
from tidings.discreet import Discreet
from tidings.providers.account_checks import check_calls, check_waits
from tidings.providers.webpush_subscription import PUSH_SERVICES
from tidings.providers.webpush_vapid import Vapid, load_vapid

_HOST_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


class WebPushAccount(Discreet, frozen=True):
    """One VAPID key and its subject. `private_key`: PEM, or 32 bytes in base64url. repr() does not show it.

    `subject`: `mailto:` or `https:` of the operator (Apple checks it). `allowed_hosts`: push services besides
    the four vendors', `*.example.org` stands for all names below. `allowed_networks`: CIDR ranges where such
    a service of one's own may be although they are not public. `emulated`: the bundled emulator, so this
    machine is allowed and nothing else is. `ca_pem`: more roots to trust. `timeout_s`: for one call.
    `retry_floor_s`: the least wait before a repeat when the push service names none. `connections`: times
    128 connections to one push service, at most. `threads`: for the encryption. `rest_s`: the longest rest of a
    push service that refused the key or, five times in a row, the rate; 0: it never rests.
    """

    private_key: str
    subject: str
    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    ca_pem: bytes | None = None
    emulated: bool = False
    timeout_s: float = 15.0
    retry_floor_s: float = 10.0
    connections: int = 2
    threads: int = 2
    rest_s: float = 60.0

    def __repr__(self) -> str:
        return f"WebPushAccount(subject={self.subject!r}, emulated={self.emulated})"


def guard_of(account: WebPushAccount) -> Guard:
    """Where the account's subscriptions may lead: for `parse_subscription` when a device is registered.

    Raises ValueError when a network or host is not one.
    """
    if account.emulated:
        # Names too are allowed only as listed: in a container network the emulator is another machine.
        hosts = account.allowed_hosts or ("localhost",)
        ports = range(1, 65536)
        return Guard(hosts, ports=ports, networks=_networks(account), loopback=True)
    for host in account.allowed_hosts:
        name = host.removeprefix("*.")
        if not name or name != name.lower() or not set(name) <= _HOST_CHARS or "." not in name.strip("."):
            raise ValueError("allowed_hosts must be names like push.example.org or *.example.org, in lower case")
    return Guard(PUSH_SERVICES + account.allowed_hosts, networks=_networks(account))


def check_account(account: WebPushAccount) -> Vapid:
    """The account's key, ready to sign. Raises VapidError or ValueError: one sentence for who configures
    it."""
    vapid = load_vapid(account.private_key, account.subject)
    guard_of(account)
    check_calls(timeout_s=account.timeout_s, connections=account.connections, threads=account.threads)
    check_waits(retry_floor_s=account.retry_floor_s, rest_s=account.rest_s)
    return vapid


def public_key_of(account: WebPushAccount) -> str:
    """The `applicationServerKey` that pages subscribe with: 65 bytes in base64url. Raises VapidError."""
    return load_vapid(account.private_key, account.subject).public_text


def _networks(account: WebPushAccount) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in account.allowed_networks)
