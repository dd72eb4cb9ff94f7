"""Reads the schema version of a database, and refuses files with foreign tables, views or triggers."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from benchmark.errors import SchemaError
from benchmark.files import sha256_of
from benchmark.results.schema.tables import APPLICATION_ID, SCHEMA_VERSION, VERSION_TABLE, metadata

TABLE_NAMES = tuple(metadata.tables)
ADDED_TABLES = {2: {"look", "artifact_folder", "node", "message"}}
"""By schema version: the tables that it was the first to have."""

_FIRST_PROGRAMS = {
    "history": "d4458055e80e8a88",
    "results": "8d5d1f7786742a29",
    "attempt_is_final": "c53da83c2dcf0b5d",
    "epoch_is_final_insert": "060e6d6ab4455afa",
    "epoch_is_final_update": "63522dd4be4a2815",
    "execution_is_final": "cc0fd138c7a6f6bc",
    "prediction_is_final_insert": "0936ca291d6efd88",
    "prediction_is_final_update": "c86e2dce48f0116e",
}
PROGRAMS: dict[int, dict[str, str]] = {
    1: _FIRST_PROGRAMS,
    2: {
        **_FIRST_PROGRAMS,
        "history": "cfde94ee51ffbb40",
        "looks": "57dd516935ff0d31",
        "predictions": "58e5c1461558725c",
        "results": "fa99a395cf34eaeb",
        "execution_is_final": "a7e3bb5b0db88f17",
    },
}
"""The views and triggers since each schema version that changed one: by name, the first digits of the sha256 of their SQL with white space
collapsed. A file with other views or triggers could make its readers run SQL that they did not ask for."""

VIEW_NAMES = ("results", "history", "predictions", "looks")

_DIGITS = 16


def sqlite_version(connection: sqlite3.Connection, name: str) -> int | None:
    """Reads the schema version of a SQLite file.

    Returns:
        The version; None when the file is new and empty.

    Raises:
        SchemaError: The file belongs to another program, or its tables, views or triggers are not those of its version.
    """
    application = _pragma(connection, "application_id")
    # of a foreign file only the schema table is read, so that none of its views and triggers can run
    kinds = dict(connection.execute("SELECT name, type FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"))
    if not kinds and application in {0, APPLICATION_ID}:
        return None
    if application != APPLICATION_ID:
        raise SchemaError(
            f"{name}: a SQLite database, but not one that bench made: expected the application_id "
            f"{APPLICATION_ID:#x}, got {application:#x}. It was not touched; give another path with --db"
        )
    version = _pragma(connection, "user_version")
    if 1 <= version <= SCHEMA_VERSION:
        _check_kinds(kinds, version, name)
        _check_programs(connection, version, name)
    return version


def postgresql_version(connection: sa.Connection, name: str) -> int | None:
    """Reads the schema version of a PostgreSQL database; None when it has no tables of bench.

    Raises:
        SchemaError: It has tables of the same names that bench did not make.
    """
    exists = sa.select(sa.func.to_regclass(sa.bindparam("table")))
    if connection.scalar(exists, {"table": VERSION_TABLE}) is None:
        taken = [table for table in TABLE_NAMES if connection.scalar(exists, {"table": table}) is not None]
        if taken:
            raise SchemaError(
                f"{name}: the tables {', '.join(taken)} are there, but bench did not make them. They were not touched; "
                "give a database or schema of its own with --db"
            )
        return None
    version = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    return None if version is None else int(version)


def programs_of(version: int) -> dict[str, str]:
    """The views and triggers of a schema version, as in `PROGRAMS`."""
    return PROGRAMS[max(since for since in PROGRAMS if since <= version)]


def tables_of(version: int) -> tuple[str, ...]:
    """The tables of a schema version, each after those that it refers to."""
    later = set[str]().union(*(names for first, names in ADDED_TABLES.items() if first > version))
    return tuple(name for name in TABLE_NAMES if name not in later)


def is_older(version: int) -> bool:
    """Whether this program can upgrade a file of that schema version."""
    return 1 <= version < SCHEMA_VERSION


def check_version(version: int, name: str) -> None:
    """Refuses a database that this program can neither read nor write.

    Raises:
        SchemaError: The schema is newer or older than this program's.
    """
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{name}: its schema has version {version}, this bench knows versions up to {SCHEMA_VERSION}. "
            "Install a newer bench: pip install --upgrade benchmark-matrix"
        )
    if version < SCHEMA_VERSION:
        raise SchemaError(
            f"{name}: its schema has version {version}, this bench needs {SCHEMA_VERSION}. "
            "Upgrade it (a backup is kept beside it) with: bench db upgrade"
        )


def _pragma(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _check_kinds(kinds: dict[str, str], version: int, name: str) -> None:
    views = [view for view in VIEW_NAMES if view in programs_of(version)]
    expected = dict.fromkeys(tables_of(version), "table") | dict.fromkeys(views, "view")
    wrong = [
        f"{kind} {table} ({'missing' if table not in kinds else f'is a {kinds[table]}'})"
        for table, kind in expected.items()
        if kinds.get(table) != kind
    ]
    if wrong:
        raise SchemaError(
            f"{name}: marked as a bench database, but not one: expected {', '.join(wrong)}. "
            "It was not touched; put a backup in its place, or give another path with --db"
        )


def program_digest(sql: str) -> str:
    """Returns the digest by which `PROGRAMS` knows the SQL of a view or trigger."""
    return sha256_of(" ".join(sql.split()).encode())[:_DIGITS]


def _check_programs(connection: sqlite3.Connection, version: int, name: str) -> None:
    """Refuses foreign views and triggers before anything is read that could run them.

    A view that a user added is allowed, because bench never reads it; so is a missing trigger, which does no harm.

    Raises:
        SchemaError: A view or trigger has other SQL, a trigger is unknown, or a table has generated columns.
    """
    known = programs_of(version)
    programs = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger')")
    foreign = [
        f"{kind} {program}"
        for kind, program, sql in programs.fetchall()
        if (kind == "trigger" or program in known) and program_digest(sql or "") != known.get(program)
    ]
    for table in tables_of(version):
        sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
        columns = {name: hidden for _, name, *_, hidden in connection.execute(f"PRAGMA table_xinfo({table})")}
        if not str(sql).upper().startswith("CREATE TABLE") or any(columns.values()):
            foreign.append(f"table {table}")
        elif version == SCHEMA_VERSION and (
            missing := [one.name for one in metadata.tables[table].c if one.name not in columns]
        ):
            foreign.append(f"table {table} without {', '.join(missing)}")
    if foreign:
        raise SchemaError(
            f"{name}: expected the views, triggers and tables that bench makes, found others: {', '.join(foreign)!r:.300}. "
            "Nothing was read: the file may have been made to harm its readers; put a backup in its place, or take its "
            "rows over with: bench db salvage"
        )
