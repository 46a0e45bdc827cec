"""What a project hands us to send with its own account: read, described without its secrets, placed, opened.

A project is a stranger inside the installation: what it may say about an account is what the provider's own parser
takes, never a base URL; and a host that it names must pass the address guard, when it is stored and when it is opened.
"""

from datetime import datetime
from typing import Any

import msgspec

from tidings.providers.account_kind import Credentials, CredentialsError, Emulated, Kind, Outside
from tidings.providers.account_kinds import KINDS
from tidings.providers.contract import Provider

__all__ = ["CredentialsError", "Emulated", "Outside", "describe", "expires_at", "open_provider", "place", "read"]

MAX_DETAIL = 300


def read(provider: str, credentials: Credentials) -> Any:
    """The provider's account struct, wholly checked but for its hosts. Raises `CredentialsError`.

    It takes up to 50 ms (OpenSSL checks an RSA key).
    """
    try:
        return _kind(provider).read(credentials)
    except ValueError as error:
        raise CredentialsError(_sentence(error)) from None


def describe(provider: str, account: Any) -> dict[str, Any]:
    """What everybody who may see the account may know: ids, senders, public keys. No secret, and nothing empty."""
    return {name: value for name, value in _kind(provider).describe(account).items() if value or value == 0}


def expires_at(provider: str, account: Any) -> datetime | None:
    """When the account's certificate ends, UTC; None: never."""
    return _kind(provider).expires_at(account)


async def place(provider: str, account: Any, outside: Outside, *, emulated: bool) -> Any:
    """The account as it is to be connected with: at the vendor, or at our emulator; hosts that it names are guarded.

    Raises `CredentialsError`; OSError when a name can't be resolved for the moment.
    """
    if emulated and (outside.emulated is None or provider not in outside.emulated.base_urls):
        raise CredentialsError("there is no emulator of this vendor here, so the account can't be an emulated one")
    kind = _kind(provider)
    try:
        placed = kind.place(account, outside.emulated if emulated else None)
        return placed if emulated else await kind.reach(placed, outside)
    except ValueError as error:
        raise CredentialsError(_sentence(error)) from None


async def open_provider(
    provider: str, credentials: Credentials, outside: Outside, *, emulated: bool, connections: int
) -> Provider:
    """A provider for credentials that were checked when they were stored; no call to the vendor is made.

    `connections`: how many it opens. Raises as `place` does. Close it in the end.
    """
    kind = _kind(provider)
    try:
        account = (kind.reread or kind.read)(credentials)
        placed = await place(provider, account, outside, emulated=emulated)
        return await kind.open(msgspec.structs.replace(placed, connections=connections))
    except ValueError as error:
        raise CredentialsError(_sentence(error)) from None


def _kind(provider: str) -> Kind:
    kind = KINDS.get(provider)
    if kind is None:
        raise CredentialsError("projects can't have accounts at this provider")
    return kind


def _sentence(error: ValueError) -> str:
    return " ".join(str(error).split())[:MAX_DETAIL] or "the credentials can't be used"
