"""How chat messages may leave: where to, and for how long. There is no credential: each chat URL holds its own."""

from collections.abc import Collection
from ipaddress import ip_network

from msgspec import Struct

from tidings.addresses import Guard, Network
from tidings.providers.account_checks import check_calls


class ChatAccount(Struct, frozen=True):
    """What an operator decides about chat.

    `allowed_hosts`: the only hosts that may be called, `*.example.org` stands for all names below; empty: every
    public one. `allowed_networks`: CIDR ranges where a server of one's own may be although they are not public.
    `allowed_ports`: besides 443 and 8443. `plain_http`: services without TLS may be called (`json://`, `ntfy://`), on
    port 80 too. `emulated`: the bundled emulator, so this machine is allowed. `ca_pem`: more roots to trust.
    `timeout_s`: for one message, whatever calls the service needs. `threads`: how many messages may be under way; more
    wait within `timeout_s`.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    plain_http: bool = False
    ca_pem: bytes | None = None
    emulated: bool = False
    timeout_s: float = 15.0
    threads: int = 4


def guard_of(account: ChatAccount) -> Guard:
    """Where the account's messages may go. Raises ValueError when a network is none."""
    networks: list[Network] = []
    for text in account.allowed_networks:
        try:
            networks.append(ip_network(text))
        except ValueError:
            raise ValueError("allowed_networks must be ranges like 10.20.0.0/16") from None
    named = {443, 8443, *account.allowed_ports} | ({80} if account.plain_http else set())
    ports: Collection[int] = range(1, 65536) if account.emulated else frozenset(named)
    schemes = frozenset({"https", "http"} if account.plain_http else {"https"})
    return Guard(account.allowed_hosts, ports, schemes, tuple(networks), loopback=account.emulated)


def check_account(account: ChatAccount) -> Guard:
    """The account's guard. Raises ValueError: one sentence for who configures it."""
    check_calls(timeout_s=account.timeout_s, threads=account.threads)
    return guard_of(account)
