"""Alembic's environment: applies the migrations in the transaction that the caller has begun."""

from __future__ import annotations

from alembic import context

from benchmark.results.schema.tables import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # SQLite can change most of a table only by rebuilding it (https://alembic.sqlalchemy.org/en/latest/batch.html)
    render_as_batch=True,
    # Alembic assumes that Python's driver commits at each CREATE; bench's connections control transactions themselves
    transactional_ddl=True,
)
context.run_migrations()
