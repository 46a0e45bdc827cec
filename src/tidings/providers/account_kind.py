"""What the accounts of all providers have in common when they are a project's and not the operator's."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tidings.addresses import Network
from tidings.providers.contract import Provider

Credentials = Mapping[str, Any]


class CredentialsError(ValueError):
    """The credentials can't be used; the text is one sentence for who configures them, and quotes no secret."""


class Emulated(Struct, frozen=True):
    """The bundled emulators. `base_urls` by provider; `ca_pem`: their root; `retry_s`: the least wait before a repeat,
    because nobody wants to wait for an emulated vendor as long as a real one asks."""

    base_urls: Mapping[str, str]
    ca_pem: bytes
    retry_s: float = 10.0


class Outside(Struct, frozen=True):
    """Where accounts of projects may lead. `networks`: not public, and allowed all the same, by the operator.
    `emulated` None: there are no emulators here, and emulated accounts are refused."""

    networks: tuple[Network, ...] = ()
    emulated: Emulated | None = None


async def no_host(account: Any, outside: Outside) -> Any:
    """For accounts that name no host of their own: as it is."""
    return account


class Kind(Struct, frozen=True):
    """How the accounts of one provider are handled.

    `read`: credentials → the provider's account struct, wholly checked; ValueError with a sentence. `reread`: the same
    for what was checked before, where checking takes long. `describe`: what of an account is no secret. `expires_at`:
    of a certificate. `place`: the account at the vendor (None) or at the emulator; ValueError if it does not belong
    there. `reach`: passes the hosts that the account names through the guard, and answers the account to connect with;
    ValueError: not allowed, OSError: can't be told now. `open`: a provider for it.
    """

    read: Callable[[Credentials], Any]
    describe: Callable[[Any], dict[str, Any]]
    place: Callable[[Any, Emulated | None], Any]
    open: Callable[[Any], Awaitable[Provider]]
    reread: Callable[[Credentials], Any] | None = None
    expires_at: Callable[[Any], datetime | None] = lambda account: None
    reach: Callable[[Any, Outside], Awaitable[Any]] = no_host


def same_origin(url: str, base_url: str, what: str) -> None:
    """An emulated account may lead to the emulator, but to no other address inside. Raises `CredentialsError`."""
    one, other = urlsplit(url), urlsplit(base_url)
    if (one.scheme, one.hostname, one.port) != (other.scheme, other.hostname, other.port):
        raise CredentialsError(f"{what} does not lead to the emulator, so the account can't be an emulated one")
