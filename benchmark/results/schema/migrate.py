"""Creating and upgrading a database with Alembic; the only module that loads it, and only then.

A migration is one transaction with its record: a process killed in the middle leaves the old schema, whole.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import SchemaError
from benchmark.results.schema.tables import APPLICATION_ID

SCRIPTS = Path(__file__).with_name("migrations")


def migrate(engine: sa.Engine, scripts: Path = SCRIPTS, *, version: int | None = None) -> None:
    """Bring the database to the newest schema of `scripts`, from whatever version, an empty one included.

    Args:
        engine: Of the database.
        scripts: Where the migrations are.
        version: The schema to stop at, if it is not the newest.

    Side effects:
        On SQLite, marks the file as ours and with its version, in the same transaction.

    Raises:
        SchemaError: Rows would refer to rows that are not there; nothing was changed.
    """
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # rebuilding a table with foreign keys on empties the tables that refer to it, without an error;
            # the switch does nothing inside a transaction, so it goes around SQLAlchemy's
            _switch_foreign_keys(connection, on=False)
        try:
            with connection.begin():
                _apply(connection, scripts, "head" if version is None else f"{version:04}")
                faults.point("migrate.step")
                if sqlite:
                    _mark(connection)
        finally:
            if sqlite:
                _switch_foreign_keys(connection, on=True)


def _apply(connection: sa.Connection, scripts: Path, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # the option is read through a ConfigParser, to which % is special
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)


def _mark(connection: sa.Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise SchemaError(f"the upgrade would leave rows of {tables} without what they refer to; nothing was changed")
    version = connection.exec_driver_sql("SELECT version_num FROM schema_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={int(version)}")


def _switch_foreign_keys(connection: sa.Connection, *, on: bool) -> None:
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.cursor().execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")
