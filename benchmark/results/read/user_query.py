"""Runs one SQL statement of the user for `bench query`: it can only read, and has limits of time and size; and tells what there is to ask."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

import sqlalchemy as sa

from benchmark.errors import UserError
from benchmark.results.schema.tables import TABLES
from benchmark.results.schema.views import COMPUTED, VIEWS
from benchmark.results.store import journal_mode
from benchmark.results.store.database import Database
from benchmark.results.store.engine import connect_sqlite
from benchmark.results.store.storage_errors import storage_errors, storage_problem

QueryResult = tuple[list[str], list[tuple[Any, ...]]]
"""Names of the columns, and the rows."""

LIMIT_SECONDS = 60.0
LARGEST_VALUE_BYTES = 100_000_000
MOST_ROWS = 2_000_000
"""More rows would fill the memory before the time limit is reached."""

_STEPS_AT_ONCE = 10_000
"""Instructions of SQLite's virtual machine between two looks at the time."""

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_ALLOWED_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}
_DENIED_FUNCTIONS = {"load_extension", "fts3_tokenizer", "writefile", "readfile", "edit"}

_CURE = "Write one SELECT, for example: select model, avg(test_accuracy) from results group by model"


def read_only_query(database: Database, sql: str, limit_seconds: float = LIMIT_SECONDS) -> QueryResult:
    """Runs one reading statement.

    Args:
        database: An open database; the statement gets a connection of its own that cannot write.
        sql: One statement; a semicolon may end it.
        limit_seconds: It is interrupted after this time.

    Returns:
        The names of the columns, and the rows. NaN is NULL, as it is stored; what is true or false is 1 or 0.

    Raises:
        UserError: It is not one statement, writes, is wrong, returns too much, or took too long.
        StorageError: The database cannot be read.
    """
    if "\0" in sql:
        raise UserError(f"query: expected one SQL statement, found a NUL character in it. {_CURE}")
    if database.path is None:
        return _postgresql(database, sql, limit_seconds)
    path = database.contents.path
    immutable = path is not None and journal_mode.is_frozen(path)
    with (
        storage_errors(database.display_name),
        closing(connect_sqlite(database.contents, "ro", immutable=immutable)) as connection,
    ):
        return _sqlite(connection, sql, limit_seconds)


def _sqlite(connection: sqlite3.Connection, sql: str, limit_seconds: float) -> QueryResult:
    deadline = time.monotonic() + limit_seconds
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_AT_ONCE)
    try:
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise UserError(f"query: expected a statement that reads, found one that returns no rows. {_CURE}")
        return [column[0] for column in cursor.description], _rows(cursor)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise _too_long(limit_seconds) from error
        if storage_problem(error) is not None:
            raise
        raise UserError(f"query: {_reason(error)}. {_CURE}") from error
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        if isinstance(error, sqlite3.DatabaseError) and storage_problem(error) is not None:
            raise
        raise UserError(f"query: {_reason(error)}. {_CURE}") from error


def _reason(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"expected a statement that only reads ({text})" if "authoriz" in text else text


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None) -> int:
    """SQLite's authorizer callback (https://sqlite.org/c3ref/set_authorizer.html), called while a statement is compiled."""
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _DENIED_FUNCTIONS
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = (first or "").lower() in _ALLOWED_PRAGMAS
    else:
        allowed = action in _ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _postgresql(database: Database, sql: str, limit_seconds: float) -> QueryResult:
    """In a transaction that the server makes read-only; `prepare` uses the protocol that accepts a single statement."""
    import psycopg

    with storage_errors(database.display_name), database.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        with raw.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{int(limit_seconds * 1000)}ms",))
            try:
                cursor.execute(sql.encode(), prepare=True)
                if cursor.description is None:
                    raise UserError(f"query: expected a statement that reads, found one that returns no rows. {_CURE}")
                rows = [tuple(int(one) if isinstance(one, bool) else one for one in row) for row in _rows(cursor)]
                return [column.name for column in cursor.description], rows
            except psycopg.errors.QueryCanceled as error:
                raise _too_long(limit_seconds) from error
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) and raw.broken:
                    raise sa.exc.OperationalError(None, None, error) from error
                raise UserError(f"query: {str(error).splitlines()[0]}. {_CURE}") from error
            finally:
                raw.rollback()


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = cursor.fetchmany(MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise UserError(f"query: the answer has more than {MOST_ROWS:,} rows. Ask for less, or add LIMIT")
    return rows


def _too_long(limit_seconds: float) -> UserError:
    return UserError(f"query: took longer than {limit_seconds:g} seconds and was stopped. Ask for less, or add LIMIT")


def described_columns() -> list[dict[str, str]]:
    """A row for each column of the views and tables that users may ask, with `table`, `kind` (view or table), `column`, `type` and `meaning`; views come first."""
    views = [
        (name, "view", key, column.type, COMPUTED.get(key) or getattr(column, "doc", None) or "")
        for name, columns in VIEWS.items()
        for key, column in columns.items()
    ]
    tables = [
        (table.name, "table", column.name, column.type, column.doc or "")
        for table in TABLES
        for column in table.columns
    ]
    return [
        {"table": name, "kind": kind, "column": key, "type": str(of), "meaning": doc}
        for name, kind, key, of, doc in (*views, *tables)
    ]
