"""A provider that is opened at its first call: rotation, removal, bounds, and accounts that do not open."""

import asyncio

from structlog.testing import capture_logs

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
    noticed,
)
from tidings import accounts
from tidings.accounts import Account
from tidings.app import App
from tidings.emulators import Emulators
from tidings.providers.contract import Paused, Provider, Reason, Sent
from tidings.providers.credentials import CredentialsError
from tidings.vault import vault_of
from tidings.worker.book import OPERATOR, Book


async def test_nothing_is_opened_before_it_is_called_and_once_then(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    await book.know([project.id])
    assert opening.opened == []
    [usable] = book.of(project.id, PROVIDER)
    answers = await asyncio.gather(*(usable.provider.send(message()) for _ in range(20)))
    assert all(isinstance(answer, Sent) for answer in answers)
    assert [opened[0] for opened in opening.opened] == [account_id]


async def test_new_credentials_are_used_and_the_old_provider_is_closed_when_it_is_idle(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    await book.know([project.id])
    [before] = book.of(project.id, PROVIDER)
    assert isinstance(await before.provider.send(message()), Sent)
    closed = noticed(opening.opened[0][1])
    slow = asyncio.create_task(before.provider.send(message("latency-1500-phone")))
    await asyncio.sleep(0.05)  # it is on its way
    await change(app, project, account_id, credentials=vendors[1].service_account)
    book.forget(str(project.id))
    await book.know([project.id])
    [after] = book.of(project.id, PROVIDER)
    assert after.pace is not before.pace
    assert paces.over == [before.pace]
    totals = [vendor.accepted.total for vendor in vendors]
    for usable in (before, after):  # who looked it up before the change sends with the new ones, too
        assert isinstance(await usable.provider.send(message()), Sent)
    assert vendors[1].accepted.total == totals[1] + 2
    assert not closed.is_set()
    assert not slow.done()
    assert isinstance(await slow, Sent)
    await asyncio.wait_for(closed.wait(), 5)


async def test_who_looked_up_an_account_that_is_gone_now_sends_nothing(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    assert isinstance(await usable.provider.send(message()), Sent)
    closed = noticed(opening.opened[0][1])
    await accounts.delete(app.db, project.id, account_id)
    book.forget(str(project.id))
    await book.know([project.id])
    assert ids(book, project) == [OPERATOR]
    assert paces.over == [usable.pace]
    total = vendors[0].accepted.total
    answer = await usable.provider.send(message())
    assert isinstance(answer, Paused)
    assert answer.reason is Reason.CREDENTIALS
    assert vendors[0].accepted.total == total
    await asyncio.wait_for(closed.wait(), 5)


async def test_an_account_that_does_not_open_is_paused_and_disturbs_nobody(
    app: App, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    await add(app, project, vendors[0], "main")
    book = a_book(app.db, opening, paces, vault_of(b"quite another secret, also long enough"))
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    answers = await asyncio.gather(*(usable.provider.send(message()) for _ in range(5)))
    assert {type(answer) for answer in answers} == {Paused}
    assert {answer.reason for answer in answers if isinstance(answer, Paused)} == {Reason.CREDENTIALS}
    assert all("TIDINGS_SECRET" in answer.detail for answer in answers if isinstance(answer, Paused))
    assert opening.opened == []
    await book.close()


async def test_mended_credentials_are_tried_at_once(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    good, opening.outsides = opening.outsides, {}  # no emulator is there
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    assert isinstance(await usable.provider.send(message()), Paused)
    opening.outsides = good
    assert isinstance(await usable.provider.send(message()), Paused), "it rests"
    await change(app, project, account_id, credentials=vendors[0].service_account)
    book.forget(str(project.id))
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    assert isinstance(await usable.provider.send(message()), Sent)


async def test_credentials_that_change_while_they_are_opened(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening
) -> None:
    account_id = await add(app, project, vendors[0], "main")
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    opening.hold.clear()
    sending = asyncio.create_task(usable.provider.send(message()))
    await asyncio.sleep(0)
    await change(app, project, account_id, credentials=vendors[1].service_account)
    book.forget(str(project.id))
    await book.know([project.id])
    assert ids(book, project) == [account_id]
    total = vendors[1].accepted.total
    opening.hold.set()
    assert isinstance(await sending, Sent)
    assert vendors[1].accepted.total == total + 1


async def test_a_sender_that_is_cancelled_takes_the_provider_from_nobody(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening
) -> None:
    await add(app, project, vendors[0], "main")
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    opening.hold.clear()
    first, second = (asyncio.create_task(usable.provider.send(message())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    opening.hold.set()
    assert isinstance(await second, Sent)
    assert len(opening.opened) == 1


async def test_not_more_are_open_than_allowed(
    app: App, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    for number in range(4):
        await add(app, project, vendors[0], f"account {number}", priority=number)
    book = a_book(app.db, opening, paces, most_open=2)
    await book.know([project.id])
    usables = book.of(project.id, PROVIDER)
    closed = []
    for usable in usables:
        assert isinstance(await usable.provider.send(message()), Sent)
        closed.append(noticed(opening.opened[-1][1]))
    for event in closed[:2]:
        await asyncio.wait_for(event.wait(), 5)
    assert [event.is_set() for event in closed] == [True, True, False, False]
    assert isinstance(await usables[0].provider.send(message()), Sent), "it is opened again"
    await book.close()
    assert all(event.is_set() for event in closed)


async def test_an_unusable_account_is_told_once_and_without_its_secret(
    app: App, project: Project, vendors: tuple[Emulators, Emulators], paces: Paces
) -> None:
    account_id = await add(app, project, vendors[0], "main")

    async def refuse(account: Account) -> Provider:
        raise CredentialsError("the vendor is not to our taste")

    book = Book(app.db, VAULT, {}, refuse, paces)
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    with capture_logs() as told:
        for _ in range(3):
            assert isinstance(await usable.provider.send(message()), Paused)
    await book.close()
    [line] = [line for line in told if line["event"] == "account_unusable"]
    assert (line["account_id"], line["why"]) == (account_id, "the vendor is not to our taste")
    assert "PRIVATE" not in repr(told)
