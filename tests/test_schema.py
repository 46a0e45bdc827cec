"""The tables of the original schema exist under their names, and docs/schema.md names every table there is."""

from pathlib import Path

from tests.conftest import Project
from tidings.app import App

ORIGINAL = {
    "users",
    "devices",
    "notifications",
    "user_preferences",
    "sent_notifications",
    "failed_notifications",
    "notification_logs",
    "email_logs",
    "sms_logs",
    "push_notification_logs",
}
INTERNAL = {"alembic_version"}


async def test_the_original_tables_are_there_and_all_are_documented(app: App) -> None:
    rows = await app.db.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition"
    )
    names = {row["relname"] for row in rows}
    assert names >= ORIGINAL
    documented = (Path(__file__).parent.parent / "docs" / "schema.md").read_text()
    assert [name for name in sorted(names - INTERNAL) if f"`{name}`" not in documented] == []


async def test_the_views_show_what_happened(app: App, project: Project) -> None:
    user = await project.user()
    await project.device(user, f"view-{project.id}")
    await project.device(user, f"unregistered-view-{project.id}")
    notification = await project.send(user)
    await project.until(notification, "sent")

    async def count(view: str) -> int:
        found: int = await app.db.fetchval(
            f"SELECT count(*) FROM {view} WHERE notification_id = $1",  # noqa: S608 - a name of ours
            notification,
        )
        return found

    assert [await count(v) for v in ("sent_notifications", "failed_notifications", "push_notification_logs")] == [
        1,
        1,
        2,
    ]
    assert [await count(v) for v in ("notification_logs", "email_logs", "sms_logs")] == [2, 0, 0]
