"""The release after this one: the same code with one more step of the schema, in a folder of its own."""

import os
import shutil
from pathlib import Path

import tidings
from tidings import migrate, partitions

STEP = f"{int(migrate.head()) + 1:04}"
# What a step may do while this release works: add. `steps_done` counts how often it was done.
SQL = f"""
{partitions.LOCK_TABLES};
ALTER TABLE notifications ADD COLUMN mood text;
ALTER TABLE deliveries ADD COLUMN mood text NOT NULL DEFAULT 'fine';
CREATE TABLE steps_done (at timestamptz NOT NULL DEFAULT now());
INSERT INTO steps_done DEFAULT VALUES;
"""
PYTHON = f"""
from tidings.migrate import run_sql

revision = "{STEP}"
down_revision = "{migrate.head()}"


def upgrade() -> None:
    run_sql("{STEP}_mood.sql")
"""


def make(folder: Path) -> dict[str, str]:
    """Make it in `folder`; what the environment of its processes must say."""
    copy = folder / "tidings"
    shutil.copytree(Path(tidings.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    migrations = copy / "sql" / "migrations"
    (migrations / f"{STEP}_mood.sql").write_text(SQL)
    (migrations / "versions" / f"v{STEP}_mood.py").write_text(PYTHON)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
