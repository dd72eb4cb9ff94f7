"""The columns of a table as LaTeX: texts that wrap, numbers aligned at their decimal points, letters of footnotes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.reporting.table import Table, TableColumn, letter
from benchmark.reporting.writers.cell_text import heading, is_number, unmarked_text
from benchmark.reporting.writers.latex.latex_text import escape, short, width_of

_MARK = 0.4
"""Em that the letter of a footnote takes."""
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d[\d,]*)(?P<fraction>\.\d+)?"
    r"(?P<interval> \u00b1 [\d,.]+| \([^()]+ to [^()]+\))?(?: \(n=(?P<n>\d+)\))?"
)


@dataclass(frozen=True, slots=True)
class PaperColumn:
    """A column of a table in a paper.

    Attributes:
        column: What it shows.
        title: Its heading as it is printed.
        texts: Its cells as they are printed, without the letters of their footnotes.
        marks: The footnotes of each cell.
        best: Whether each cell is the best of its rows, and resolved to be.
    """

    column: TableColumn
    title: str
    texts: tuple[str, ...]
    marks: tuple[tuple[int, ...], ...]
    best: tuple[bool, ...]

    @property
    def wraps(self) -> bool:
        return self.column.kind == "text"

    @property
    def numbers(self) -> list[re.Match[str] | None]:
        """Sign, digits and interval of each cell; None for a text."""
        return [_NUMBER.fullmatch(text) if is_number(self.column) else None for text in self.texts]

    @property
    def has_intervals(self) -> bool:
        return any(number["interval"] for number in self.numbers if number)

    @property
    def alignment(self) -> str:
        """`l` or `r`; numbers with intervals begin at the left, with space before the shorter ones."""
        return "r" if is_number(self.column) and not self.has_intervals else "l"

    def width(self, cap: float = math.inf) -> float:
        """Em that it takes when its texts wrap at a width."""
        widths = [width_of(text) + _MARK * len(marks) for text, marks in zip(self.texts, self.marks, strict=True)]
        cells = max(widths, default=0.0)
        if self.has_intervals:
            starts = [width_of(number["sign"] + number["whole"]) if number else 0.0 for number in self.numbers]
            rests = [width - start for width, start in zip(widths, starts, strict=True)]
            cells = max(starts) + max(rests) + 0.5
        words = max(map(width_of, self.title.split()), default=0.0)
        return max(words, min(cells, cap) if self.wraps else cells)


def paper_columns(table: Table) -> list[PaperColumn]:
    """All columns of a table."""
    return [
        PaperColumn(
            column,
            short(heading(column)),
            tuple(short(unmarked_text(row, column)) for row in table.rows),
            tuple(row.marks.get(column.key, ()) for row in table.rows),
            tuple(column.key in row.best for row in table.rows),
        )
        for column in table.columns
    ]


def title_of(column: PaperColumn, cap: float) -> str:
    """The heading, in as many lines as the column is narrow."""
    lines = title_lines(column, cap)
    broken = "\\\\".join(map(escape, lines))
    return broken if len(lines) < 2 else rf"\shortstack[{column.alignment}]{{{broken}}}"


def title_lines(column: PaperColumn, cap: float) -> list[str]:
    """The lines of a heading."""
    width, lines = column.width(cap) + 0.1, [""]
    for word in column.title.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if width_of(longer) <= width or not lines[-1] else [*lines, word]
    return lines


def cells_of(column: PaperColumn, cap: float, letters: Mapping[int, str]) -> list[str]:
    """The cells as LaTeX, with the letters of their footnotes."""
    texts = _numbers(column) if is_number(column.column) else [_text(text, column.wraps, cap) for text in column.texts]
    raised = [",".join(letters[mark] for mark in marks) for marks in column.marks]
    longest = max(raised, key=len, default="")
    pad = rf"\phantom{{\textsuperscript{{{longest}}}}}" if longest and column.alignment == "r" else ""
    return [
        (_bold(text) if best else text) + (rf"\textsuperscript{{{mark}}}" if mark else pad)
        for text, best, mark in zip(texts, column.best, raised, strict=True)
    ]


def _bold(text: str) -> str:
    return rf"{{\boldmath{text}}}" if text.startswith("$") else rf"\textbf{{{text}}}"


def letters_of(columns: Sequence[PaperColumn]) -> dict[int, str]:
    """The letter of each footnote that these columns have, in the order of reading."""
    rows = itertools.chain.from_iterable(zip(*(column.marks for column in columns), strict=True))
    seen = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {mark: letter(position) for position, mark in enumerate(seen)}


def _text(text: str, wraps: bool, cap: float) -> str:
    if text in {"-", ""}:
        return "--" if text else ""
    if not wraps or width_of(text) <= cap:
        return escape(text)
    return rf"\parbox[t]{{{cap:g}em}}{{\raggedright {escape(text, wraps=True)}\strut}}"


def _numbers(column: PaperColumn) -> list[str]:
    found = column.numbers
    matches = [number for number in found if number]
    whole = max((number["whole"] for number in matches), key=len, default="")
    fraction = max((number["fraction"] or "" for number in matches), key=len, default="")
    is_signed = any(number["sign"] for number in matches)
    make = _with_interval if column.has_intervals else _alone
    return [
        make(number, whole, fraction, is_signed=is_signed) if number else _no_number(text)
        for number, text in zip(found, column.texts, strict=True)
    ]


def _with_interval(number: re.Match[str], whole: str, _fraction: str, *, is_signed: bool) -> str:
    missing = whole[: len(whole) - len(number["whole"])]
    pad = rf"\phantom{{{missing}}}" if missing else ""
    sign = number["sign"] or (r"\phantom{+}" if is_signed else "")
    # behind something else a bare sign would be an operation, with more space
    sign = f"{{{sign}}}" if pad and sign else sign
    digits = f"{number['whole']}{number['fraction'] or ''}"
    interval = (number["interval"] or "").replace(" \u00b1 ", r" \pm ")
    if interval.startswith(" ("):
        low, _, high = interval[2:-1].partition(" to ")
        interval = rf"\;[{low},\,{high}]"
    text = re.sub(r"(?<=\d),(?=\d)", "{,}", f"{pad}{sign}{digits}{interval}")
    count = rf"\;(n={number['n']})" if number["n"] else ""
    return f"${text}{count}$"


def _alone(number: re.Match[str], _whole: str, fraction: str, *, is_signed: bool) -> str:
    del is_signed
    missing = fraction[len(number["fraction"] or "") :]
    sign = "$-$" if number["sign"] == "-" else number["sign"]
    pad = rf"\phantom{{{missing}}}" if missing else ""
    count = f" (n={number['n']})" if number["n"] else ""
    return f"{sign}{number['whole']}{number['fraction'] or ''}{pad}{count}"


def _no_number(text: str) -> str:
    if text == "-":
        return "--"
    if re.fullmatch(r"<[\d.]+", text):
        return f"${text}$"
    if scientific := re.fullmatch(r"([+-]?[\d.]+)e([+-]\d+)", text):
        return rf"${scientific[1]} \times 10^{{{int(scientific[2])}}}$"
    return escape(re.sub(r"(?<=\d)-(?=\d)", "\u2013", text))
