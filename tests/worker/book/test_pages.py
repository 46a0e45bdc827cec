"""What is known of accounts: fresh for a while, corrected by the bus, kept while the database is away, sealed."""

import asyncio

import pytest

from tests.conftest import Project
from tests.worker.book.own_accounts import (
    PROVIDER,
    VAULT,
    Opening,
    Paces,
    a_book,
    add,
    change,
    ids,
    message,
)
from tidings import accounts, embedded
from tidings.account_limits import USUAL, AccountLimits
from tidings.app import App
from tidings.db import open_pool
from tidings.emulators import Emulators
from tidings.providers.contract import Sent
from tidings.vault import Vault, vault_of
from tidings.worker.book import OPERATOR, Book
from tidings.worker.pages import Pages


async def test_what_changed_is_seen_when_the_bus_says_so(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], paces: Paces
) -> None:
    await book.know([project.id])
    account_id = await add(app, project, vendors[0], "main")
    await book.know([project.id])
    assert ids(book, project) == [OPERATOR], "it was asked a moment ago"
    for value in (str(project.id), ""):
        book.forget(value)
        await book.know([project.id])
        assert ids(book, project) == [account_id]
    [before] = book.of(project.id, PROVIDER)
    await change(app, project, account_id, name="another", priority=7)
    book.forget(str(project.id))
    await book.know([project.id])
    [after] = book.of(project.id, PROVIDER)
    assert (after.provider, after.pace) == (before.provider, before.pace), "a name is no reason to begin anew"
    assert len(paces.made) == 1


async def test_other_limits_get_a_new_pace_and_keep_the_connections(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    account_id = await add(app, project, vendors[0], "main", limits=AccountLimits(rate_per_s=20, burst=5))
    await book.know([project.id])
    [first] = book.of(project.id, PROVIDER)
    assert isinstance(await first.provider.send(message()), Sent)
    seen = [first.pace]
    for changed in (
        {"limits": AccountLimits(rate_per_s=20, burst=5), "priority": 3},
        {"limits": AccountLimits(rate_per_s=20, burst=5, most_at_once=7)},
        {"name": "another"},
        {"limits": None},
    ):
        await change(app, project, account_id, **changed)
        book.forget(str(project.id))
        await book.know([project.id])
        [usable] = book.of(project.id, PROVIDER)
        seen.append(usable.pace)
        assert isinstance(await usable.provider.send(message()), Sent)
    assert [seen.index(pace) for pace in seen] == [0, 0, 2, 2, 4], "only what changed begins anew"
    assert paces.over == [seen[0], seen[2]]
    assert paces.limits == [AccountLimits(20.0, 5), AccountLimits(20.0, 5, 7), USUAL]
    assert [opened[0] for opened in opening.opened] == [account_id]


async def test_while_the_database_is_away_what_is_known_stays(
    app: App, project: Project, other: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    folder = await app.db.fetchval("SELECT current_setting('unix_socket_directories')")
    where = {"host": folder, "port": embedded.SOCKET_PORT, "user": embedded.SUPERUSER}
    db = await open_pool(**where, database="postgres", password=None, size=2)
    book = a_book(db, opening, paces)
    await book.know([project.id])
    await db.close()
    book.forget("")
    await book.know([project.id])
    assert ids(book, project) == [account_id]
    [usable] = book.of(project.id, PROVIDER)
    assert isinstance(await usable.provider.send(message()), Sent)
    with pytest.raises(Exception, match="clos"):  # of this one nothing is known, so nobody may send for it
        await book.know([project.id, other.id])
    await book.close()


async def test_an_answer_that_was_overtaken_by_a_change_does_not_count_as_fresh(
    app: App, project: Project, vendors: tuple[Emulators, Emulators], paces: Paces
) -> None:
    seconds = iter(range(100))
    pages = Pages(paces, monotonic=lambda: float(next(seconds)))
    asking = asyncio.create_task(pages.know(app.db, [project.id]))
    await asyncio.sleep(0)  # the question is on its way
    pages.forget(str(project.id))
    await asking
    account_id = await add(app, project, vendors[0], "main")
    await pages.know(app.db, [project.id])
    page = pages.of(project.id)
    assert page is not None
    assert [entry.account.id for entry in page.entries] == [account_id]


async def test_without_the_bus_a_change_is_seen_after_half_a_minute(
    app: App, project: Project, vendors: tuple[Emulators, Emulators], paces: Paces
) -> None:
    at = 100.0
    pages = Pages(paces, monotonic=lambda: at)
    await pages.know(app.db, [project.id])
    account_id = await add(app, project, vendors[0], "main")
    for seconds, seen in ((29.0, []), (31.0, [account_id])):
        at = 100.0 + seconds
        await pages.know(app.db, [project.id])
        page = pages.of(project.id)
        assert page is not None
        assert [entry.account.id for entry in page.entries] == seen


async def test_sealing_anew(app: App, project: Project, vendors: tuple[Emulators, Emulators]) -> None:
    account_id = await add(app, project, vendors[0], "main")
    newer = vault_of(b"the secret that comes after it, long enough", b"the secret of an installation, long enough")
    done, _ = await accounts.reseal(app.db, newer)
    assert done >= 1
    again, _ = await accounts.reseal(app.db, newer)
    assert again == 0
    account = await accounts.stored(app.db, Vault(newer.keys[:1]), project.id, account_id)
    assert account.credentials == vendors[0].service_account


async def test_what_is_held_shows_no_secret(app: App, project: Project, vendors: tuple[Emulators, Emulators]) -> None:
    account_id = await add(app, project, vendors[0], "main")
    account = await accounts.stored(app.db, VAULT, project.id, account_id)
    [sealed] = await accounts.of_projects(app.db, [project.id])
    shown = repr((account, sealed, accounts.read("fcm", True, account.credentials)))
    assert "PRIVATE KEY" not in shown
    assert repr(sealed.sealed) not in shown
