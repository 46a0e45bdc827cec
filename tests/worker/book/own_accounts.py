"""Accounts of projects at emulators, and what opens and paces them in these tests."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from tests.conftest import Project
from tidings import accounts
from tidings.account_limits import AccountLimits
from tidings.accounts import Account, AccountChange, NewAccount
from tidings.app import App
from tidings.db import Pool
from tidings.emulators import Emulators
from tidings.providers.contract import Message, Provider, Sent
from tidings.providers.credentials import Emulated, Outside, open_provider
from tidings.vault import Vault, vault_of
from tidings.worker.book import OPERATOR, Book, Usable

VAULT = vault_of(b"the secret of an installation, long enough")
PROVIDER = "fcm"


class Nobody:
    """The operator's provider; nobody should ever call it here."""

    name = "operator"
    emulated = True

    async def send(self, message: Message) -> Sent:
        return Sent("operator")

    async def close(self) -> None:
        pass


class Opening:
    """Opens accounts at the emulator that their name in the credentials leads to, and counts."""

    def __init__(self, *vendors: Emulators) -> None:
        self.outsides = {
            vendor.service_account["private_key_id"]: Outside(
                emulated=Emulated({"fcm": vendor.fcm_url}, vendor.ca_pem, retry_s=0.1)
            )
            for vendor in vendors
        }
        self.opened: list[tuple[int, Provider]] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, account: Account) -> Provider:
        await self.hold.wait()
        outside = self.outsides.get(account.credentials["private_key_id"], Outside())
        provider = await open_provider(
            account.provider, account.credentials, outside, emulated=account.emulated, connections=1
        )
        self.opened.append((account.id, provider))
        return provider


class Paces:
    """A pace is just a new object here; which accounts got one is noted."""

    def __init__(self) -> None:
        self.made: list[tuple[int, str]] = []
        self.limits: list[AccountLimits] = []
        self.over: list[object] = []

    def __call__(self, account_id: int, provider: str, limits: AccountLimits) -> object:
        self.made.append((account_id, provider))
        self.limits.append(limits)
        return object()


def a_book(db: Pool, opening: Opening, paces: Paces, vault: Vault = VAULT, **more: Any) -> Book:
    operators = {way: Usable(OPERATOR, Nobody(), "the operator's pace") for way in ("fcm", "apns")}
    return Book(db, vault, operators, opening, paces, pace_over=paces.over.append, **more)


async def add(app: App, project: Project, vendor: Emulators, name: str, **fields: Any) -> int:
    new = NewAccount("fcm", name, vendor.service_account, emulated=True, **fields)
    read = accounts.read("fcm", True, new.credentials)
    return (await accounts.create(app.db, VAULT, project.id, new, read)).id


async def change(app: App, project: Project, account_id: int, **fields: Any) -> None:
    given = fields.get("credentials")
    read = None if given is None else accounts.read("fcm", True, given)
    await accounts.change(app.db, VAULT, project.id, account_id, AccountChange(**fields), read)


def message(address: str = "phone") -> Message:
    return Message(
        project_id=1,
        notification_id=7,
        user_id=2,
        device_id=3,
        device_type="android",
        address=address,
        title="Your parcel",
        body="is at the door",
        data={},
        ttl_s=60,
        collapse_key="parcel",
        urgent=True,
        created_at=datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC),
    )


def ids(book: Book, project: Project, via: str = PROVIDER) -> list[int]:
    return [usable.account_id for usable in book.of(project.id, via)]


def noticed(provider: Provider) -> asyncio.Event:
    """Set when the provider is closed."""
    closed, close = asyncio.Event(), provider.close

    async def notice() -> None:
        closed.set()
        await close()

    provider.close = notice  # type: ignore[method-assign]
    return closed
