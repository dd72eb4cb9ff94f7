"""Finds values that bench never writes: SQLite stores any type in any column (https://sqlite.org/datatype3.html)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from benchmark.errors import NewerRecordError
from benchmark.matrix.cell import Cell
from benchmark.results.schema.tables import metadata

_STORED_AS = {int: {"integer"}, bool: {"integer"}, float: {"real", "integer"}, str: {"text"}, bytes: {"blob"}}
"""The storage classes of SQLite for a column whose values have this type in Python."""

_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 60


def invalid_values(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Finds values that bench never writes: a number in the place of text, an invalid date, a cell that cannot be read.

    Args:
        connection: Of SQLite; PostgreSQL enforces the types of its columns itself.

    Yields:
        Where (table and row), and what was expected and found.
    """
    for table in metadata.sorted_tables:
        # texts are parsed only where all of them are texts
        yield from list(_wrong_types(connection, table)) or _unparsable_texts(connection, table)


def _wrong_types(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    allowed = {column.name: _STORED_AS[_kind_of(column)] | {"null"} for column in table.columns}
    kinds = {name: sa.func.typeof(table.c[name]) for name in allowed}
    rows = connection.execute(
        sa.select(*_key_of(table), *kinds.values())
        .where(sa.or_(*(kind.not_in(allowed[name]) for name, kind in kinds.items())))
        .limit(_SHOWN_ROWS)
    )
    count = len(table.primary_key.columns)
    for row in rows:
        for (name, kinds_allowed), kind in zip(allowed.items(), row[count:], strict=True):
            if kind not in kinds_allowed:
                wanted = " or ".join(sorted(kinds_allowed - {"null"}))
                yield _place(table, row[:count]), f"{name}: expected {wanted}, got {kind}"


def _unparsable_texts(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    texts = [column for column in table.columns if _kind_of(column) is str]
    if not texts:
        return
    count = len(table.primary_key.columns)
    try:
        for row in connection.execute(sa.select(*_key_of(table), *texts)):
            for column, text in zip(texts, row[count:], strict=True):
                problem = None if text is None else text_problem(column.name, text)
                if problem:
                    yield _place(table, row[:count]), f"{column.name}: {problem}, got {text[:_SHOWN_CHARACTERS]!r}"
    except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
        # the driver fails on text that is not valid UTF-8
        yield table.name, str(getattr(error, "orig", error))


def text_problem(name: str, text: str) -> str | None:
    """Describes what is wrong with a text in a column of that name; None when nothing is.

    Text of a newer version of bench passes.
    """
    for ending, (read, expected) in _MEANINGS.items():
        if name.endswith(ending):
            try:
                read(text)
            except NewerRecordError:
                return None
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                return f"expected {expected}"
    return None


_MEANINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "_utc": (datetime.fromisoformat, "a date and time (ISO 8601)"),
    "spec": (lambda text: Cell.from_dict(json.loads(text)), "the settings of a cell as JSON"),
    "class_names": (lambda text: [name.strip() for name in json.loads(text)], "a JSON list of names"),
}
"""By the ending of a column's name: what parses its texts, and what is expected of them."""


def _kind_of(column: sa.Column[Any]) -> type:
    declared = column.type
    return (declared.impl_instance if isinstance(declared, sa.TypeDecorator) else declared).python_type


def _key_of(table: sa.Table) -> list[sa.ColumnElement[str]]:
    # as text, because a key may have the wrong type
    return [sa.cast(column, sa.Text) for column in table.primary_key.columns]


def _place(table: sa.Table, key: Any) -> str:
    return f"{table.name} row {', '.join(map(str, key))}"
