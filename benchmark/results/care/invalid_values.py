"""Whether the rows of a database hold what bench could have written there: SQLite keeps whatever is put into a column."""

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
"""How SQLite calls what it stores for a column whose values are of this type in Python."""

_SHOWN_ROWS = 5
_SHOWN_LETTERS = 60


def invalid_values(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Values that bench never writes: numbers in the place of text, a date that is none, a broken specification.

    Args:
        connection: Of SQLite; PostgreSQL holds the kinds of its columns itself.

    Yields:
        Where (table and row), and what was expected and found.
    """
    for table in metadata.sorted_tables:
        wrong = list(_of_other_kinds(connection, table))
        # text that is none cannot be parsed either
        yield from wrong or _of_no_meaning(connection, table)


def _of_other_kinds(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    allowed = {column.name: _STORED_AS[_kind_of(column)] | {"null"} for column in table.columns}
    kinds = {name: sa.func.typeof(table.c[name]) for name in allowed}
    found = connection.execute(
        sa.select(*_key_of(table), *kinds.values())
        .where(sa.or_(*(kind.not_in(allowed[name]) for name, kind in kinds.items())))
        .limit(_SHOWN_ROWS)
    )
    count = len(table.primary_key.columns)
    for row in found:
        for (name, kinds_allowed), kind in zip(allowed.items(), row[count:], strict=True):
            if kind not in kinds_allowed:
                wanted = " or ".join(sorted(kinds_allowed - {"null"}))
                yield _place(table, row[:count]), f"{name}: expected {wanted}, got {kind}"


def _of_no_meaning(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[str, str]]:
    texts = [column for column in table.columns if _kind_of(column) is str]
    if not texts:
        return
    count = len(table.primary_key.columns)
    try:
        for row in connection.execute(sa.select(*_key_of(table), *texts)):
            for column, text in zip(texts, row[count:], strict=True):
                problem = None if text is None else text_problem(column.name, text)
                if problem:
                    yield _place(table, row[:count]), f"{column.name}: {problem}, got {text[:_SHOWN_LETTERS]!r}"
    except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
        # of a letter that is none, which the driver refuses to hand out
        yield table.name, str(getattr(error, "orig", error))


def text_problem(name: str, text: str) -> str | None:
    """What is wrong with the text of a column of that name, in words; None when nothing is."""
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
"""What text must be in columns whose names end so."""


def _kind_of(column: sa.Column[Any]) -> type:
    declared = column.type
    return (declared.impl_instance if isinstance(declared, sa.TypeDecorator) else declared).python_type


def _key_of(table: sa.Table) -> list[sa.ColumnElement[str]]:
    # as text, for a key may be what is wrong
    return [sa.cast(column, sa.Text) for column in table.primary_key.columns]


def _place(table: sa.Table, key: Any) -> str:
    return f"{table.name} row {', '.join(map(str, key))}"
