"""What the database says about the accounts of projects, as far as workers have asked. All lanes of a process share it.

An answer is good for `FRESH_S`, or until the bus says that a project's accounts changed. While the database is away,
what is known stays in use.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Any

import structlog
from msgspec import Struct

from tidings import accounts
from tidings.account_limits import AccountLimits
from tidings.accounts import SealedAccount
from tidings.db import AWAY, Pool

FRESH_S = 30.0  # a change that the bus lost is known everywhere after so many seconds
AGAIN_S = 1.0  # after the database was away
LOAD_TIMEOUT_S = 5.0
MOST_PAGES = 50_000  # projects; beyond it those that were asked for longest ago go
IDLE_S = 300.0  # but only after so long: a group of deliveries may still look at them
MOST_HEARD = 10_000

# Account id, provider's name and what was declared → the pace of that account.
PaceOf = Callable[[int, str, AccountLimits], Any]

log = structlog.get_logger("tidings.worker")


class Entry(Struct, frozen=True):
    """An account and its pace. New credentials or limits get a new pace; a new name or priority does not."""

    account: SealedAccount
    pace: Any


class Page(Struct):
    """All accounts of a project, by priority. The tuple is a new one when anything has changed."""

    entries: tuple[Entry, ...]
    asked_at: float
    fresh_until: float


class Pages:
    """One for a process. Use it from one event loop."""

    def __init__(
        self,
        pace_of: PaceOf,
        pace_over: Callable[[Any], None] = lambda pace: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pace_of` is called once for an account's credentials and limits.
        `pace_over`: called with a pace that nobody looks up any more; calls that are under way still leave it."""
        self._pace_of = pace_of
        self._pace_over = pace_over
        self._monotonic = monotonic
        self._pages: OrderedDict[int, Page] = OrderedDict()  # those asked for longest ago first
        self._heard_at: dict[int, float] = {}
        self._all_heard_at = float("-inf")
        self._leavers: list[Callable[[int], None]] = []

    def of(self, project_id: int) -> Page | None:
        """What is known of a project; None: nothing, because nobody has asked (`know`)."""
        return self._pages.get(project_id)

    def on_leave(self, heard: Callable[[int], None]) -> None:
        """Be called with each project whose page is dropped."""
        self._leavers.append(heard)

    def forget(self, value: str) -> None:
        """The accounts of this project changed (its id as text); "": of any. A listener of the bus."""
        now = self._monotonic()
        if value.isdecimal() and len(value) < 20 and len(self._heard_at) < MOST_HEARD:
            project_id = int(value)
            self._heard_at[project_id] = now
            page = self._pages.get(project_id)
            if page is not None:
                page.fresh_until = 0.0
            return
        self._all_heard_at = now
        self._heard_at.clear()
        for page in self._pages.values():
            page.fresh_until = 0.0

    async def know(self, db: Pool, project_ids: Collection[int]) -> None:
        """See that these projects are known. One lookup each when they are; otherwise one query for all that are not.

        Raises what the database raises only for projects of which nothing is known: to send with the operator's account
        because a project's own can't be read would be wrong. Twice is safe.
        """
        now = self._monotonic()
        stale = {project_id for project_id in project_ids if not self._is_fresh(project_id, now)}
        if not stale:
            return
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                found = await accounts.of_projects(db, stale)
        except AWAY as error:
            if not stale <= self._pages.keys():
                raise
            for project_id in stale:
                self._pages[project_id].fresh_until = self._monotonic() + AGAIN_S
            log.warning("accounts_wait", error=f"{type(error).__name__}: {error}")
            return
        by_project: dict[int, list[SealedAccount]] = {project_id: [] for project_id in stale}
        for account in found:
            by_project[account.project_id].append(account)
        for project_id, listed in by_project.items():
            self._take(project_id, listed, now)
        self._tidy(now)

    def close(self) -> None:
        """Nothing is known any more, and all paces are over. Twice is safe."""
        for page in self._pages.values():
            self._let_go(page.entries, ())
        self._pages.clear()

    def _is_fresh(self, project_id: int, now: float) -> bool:
        page = self._pages.get(project_id)
        return page is not None and now < page.fresh_until

    def _take(self, project_id: int, listed: list[SealedAccount], asked_at: float) -> None:
        """Note what the database answered, unless somebody got an answer to a later question meanwhile."""
        before = self._pages.get(project_id)
        if before is not None and before.asked_at > asked_at:
            return
        heard_at = max(self._heard_at.get(project_id, 0.0), self._all_heard_at)
        fresh_until = asked_at + FRESH_S if heard_at < asked_at else 0.0
        entries = () if before is None else before.entries
        versions = [(entry.account.id, entry.account.version) for entry in entries]
        if versions != [(account.id, account.version) for account in listed]:
            known = {entry.account.id: entry for entry in entries}
            entries = tuple(self._entry(account, known.get(account.id)) for account in listed)
            self._let_go(known.values(), entries)
        self._pages[project_id] = Page(entries, asked_at, fresh_until)
        self._pages.move_to_end(project_id)

    def _entry(self, account: SealedAccount, before: Entry | None) -> Entry:
        if before is not None and (before.account.sealed, before.account.limits) == (account.sealed, account.limits):
            return Entry(account, before.pace)
        return Entry(account, self._pace_of(account.id, account.provider, account.limits))

    def _let_go(self, before: Iterable[Entry], after: Iterable[Entry]) -> None:
        kept = {id(entry.pace) for entry in after}
        for entry in before:
            if id(entry.pace) not in kept:
                self._pace_over(entry.pace)

    def _tidy(self, now: float) -> None:
        while len(self._pages) > MOST_PAGES and next(iter(self._pages.values())).asked_at < now - IDLE_S:
            project_id, page = self._pages.popitem(last=False)
            self._let_go(page.entries, ())
            for heard in self._leavers:
                heard(project_id)
