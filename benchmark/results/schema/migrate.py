"""Creates and upgrades the schema with Alembic, which is slow to import and imported here alone.

All migrations and the new version number are one transaction: a process that is killed leaves the old schema intact.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import SchemaError
from benchmark.results.schema.tables import APPLICATION_ID

SCRIPTS = Path(__file__).with_name("migrations")


def migrate(engine: sa.Engine, scripts: Path = SCRIPTS, *, version: int | None = None) -> None:
    """Brings a database of any older version, or an empty one, to the newest schema of `scripts`.

    Args:
        engine: Engine of the database.
        scripts: Folder of the migrations.
        version: The schema version to stop at; None for the newest.

    Side effects:
        On SQLite, sets `application_id` and `user_version` in the same transaction.

    Raises:
        SchemaError: Rows would refer to missing rows; nothing was changed.
    """
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # dropping a table to rebuild it deletes its rows first, and with foreign keys on also those that refer to
            # them (https://sqlite.org/lang_altertable.html#otheralter). The pragma does nothing inside a transaction,
            # so it is set on the driver's connection
            _set_foreign_keys(connection, on=False)
        try:
            with connection.begin():
                _apply(connection, scripts, "head" if version is None else f"{version:04}")
                faults.point("migrate.step")
                if sqlite:
                    _set_version(connection)
        finally:
            if sqlite:
                _set_foreign_keys(connection, on=True)


def _apply(connection: sa.Connection, scripts: Path, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # Alembic reads the option through a ConfigParser, in which % begins an interpolation
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)


def _set_version(connection: sa.Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise SchemaError(f"the upgrade would leave rows of {tables} without what they refer to; nothing was changed")
    version = connection.exec_driver_sql("SELECT version_num FROM schema_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={int(version)}")


def _set_foreign_keys(connection: sa.Connection, *, on: bool) -> None:
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.cursor().execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")
