"""Which columns of a page's table stand side by side on a sheet of A4: a table that is too wide is printed in parts."""

from __future__ import annotations

from dataclasses import replace

from benchmark.reporting.table import Table
from benchmark.reporting.writers.cell_text import text_column
from benchmark.reporting.writers.panels import TextColumn, fold, words
from benchmark.reporting.writers.text_table import divided

SHEET = 112
"""So many characters stand side by side on a sheet, in the letters of a printed table."""
_GAP = 1
LONGEST_NAME = 18
"""A longer word is broken on paper: names must leave room for numbers."""


def paper_parts(table: Table) -> list[Table]:
    """The parts of a table that is too wide for a sheet, each with the columns that name a row; none where it fits.

    What all rows share stands in the caption of the first.
    """
    columns = [_narrowed(text_column(table, column)) for column in table.columns]
    if not table.rows or len(fold(columns, SHEET, _GAP)) == 1:
        return []
    shared, varying = divided(columns)
    panels = fold(varying, SHEET, _GAP)
    kept = {(column.title, column.texts) for column in varying}
    own = [own for own, column in zip(table.columns, columns, strict=True) if (column.title, column.texts) in kept]
    column_of = dict(zip(map(id, varying), own, strict=True))
    return [
        replace(
            table,
            title=_caption(table.title, number, len(panels), shared),
            columns=tuple(column_of[id(column)] for column, _ in panel),
        )
        for number, panel in enumerate(panels, start=1)
    ]


def _caption(title: str, number: int, count: int, shared: str) -> str:
    part = f", part {number} of {count}" if count > 1 else ""
    return title + part + (f": {shared}" if shared and number == 1 else "")


def _narrowed(column: TextColumn) -> TextColumn:
    texts = (" ".join(word[:LONGEST_NAME] for word in words(text)) for text in column.texts)
    return column if column.is_number else replace(column, texts=tuple(texts))
