"""Which accounts a notification may be sent with: its project's own by priority, otherwise the operator's."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from tidings import accounts
from tidings.accounts import WAYS, Account, SealedAccount
from tidings.db import Pool
from tidings.providers.contract import Provider
from tidings.vault import Vault
from tidings.worker.held import MOST_OPEN, Held, Shelf, SwitchedOff
from tidings.worker.pages import Entry, PaceOf, Pages

OPERATOR = 0  # the account_id of the operator's accounts

OpenAccount = Callable[[Account], Awaitable[Provider]]


class Usable(Struct, frozen=True):
    """An account that may be called, and how fast. `account_id` 0: the operator's."""

    account_id: int
    provider: Provider
    pace: Any


class _Opened(Struct, frozen=True):
    """What was made of a project's page. `entries`: the page's own tuple, which tells whether it is still the same."""

    entries: tuple[Entry, ...]
    by_way: dict[str, tuple[Usable, ...]]
    once: dict[str, bool | None]  # by way, see `_once`


class Book:
    """The accounts of all projects for one lane. Use it from one event loop; close it in the end."""

    def __init__(
        self,
        db: Pool,
        vault: Vault,
        operators: Mapping[str, Usable],
        open_account: OpenAccount,
        pace_of: PaceOf,
        *,
        pace_over: Callable[[Any], None] = lambda pace: None,
        most_open: int = MOST_OPEN,
        pages: Pages | None = None,
    ) -> None:
        """`operators`: the operator's account by way (`worker.plan.Address.via`); `open_account`: see
        `vendors.open_account`; `pace_of`: asked once for an account's credentials and limits.

        `pace_over`: called with a pace that is not used any more, because the account, credentials or limits went;
        `most_open`: providers of projects that are open at once. `pages`: shared with another book (`beside`).
        """
        self._db = db
        self._vault = vault
        self._operators = {way: (usable,) for way, usable in operators.items()}
        self._open_account = open_account
        self._shelf = Shelf(most_open)
        self._pages = pages or Pages(pace_of, pace_over)
        self._owns_pages = pages is None
        self._pace_of = pace_of
        self._pages.on_leave(self._leave)
        self._helds: dict[int, tuple[SealedAccount, Held]] = {}
        self._opened: dict[int, _Opened] = {}

    def beside(self, db: Pool, operators: Mapping[str, Usable], open_account: OpenAccount, most_open: int) -> "Book":
        """A book for another lane: the same accounts and paces, with connections of its own. `forget` of one is enough
        for both."""
        return Book(db, self._vault, operators, open_account, self._pace_of, most_open=most_open, pages=self._pages)

    async def know(self, project_ids: Collection[int]) -> None:
        """See that the accounts of these projects are known before `of` is asked; cheap when they are.

        Raises what the database raises (`db.AWAY`) only for a project of which nothing is known. Twice is safe.
        """
        await self._pages.know(self._db, project_ids)

    def of(self, project_id: int, via: str) -> Sequence[Usable]:
        """The accounts to try, in order; the operator's alone when the project has none for this way; empty when the
        operator has none either. LookupError when the project is not known (`know`)."""
        return self._open_page(project_id).by_way.get(via) or self._operators.get(via) or ()

    def sends_once(self, project_id: int, via: str, usual: bool) -> bool:
        """Whether an attempt of unknown outcome must not be repeated: as the project's accounts for this way say, or
        `usual` where they say nothing, and for the operator's. LookupError as `of`."""
        said = self._open_page(project_id).once.get(via)
        return usual if said is None else said

    def _open_page(self, project_id: int) -> _Opened:
        page = self._pages.of(project_id)
        if page is None:
            raise LookupError("the accounts of this project are not known: call know() first")
        opened = self._opened.get(project_id)
        if opened is None or opened.entries is not page.entries:
            opened = self._opened[project_id] = self._make(opened, page.entries)
        return opened

    def named(self, project_id: int, via: str) -> tuple[str, bool]:
        """Name of the provider that comes first, and whether it is emulated, for what is recorded without a call.

        ("none", False) when there is none. LookupError as `of`.
        """
        usables = self.of(project_id, via)
        return (usables[0].provider.name, usables[0].provider.emulated) if usables else ("none", False)

    def forget(self, value: str) -> None:
        """The accounts of this project changed, "" of any: a listener of the bus's topic `accounts.CHANGED`."""
        self._pages.forget(value)

    async def close(self) -> None:
        """Close the providers of projects, and end their paces; those that share these (`beside`) are to be closed
        before. The operator's are not the book's. Twice is safe."""
        await self._shelf.close()
        if self._owns_pages:
            self._pages.close()

    def _make(self, before: _Opened | None, entries: tuple[Entry, ...]) -> _Opened:
        enabled = [entry for entry in entries if entry.account.enabled]
        if before is not None:
            kept = {entry.account.id for entry in enabled}
            self._remove(entry.account.id for entry in before.entries if entry.account.id not in kept)
        by_way: dict[str, tuple[Usable, ...]] = {}
        said: dict[str, set[bool | None]] = {}
        for entry in enabled:
            way = WAYS[entry.account.provider]
            usable = Usable(entry.account.id, self._held(entry.account), entry.pace)
            by_way[way] = (*by_way.get(way, ()), usable)
            said.setdefault(way, set()).add(entry.account.at_most_once)
        for entry in entries:
            account = entry.account
            by_way.setdefault(WAYS[account.provider], (Usable(account.id, SwitchedOff(account.provider), entry.pace),))
        return _Opened(entries, by_way, {way: _once(words) for way, words in said.items()})

    def _held(self, account: SealedAccount) -> Held:
        open_ = partial(self._open, account)
        known = self._helds.get(account.id)
        if known is None:
            held = Held(account.id, account.provider, account.emulated, open_, self._shelf)
        else:
            before, held = known
            if before.sealed != account.sealed:
                held.renew(open_)
        self._helds[account.id] = (account, held)
        return held

    async def _open(self, account: SealedAccount) -> Provider:
        return await self._open_account(accounts.unseal(self._vault, account))

    def _remove(self, account_ids: Iterable[int]) -> None:
        for account_id in account_ids:
            known = self._helds.pop(account_id, None)
            if known is not None:
                known[1].remove()

    def _leave(self, project_id: int) -> None:
        """Nobody has asked for this project for long."""
        opened = self._opened.pop(project_id, None)
        if opened is not None:
            self._remove(entry.account.id for entry in opened.entries)


def _once(said: set[bool | None]) -> bool | None:
    """Of accounts that stand in for each other the most careful one counts: a message that one of them may have taken
    is not given to another either. None: what is usual for the channel."""
    return True if True in said else None if None in said else False
