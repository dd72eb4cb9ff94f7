"""The text of a table's cells, before a format's own escaping: what all formats for people share."""

from __future__ import annotations

from benchmark.reporting.notation import written
from benchmark.reporting.table import Column, Kind, Row, Table, Tally, letter
from benchmark.text import plain


def kind_of(row: Row, column: Column) -> Kind:
    """What a cell is: as its row says where metrics are rows, else as its column says."""
    if row.kind is None or column.kind in {"text", "verdict", "p"}:
        return column.kind
    return row.kind


def text_of(row: Row, column: Column) -> str:
    """A cell with the letters of its footnotes: `2/3 (a)`."""
    text = plain(written(row.cells.get(column.key), kind_of(row, column), known_n=_known_n(row, column)))
    marks = row.marks.get(column.key)
    return f"{text} ({', '.join(letter(mark) for mark in marks)})" if marks else text


def heading(column: Column) -> str:
    # a title may be the name of a class
    title = plain(column.title)
    return title if column.n is None else f"{title} (n={column.n})"


def _known_n(row: Row, column: Column) -> int | None:
    if column.n is not None:
        return column.n
    return next((value.completed for value in row.cells.values() if isinstance(value, Tally)), None)


def is_number(column: Column) -> bool:
    return column.kind not in {"text", "verdict"}


def footnotes(table: Table) -> list[str]:
    return [f"({letter(position)}) {plain(text)}" for position, text in enumerate(table.footnotes)]
