"""Every named query is accepted by a real PostgreSQL, has a name of its own, and is used."""

from importlib import resources
from pathlib import Path

import pytest

import tidings
from tidings import db
from tidings.app import App

NOUNS = sorted(
    p.name.removesuffix(".sql") for p in resources.files("tidings.sql.queries").iterdir() if p.name.endswith(".sql")
)
SOURCE = "\n".join(p.read_text() for p in Path(tidings.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("noun", NOUNS)
async def test_every_query_can_be_prepared(app: App, noun: str) -> None:
    queries = db.load(noun)
    assert queries
    async with app.db.acquire() as connection:
        for name, text in queries.items():
            assert text, f"{noun}.{name} is empty"
            await connection.prepare(text)


@pytest.mark.parametrize("noun", NOUNS)
def test_every_query_is_used_and_named_once(noun: str) -> None:
    text = resources.files("tidings.sql.queries").joinpath(f"{noun}.sql").read_text()
    names = [line.removeprefix("-- name: ") for line in text.splitlines() if line.startswith("-- name: ")]
    assert len(names) == len(set(names)) == len(db.load(noun))
    for name in names:
        assert f'"{name}"' in SOURCE, f"{noun}.{name} is used nowhere"
