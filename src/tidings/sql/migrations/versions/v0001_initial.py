"""The first schema."""

from tidings.migrate import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run `0001_initial.sql`."""
    run_sql("0001_initial.sql")
