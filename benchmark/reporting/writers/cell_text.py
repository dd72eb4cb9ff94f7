"""The texts of cells, headings and footnotes, before a format's own escaping; shared by all formats for people."""

from __future__ import annotations

from benchmark.reporting.notation import written
from benchmark.reporting.table import Kind, Row, Table, TableColumn, Tally, letter
from benchmark.reporting.writers.panels import TextColumn
from benchmark.text import plain


def kind_of(row: Row, column: TableColumn) -> Kind:
    """What a cell holds: the kind of its row where metrics are rows, else that of its column."""
    if row.kind is None or column.kind in {"text", "verdict", "p"}:
        return column.kind
    return row.kind


def text_of(row: Row, column: TableColumn) -> str:
    """The text of a cell, with the letters of its footnotes: `2/3 (a)`."""
    text = unmarked_text(row, column)
    marks = row.marks.get(column.key)
    return f"{text} ({', '.join(letter(mark) for mark in marks)})" if marks else text


def unmarked_text(row: Row, column: TableColumn) -> str:
    """The text of a cell, without the letters of its footnotes."""
    known_n = column.n
    if known_n is None:
        known_n = next((value.completed for value in row.cells.values() if isinstance(value, Tally)), None)
    return plain(written(row.cells.get(column.key), kind_of(row, column), known_n=known_n))


def heading(column: TableColumn) -> str:
    """The heading of a column, with n where all its rows have the same."""
    # a title may be the name of a class, which comes from outside
    title = plain(column.title)
    return title if column.n is None else f"{title} (n={column.n})"


def is_number(column: TableColumn) -> bool:
    """Whether a column holds numbers, which are aligned right."""
    return column.kind not in {"text", "verdict"}


def text_column(table: Table, column: TableColumn) -> TextColumn:
    """A column as texts, to be laid out by their widths."""
    return TextColumn(
        heading(column),
        tuple(text_of(row, column) for row in table.rows),
        is_number(column),
        is_verdict=column.kind == "verdict",
        identifies=column.identifies,
        stays=column.kind != "text",
    )


def footnotes(table: Table) -> list[str]:
    """The footnotes of a table, each with its letter."""
    return [f"({letter(position)}) {plain(text)}" for position, text in enumerate(table.footnotes)]
