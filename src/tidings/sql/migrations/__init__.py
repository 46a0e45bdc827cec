"""The road of the schema: one numbered SQL file a step, run by Alembic."""
