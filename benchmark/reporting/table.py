"""Tables of typed cells with footnotes and notes: what a report is before a writer turns it into text.

Writers decide how a cell looks: widths, escapes, digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

from benchmark.reporting.page_content import PageContent
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference

Kind: TypeAlias = Literal[
    "text", "verdict", "count", "accuracy", "score", "loss", "seconds", "rate", "bytes", "p", "percent"
]
"""What a column holds.

`accuracy` is a fraction 0..1, `percent` one of 0..100, `rate` is images per second, `p` a probability, `score` any other
figure.
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many seeds of a group completed, of how many planned."""

    completed: int
    planned: int


@dataclass(frozen=True, slots=True)
class Published:
    """A figure from a publication: a number and its decimals, or a text where it is not a plain number."""

    value: float | str
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Qualified:
    """A word that programs read, and what people read behind it."""

    word: str
    more: str


Value: TypeAlias = str | int | float | Measurement | Difference | Tally | Published | Qualified | None
"""A cell of a table; None is written as `-`, a truth value as `yes` or `no`."""


class Advised(str):
    """A note that says more at a terminal: what to type there. Papers and pages get the note alone.

    Attributes:
        at_terminal: What a terminal shows in its place, and JSON among its notes.
    """

    __slots__ = ("at_terminal",)
    at_terminal: str

    def __new__(cls, note: str, at_terminal: str = "") -> Self:
        made = super().__new__(cls, note)
        made.at_terminal = at_terminal or note
        return made

    @staticmethod
    def shown(notes: Iterable[str]) -> list[str]:
        """Notes as a terminal shows them."""
        return [note.at_terminal if isinstance(note, Advised) else note for note in notes]

    def behind(self, start: str) -> Advised:
        """The same behind another text."""
        return Advised(f"{start}{self}", f"{start}{self.at_terminal}")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        key: Its name in CSV and JSON: lower case, words joined by `_`.
        title: Its heading.
        kind: What it holds; a row may say otherwise (`Row.kind`) where metrics are rows.
        unit: `s`, `bytes`, `images/s`, or empty.
        identifies: Whether it tells rows apart; such columns are repeated when a wide table is folded.
        n: From how many seeds its numbers are, where that is the same in all rows; shown in its heading.
        heads: Whether rows that share its value may stand under it as a heading, to save width.
        rank: Where a page of a paper is too narrow for all columns, the highest go first; those of rank 0 stay.
    """

    key: str
    title: str
    kind: Kind
    unit: str = ""
    identifies: bool = False
    n: int | None = None
    heads: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        cells: Values by the key of their column.
        marks: Footnotes (positions in `Table.footnotes`) by the key of the cell that they belong to.
        kind: What the numbers of this row are, where the metrics are rows; None leaves it to the columns.
        remark: The text of all footnotes of the row, for CSV and JSON, where rows stand alone.
        best: Keys of the cells that are better than all that they are compared with, where every difference is resolved.
    """

    cells: Mapping[str, Value]
    marks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    kind: Kind | None = None
    remark: str = ""
    best: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: As in `tables.registry.TABLES`, or `compare`; tables may share it.
        title: The heading.
        columns, rows: In the order to print.
        about: What holds for the whole table, by name, such as its dataset; a column each in CSV.
        footnotes: The texts of marked cells, mostly why a seed has no result.
        notes: What a reader must know to judge the table.
        answer: What it comes to, as a sentence that a report may begin with; for tables on request.
        people: The columns that people see, where these are others: `columns` are those of programs.
    """

    name: str
    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[Row, ...]
    about: Mapping[str, str] = field(default_factory=dict)
    footnotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    answer: str = ""
    people: tuple[TableColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class FigureFile:
    """A figure that was drawn.

    Attributes:
        kind, title: As of `figures.drawing.figure_files.PlannedFigure`.
        cells: Ids of the cells that it shows.
        path: The file.
        alternative: What it shows, for who cannot see it; empty where that was not recorded.
    """

    kind: str
    title: str
    cells: tuple[str, ...]
    path: Path
    alternative: str = ""


@dataclass(frozen=True, slots=True)
class MissingFigure:
    """A figure that could not be drawn, and why."""

    kind: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All tables of one machine, and what holds for all of them.

    Attributes:
        tables: In the order to print.
        notes: What a reader must know to judge all tables.
        machine: Whose results these are; None where the results name none, or are of several.
        figures: The figures that were drawn; None where no figures were asked for.
        suspects: Compared pairs that differ in what nobody asked to compare, in words.
        missing_figures: Those that could not be drawn.
        runs: Ids of the runs of which results are shown, ascending.
        fingerprints: Of the prepared images that these are results of, sorted.
        created_utc: When it was made, in ISO 8601; None where nobody said so.
        answer: What the tables come to, in at most three sentences: every writer begins with them (`answer.answer`).
        page: What a page shows beside the tables; None where no page was asked for.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    machine: str | None = None
    runs: tuple[int, ...] = ()
    created_utc: str | None = None
    figures: tuple[FigureFile, ...] | None = None
    suspects: tuple[str, ...] = ()
    missing_figures: tuple[MissingFigure, ...] = ()
    fingerprints: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    page: PageContent | None = None


class Footnotes:
    """Collects the footnotes of one table; equal texts become one footnote."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    def marks(self, **texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """`Row.marks` of the texts of each cell, which are added where they are new."""
        return {
            key: tuple(self._positions.setdefault(text, len(self._positions)) for text in several)
            for key, several in texts.items()
            if several
        }

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._positions)


def without_empty(tables: Iterable[Table]) -> tuple[list[Table], list[str]]:
    """The tables that have any measurement, and a note for each that has none."""
    kept: list[Table] = []
    notes: list[str] = []
    for table in tables:
        if any(isinstance(value, Measurement) for row in table.rows for value in row.cells.values()):
            kept.append(table)
        else:
            notes.append(f"{table.title}: no cell of it has a result.")
    return kept, notes


def for_people(table: Table) -> Table:
    """The table with the columns that people see: those meant for them, without those in which nothing stands."""
    columns = table.people or table.columns
    marked = {key for row in table.rows for key in row.marks}
    kept = tuple(
        each
        for each in columns
        if each.identifies or each.key in marked or any(row.cells.get(each.key) is not None for row in table.rows)
    )
    return replace(table, columns=kept if table.rows else columns)


def letter(position: int) -> str:
    """The letters of the footnote at a position: a to z, then aa, ab and so on."""
    name = ""
    position += 1
    while position:
        position, rest = divmod(position - 1, 26)
        name = chr(ord("a") + rest) + name
    return name
