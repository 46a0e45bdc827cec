"""The schema: Alembic knows the same newest step as we do, and migrating again changes nothing."""

from importlib import resources

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.conftest import Project
from tidings import migrate
from tidings.app import App


def test_the_newest_step_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("tidings.sql.migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.head()]


async def test_the_database_is_at_the_newest_step(app: App) -> None:
    assert await app.db.fetchval("SELECT version_num FROM alembic_version") == migrate.head()


@pytest.mark.parametrize(
    "change",
    [
        "status = 'sent', sent_at = NULL",
        "status = 'delivered', delivered_at = NULL, sent_at = now()",
        "status = 'scheduled', scheduled_time = NULL",
        "status = 'gone'",
        "lane = 'fast'",
        "ttl_s = -1",
    ],
)
async def test_the_database_refuses_impossible_notifications(app: App, project: Project, change: str) -> None:
    notification = await project.send(await project.user())
    with pytest.raises(asyncpg.CheckViolationError):
        await app.db.execute(f"UPDATE notifications SET {change} WHERE id = $1", notification)  # noqa: S608
