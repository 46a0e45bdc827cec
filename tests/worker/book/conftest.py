"""A book on the database of the service, and two emulated vendors."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.worker.book.own_accounts import (
    Opening,
    Paces,
    a_book,
)
from tidings import emulators
from tidings.app import App
from tidings.emulators import Emulators
from tidings.worker.book import Book


@pytest.fixture(scope="module")
async def vendors() -> AsyncIterator[tuple[Emulators, Emulators]]:
    first, second = await emulators.start(), await emulators.start()
    yield first, second
    await asyncio.gather(first.close(), second.close())


@pytest.fixture
def opening(vendors: tuple[Emulators, Emulators]) -> Opening:
    return Opening(*vendors)


@pytest.fixture
def paces() -> Paces:
    return Paces()


@pytest.fixture
async def book(app: App, opening: Opening, paces: Paces) -> AsyncIterator[Book]:
    made = a_book(app.db, opening, paces)
    yield made
    await made.close()
