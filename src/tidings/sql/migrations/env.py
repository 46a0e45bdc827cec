"""Alembic's entry: takes the open connection from `tidings.migrate` and runs the steps in one transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
