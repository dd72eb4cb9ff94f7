"""Writes a report as LaTeX tables for a paper; they need the packages `booktabs` and `graphicx`, and fit its columns."""

from __future__ import annotations

import re
import textwrap

from benchmark.reporting.table import Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.page import Page
from benchmark.reporting.writers.panels import Panel, TextColumn, fold
from benchmark.text import plain

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "{''}", "±": r"$\pm$", "[": "{[}", "]": "{]}", "…": r"\dots{}", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$", "\N{MINUS SIGN}": "$-$", "Δ": r"$\Delta$", "·": r"$\cdot$", "µ": r"$\mu$",
}  # fmt: skip
"""In OT1, LaTeX's own font encoding, there is no straight double quote."""
_ANY_SPECIAL = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")


BREAK = r"\\"
_WIDTH = 88
"""Characters of `\\footnotesize` beside each other in the text of an article in one column of A4 or letter paper."""
_ROWS = 40
"""As many fit on a page, notes included."""


def render(report: Report, _page: Page) -> str:
    """The tables of a report as LaTeX, folded where they are wider or longer than a page, the notes below the last part."""
    parts = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}"]
    parts += ["\n".join(map(escape, report.answer))] if report.answer else []
    parts += [part for table in report.tables for part in _parts(table)]
    if report.notes:
        parts.append("\n\n".join(escape(note) for note in report.notes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape text, so that LaTeX prints it literally."""
    return _ANY_SPECIAL.sub(lambda match: _SPECIAL[match.group()], plain(text))


def _parts(table: Table) -> list[str]:
    columns = [
        TextColumn(
            heading(column),
            tuple(text_of(row, column) for row in table.rows),
            is_number(column),
            column.kind == "verdict",
            column.identifies,
        )
        for column in table.columns
    ]
    panels: list[Panel] = fold(columns, _WIDTH) or [[(column, column.natural) for column in columns]]
    pages = [(panel, first) for panel in panels for first in range(0, max(len(table.rows), 1), _ROWS)]
    notes = [escape(text) for text in (*footnotes(table), *table.notes)]
    parts = [
        _float(f"{table.title} ({number} of {len(pages)})" if len(pages) > 1 else table.title, panel, first)
        for number, (panel, first) in enumerate(pages, start=1)
    ]
    lines = len(table.rows) % _ROWS + sum(len(note) // _WIDTH + 1 for note in notes)
    below = "".join(f"  \\par {note}\n" for note in notes)
    end = "\\end{table}"
    # more lines than fit into a float stand in the text behind it
    inside = f"{parts[-1].removesuffix(end)}{below}{end}"
    return [*parts[:-1], inside] if lines <= _ROWS else [*parts, f"{{\\footnotesize\n{below}}}"]


def _float(title: str, panel: Panel, first: int) -> str:
    """A float with the rows from `first` on; what is wider than the text all the same is made smaller."""
    rows = [
        " & ".join(escape(column.texts[row]) for column, _ in panel)
        for row in range(first, min(first + _ROWS, len(panel[0][0].texts)))
    ]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"  \caption{{{escape(title)}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{''.join('r' if column.is_number else 'l' for column, _ in panel)}}}",
            r"    \toprule",
            f"    {' & '.join(_title(column, width) for column, width in panel)} \\\\",
            r"    \midrule",
            *(f"    {row} \\\\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"\end{table}",
        ]
    )


def _title(column: TextColumn, width: int) -> str:
    lines = [escape(line) for line in textwrap.wrap(column.title, width, break_long_words=False)]
    if len(lines) < 2:
        return "".join(lines)
    return rf"\shortstack[{'r' if column.is_number else 'l'}]{{{BREAK.join(lines)}}}"
