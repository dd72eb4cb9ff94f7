"""Writes a new database with every row of a damaged one that can still be read, for `bench db salvage`.

Lost rows that others refer to are rebuilt from the rest as far as possible: a cell from the text of its matrix (its id
proves it right), an execution from its files and epochs, an attempt or a run from the rows that refer to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.errors import NotFoundError, SchemaError, StorageError, UserError
from benchmark.files import appearing
from benchmark.results.artifacts.artifact_folder import folder_of
from benchmark.results.care.invalid_values import text_problem
from benchmark.results.care.lost_rows import UNKNOWN_TIME, drop_dangling_rows, missing, named_cells, rebuild
from benchmark.results.care.pages import DamagedError, PageFile, Record, page_file
from benchmark.results.care.sqlite_shell import Script, recovered
from benchmark.results.schema.tables import APPLICATION_ID, SCHEMA_VERSION
from benchmark.results.schema.versions import check_version, tables_of
from benchmark.results.store.engine import connect_sqlite, writing_engine
from benchmark.results.store.location import Location, check_absent, check_writable, locate
from benchmark.results.store.lock import lock_database
from benchmark.results.store.storage_errors import storage_errors

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("INTEGER", "BIGINT", "BOOLEAN"), (int,)),
    "TEXT": (str,),
    "DOUBLE": (float, int),
    "BLOB": (bytes,),
}


@dataclass(frozen=True, slots=True)
class SavedTable:
    """The result for one table.

    Attributes:
        saved: Number of rows that were read.
        rebuilt: Number of lost rows that were made again from others.
        lost: Number of rows that are known to be missing.
        which: Describes the missing rows; empty when none is known.
    """

    table: str
    saved: int
    rebuilt: int
    lost: int
    which: str


@dataclass(frozen=True, slots=True)
class Salvage:
    """The result of a salvage.

    Attributes:
        path: The new file.
        bad_pages: Number of pages of the old file that could not be read.
        bad_rows: Number of rows that were found but are invalid.
        by_shell: Whether SQLite's shell read the rows, not the page reader of bench.
    """

    path: Path
    tables: tuple[SavedTable, ...]
    bad_pages: int
    bad_rows: int
    by_shell: bool

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be lost."""
        return not (self.bad_pages or self.bad_rows or any(table.lost or table.rebuilt for table in self.tables))


