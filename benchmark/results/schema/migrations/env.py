"""What Alembic runs to apply migrations: in the one transaction that the caller has already begun."""

from __future__ import annotations

from alembic import context

from benchmark.results.schema.tables import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # SQLite can change a table only by building it anew
    render_as_batch=True,
    # Alembic assumes that SQLite commits at each CREATE; our connections begin and commit by themselves
    transactional_ddl=True,
)
context.run_migrations()
