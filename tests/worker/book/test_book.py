"""Whose account is used, in which order, and what a project can't get by having switched its own off."""

import pytest

from tests.conftest import Project
from tests.worker.book.own_accounts import PROVIDER, Opening, Paces, add, ids, message
from tidings import accounts
from tidings.app import App
from tidings.emulators import Emulators
from tidings.providers.contract import Paused, Sent
from tidings.worker.book import OPERATOR, Book


async def test_a_project_without_accounts_uses_the_operators(book: Book, project: Project) -> None:
    with pytest.raises(LookupError):
        book.of(project.id, PROVIDER)
    await book.know([project.id])
    assert ids(book, project) == [OPERATOR]
    assert ids(book, project, "apns") == [OPERATOR]
    assert list(book.of(project.id, "sms")) == []
    assert book.named(project.id, PROVIDER) == ("operator", True)
    assert book.named(project.id, "sms") == ("none", False)


async def test_its_own_come_by_priority_and_reach_their_own_vendor(
    app: App, book: Book, project: Project, other: Project, vendors: tuple[Emulators, Emulators], paces: Paces
) -> None:
    second = await add(app, project, vendors[1], "stands in", priority=5)
    first = await add(app, project, vendors[0], "main", priority=1)
    await book.know([project.id, other.id])
    assert ids(book, project) == [first, second]
    assert ids(book, project, "apns") == [OPERATOR]
    assert ids(book, other) == [OPERATOR]
    assert book.named(project.id, PROVIDER) == ("fcm", True)
    before = [vendor.accepted.total for vendor in vendors]
    for usable in book.of(project.id, PROVIDER):
        assert isinstance(await usable.provider.send(message()), Sent)
    assert [vendor.accepted.total for vendor in vendors] == [before[0] + 1, before[1] + 1]
    assert sorted(paces.made) == sorted([(first, "fcm"), (second, "fcm")])


async def test_a_switched_off_account_is_not_replaced_by_the_operators(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators]
) -> None:
    first = await add(app, project, vendors[0], "main", enabled=False)
    await book.know([project.id])
    [usable] = book.of(project.id, PROVIDER)
    assert usable.account_id == first
    assert isinstance(await usable.provider.send(message()), Paused)
    await accounts.delete(app.db, project.id, first)
    book.forget(str(project.id))
    await book.know([project.id])
    assert ids(book, project) == [OPERATOR]


@pytest.mark.parametrize(
    ("said", "of_a_usual_one", "of_another"),
    [
        ([], True, False),
        ([None], True, False),
        ([True], True, True),
        ([False], False, False),
        ([None, False], True, False),
        ([False, True, None], True, True),
        ([False, False], False, False),
    ],
)
async def test_the_most_careful_account_says_whether_it_is_sent_at_most_once(
    app: App,
    book: Book,
    project: Project,
    vendors: tuple[Emulators, Emulators],
    said: list[bool | None],
    of_a_usual_one: bool,
    of_another: bool,
) -> None:
    for number, word in enumerate(said):
        await add(app, project, vendors[0], f"account {number}", at_most_once=word)
    await add(app, project, vendors[0], "switched off", at_most_once=True, enabled=False)
    await book.know([project.id])
    assert book.sends_once(project.id, PROVIDER, True) is of_a_usual_one
    assert book.sends_once(project.id, PROVIDER, False) is of_another
    assert book.sends_once(project.id, "sms", True) is True, "of another way nobody said anything"


async def test_another_lane_shares_accounts_and_paces_but_no_connections(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    await add(app, project, vendors[0], "main")
    beside = book.beside(app.db, {}, opening, 5)
    await beside.know([project.id])
    [mine], [theirs] = book.of(project.id, PROVIDER), beside.of(project.id, PROVIDER)
    assert mine.pace is theirs.pace
    assert len(paces.made) == 1
    for usable in (mine, theirs):
        assert isinstance(await usable.provider.send(message()), Sent)
    assert len(opening.opened) == 2
    assert list(beside.of(project.id, "apns")) == []
    await beside.close()
    assert isinstance(await mine.provider.send(message()), Sent)


async def test_paces_end_with_the_book_that_others_stand_beside(
    app: App, book: Book, project: Project, vendors: tuple[Emulators, Emulators], opening: Opening, paces: Paces
) -> None:
    await add(app, project, vendors[0], "main")
    beside = book.beside(app.db, {}, opening, 5)
    await beside.know([project.id])
    await beside.close()
    assert paces.over == []
    await book.close()
    await book.close()
    assert len(paces.over) == len(paces.made) == 1