def salvage(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> Salvage:
    """Writes a new database with all rows that can be read of a damaged one, which is left as it is.

    Args:
        source: The damaged file. Rows in a `-wal` file beside it are read too.
        destination: Path of the new file, which appears whole or not at all; nothing may be there.

    Raises:
        NotFoundError: There is no source.
        UserError: The destination exists, or the source is on a server.
        SchemaError: The schema of the source is newer than this program's, or not bench's.
        StorageError: No row can be read, or the destination cannot be written.
        BusyError: A run holds the source.
    """
    old, new = locate(source), locate(destination)
    if old.path is None or new.path is None:
        raise UserError("db salvage: expected two paths of files; a PostgreSQL server looks after its own")
    if not old.path.is_file():
        raise NotFoundError(f"{old.name}: expected a damaged database to read, found no file")
    check_absent(new.path, new.name)
    check_writable(new.path, new.name)
    with _locked(old), storage_errors(new.name), appearing(new.path) as aside:
        try:
            with _pages(old) as pages, recovered(old.path, new.path.parent) as script:
                result = _copy(pages, script, replace(new, path=aside), folder_of(source))
        finally:
            for ending in ("-journal", "-wal", "-shm"):
                aside.with_name(aside.name + ending).unlink(missing_ok=True)
    return replace(result, path=new.path)


@contextlib.contextmanager
def _locked(location: Location) -> Iterator[None]:
    assert location.path is not None
    if not os.access(location.path.parent, os.W_OK):
        # no lock file can be created in this folder, but no run can write there either
        yield
        return
    with lock_database(location.path):
        yield


@contextlib.contextmanager
def _pages(location: Location) -> Iterator[PageFile]:
    assert location.path is not None
    try:
        with page_file(location.path) as pages:
            if pages.application_id not in {0, APPLICATION_ID}:
                raise SchemaError(
                    f"{location.name}: expected a database that bench made (application_id {APPLICATION_ID:#x}), got "
                    f"{pages.application_id:#x}. SQLite's own shell can save it: sqlite3 FILE .recover"
                )
            if pages.user_version > SCHEMA_VERSION and pages.application_id == APPLICATION_ID:
                check_version(pages.user_version, location.name)
            yield pages
    except DamagedError as error:
        raise StorageError(f"{location.name}: the file is empty. Put a backup in its place") from error
    except OSError as error:
        raise StorageError(
            f"{location.name}: cannot be read: {error.strerror}. Copy what the disk still gives"
        ) from error


def _copy(pages: PageFile, script: Script | None, location: Location, artifacts: Path) -> Salvage:
    from benchmark.results.schema.migrate import migrate

    assert location.path is not None
    names = tables_of(pages.user_version or SCHEMA_VERSION)
    engine = writing_engine(location)
    try:
        migrate(engine, version=pages.user_version or None)
    finally:
        engine.dispose()
    with closing(connect_sqlite(location, "rw")) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN")
        # executions last: triggers forbid adding rows to final ones
        formats = {
            name: _table_format(connection, name) for name in sorted(names, key=lambda name: name == "execution")
        }
        saved, bad_rows, highest = _fill(connection, formats, pages, script)
        if script is not None and not any(saved.values()):
            script = None
            saved, bad_rows, highest = _fill(connection, formats, pages, None)
        if not any(saved.values()):
            raise StorageError(
                f"{location.name}: no row of a bench database could be read. Put a backup in its place; nothing was written"
            )
        pages.walk()
        cells = named_cells(connection)
        rebuilt = rebuild(connection, artifacts)
        drop_dangling_rows(connection)
        connection.execute("COMMIT")
        tables = tuple(
            SavedTable(name, saved[name], rebuilt.get(name, 0), *missing(connection, name, highest, cells))
            for name in names
        )
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        assert sound == "ok", sound
    return Salvage(location.path, tables, len(pages.bad_pages), bad_rows, by_shell=script is not None)


@dataclass(frozen=True, slots=True)
class _TableFormat:
    """The columns of a table, by which its records are recognized.

    Attributes:
        columns: (name, Python types, whether it may be NULL), in the stored order.
        defaults: What stands for NULL in a row that is older than its column, by the name of the column.
        by_rowid: Whether the first column is the row id, which the record does not contain.
        without_rowid: Whether the table is a WITHOUT ROWID table.
    """

    columns: tuple[tuple[str, tuple[type, ...], bool], ...]
    defaults: dict[str, Any]
    by_rowid: bool
    without_rowid: bool

    def row(self, record: Record, *, exact: bool) -> tuple[Any, ...] | None:
        """Converts a record to a row of this table; None when it cannot be one.

        Args:
            record: The record as read.
            exact: Whether it must have every column; older rows lack columns that were added later.
        """
        short = len(self.columns) - len(record.values)
        if (record.rowid is None) != self.without_rowid or short < 0 or (short and exact):
            return None
        padded = record.values + (None,) * short
        values = tuple(
            self.defaults.get(name) if value is None else value
            for value, (name, _, _) in zip(padded, self.columns, strict=True)
        )
        if self.by_rowid:
            values = (record.rowid, *values[1:])
        for value, (_, types, may_be_null) in zip(values, self.columns, strict=True):
            if not (may_be_null if value is None else isinstance(value, types)):
                return None
        valid = tuple(map(_valid, values, self.columns))
        return None if _INVALID in valid else valid

    def named_row(self, values: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
        """Converts values by column names to a row of this table; None when they cannot be one."""
        names = [name for name, _, _ in self.columns]
        if values is None or not values.keys() <= {"_rowid_", *names}:
            return None
        rowid = None if self.without_rowid else values.get("_rowid_", values.get(names[0]))
        return self.row(Record(rowid, tuple(values.get(name) for name in names)), exact=False)


_INVALID = object()


def _valid(value: Any, column: tuple[str, tuple[type, ...], bool]) -> Any:
    """The value; in place of an invalid date and time an unknown one, of any other invalid text `_INVALID`."""
    name, _, may_be_null = column
    if not isinstance(value, str) or text_problem(name, value) is None:
        return value
    if not name.endswith("_utc"):
        return _INVALID
    return None if may_be_null else UNKNOWN_TIME


def _table_format(connection: sqlite3.Connection, table: str) -> _TableFormat:
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    keys = [row[1] for row in info if row[5]]
    without_rowid = bool(connection.execute("SELECT wr FROM pragma_table_list WHERE name = ?", (table,)).fetchone()[0])
    by_rowid = len(keys) == 1 and info[0][5] == 1 and info[0][2] == "INTEGER"
    columns = tuple((row[1], _PYTHON_TYPES[row[2]], not row[3]) for row in info)
    defaults = {row[1]: connection.execute(f"SELECT {row[4]}").fetchone()[0] for row in info if row[4] is not None}
    return _TableFormat(columns, defaults, by_rowid, without_rowid)


def _fill(
    connection: sqlite3.Connection, formats: dict[str, _TableFormat], pages: PageFile, script: Script | None
) -> tuple[dict[str, int], int, dict[str, int]]:
    """Inserts every row; returns the number of rows by table, the number of invalid rows, and the highest ids by table."""
    if script is None:
        roots = {name: root for kind, name, root in pages.catalogue() if kind == "table"}
        numbers = (
            record.values for record in (pages.tree(roots["sqlite_sequence"]) if "sqlite_sequence" in roots else ())
        )
        read = {name: table for name, table in formats.items() if name in roots}
        tables = {name: map(partial(table.row, exact=False), pages.tree(roots[name])) for name, table in read.items()}
    else:
        numbers = ((row.get("name"), row.get("seq")) for row in script.rows("sqlite_sequence") if row)
        tables = {name: map(table.named_row, script.rows(name)) for name, table in formats.items()}
    highest = _highest(numbers)
    bad = sum(_insert_rows(connection, name, rows) for name, rows in tables.items())
    if script is not None:
        lost_records = script.lost_records()
    else:
        pages.walk()
        lost_records = pages.lost_records() if pages.bad_pages or len(tables) < len(formats) else iter(())
    for name, rows in _by_table(lost_records, formats).items():
        _insert_rows(connection, name, rows)
    count = "SELECT count(*) FROM {}".format
    saved = {name: connection.execute(count(name)).fetchone()[0] for name in formats}
    return saved, bad + (pages.bad_records if script is None else 0), highest


def _by_table(lost_records: Iterable[Record], formats: dict[str, _TableFormat]) -> dict[str, list[tuple[Any, ...]]]:
    """Assigns records of unknown tables to the first table whose columns they fit."""
    rows_by_table: dict[str, list[tuple[Any, ...]]] = {name: [] for name in formats}
    for record in lost_records:
        for name, table_format in formats.items():
            row = table_format.row(record, exact=True)
            if row is not None:
                rows_by_table[name].append(row)
                break
    return rows_by_table


def _highest(numbers: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """The highest id that each AUTOINCREMENT table has ever used, from `sqlite_sequence`."""
    highest: dict[str, int] = {}
    for values in numbers:
        with contextlib.suppress(ValueError, TypeError):
            name, number = values
            highest[str(name)] = int(number)
    return highest


def _insert_rows(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...] | None]) -> int:
    """Inserts rows; returns how many were invalid, or violated a constraint of the table."""
    refused = 0
    for row in rows:
        if row is None:
            refused += 1
            continue
        marks = ", ".join("?" * len(row))
        try:
            done = connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
        except (sqlite3.IntegrityError, OverflowError):
            refused += 1
            continue
        refused += done.rowcount == 0
    return refused
