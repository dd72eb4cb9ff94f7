"""Writes a report as LaTeX tables for a paper; they need the package `booktabs`."""

from __future__ import annotations

import re

from benchmark.reporting.table import Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.page import Page
from benchmark.text import plain

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "[": "{[}", "]": "{]}", "…": r"\dots{}",
}  # fmt: skip
_ANY_SPECIAL = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")


def render(report: Report, _page: Page) -> str:
    """The tables of a report as LaTeX, each with its notes below it."""
    parts = ["% needs \\usepackage{booktabs}"]
    parts += [_table(table) for table in report.tables]
    if report.notes:
        parts.append("\n\n".join(escape(note) for note in report.notes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape text, so that LaTeX prints it literally."""
    return _ANY_SPECIAL.sub(lambda match: _SPECIAL[match.group()], plain(text))


def _table(table: Table) -> str:
    alignment = "".join("r" if is_number(column) else "l" for column in table.columns)
    lines = [[escape(heading(column)) for column in table.columns]]
    lines += [[escape(text_of(row, column)) for column in table.columns] for row in table.rows]
    head, *body = [f"    {' & '.join(line)} \\\\" for line in lines]
    notes = [escape(text) for text in (*footnotes(table), *table.notes)]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(table.title)}}}",
            rf"  \begin{{tabular}}{{{alignment}}}",
            r"    \toprule",
            head,
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            *(rf"  \par\small {note}" for note in notes),
            r"\end{table}",
        ]
    )
