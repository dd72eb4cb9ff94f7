r"""Writes a report as LaTeX tables for a paper of one or two columns; they need the packages `booktabs` and `graphicx`.

Every table is a float with a caption and a label: `table` where it fits a column of two, else `table*`, which is the same as
`table` in a paper of one. What all rows share stands in the caption. Where the text is too narrow for all columns, those
that matter least are left out and named in a comment; what cannot be left out is divided among several floats.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

from benchmark.reporting.table import Report, Table
from benchmark.reporting.writers.latex.latex_cells import PaperColumn, cells_of, letters_of, paper_columns, title_of
from benchmark.reporting.writers.latex.latex_layout import ONE_COLUMN, TEXT, Layout, lay_out, without_constants
from benchmark.reporting.writers.latex.latex_pages import PAGE, Line, height_of, lines_of, pages_of
from benchmark.reporting.writers.latex.latex_text import escape, printed, short, width_of
from benchmark.reporting.writers.page import Page
from benchmark.text import encodable

PREAMBLE = (r"\usepackage{booktabs}", r"\usepackage{graphicx}")
"""What a document needs before `\begin{document}`."""
BEST = "Bold: better than all that it is compared with here, each difference resolved."

_INDENT = 1.0
_CAPTION = 1.25
"""How much larger the letters of a caption are than those of the table."""
_FLOATS = 12
"""LaTeX holds back a limited number of floats."""


def render(report: Report, _page: Page) -> str:
    """The tables of a report as LaTeX in ASCII, with the answer as comments and the notes of a table below it.

    What holds for all tables stands at the end, or below the table where there is one alone.
    """
    comments = [*report.answer, "The preamble needs:", *PREAMBLE]
    parts = ["\n".join(f"% {encodable(printed(line), 'ascii')}" for line in comments)]
    labels = _Labels()
    notes = [*filter(None, map(_prose, report.notes))]
    further, last = (notes, []) if len(report.tables) == 1 else ([], notes)
    floats = [part for table in report.tables for part in _floats(table, labels, further)]
    for start in range(0, len(floats), _FLOATS):
        parts += [*([r"\clearpage"] if start else []), *floats[start : start + _FLOATS]]
    return "\n\n".join([*parts, *([_paragraphs(last)] if last else [])]) + "\n"


class _Labels:
    """Labels of floats, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, table: Table) -> str:
        words = [table.name, *table.about.values()]
        name = "-".join(filter(None, (re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-")[:40] for word in words)))
        candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        label = next(each for each in candidates if each not in self._given)
        self._given.add(label)
        return f"tab:{label}"


def _floats(table: Table, labels: _Labels, further: Sequence[str]) -> Iterator[str]:
    """The floats of a table, with its notes and `further` ones below the last."""
    if not table.rows:
        title = f"{escape(short(table.title), wraps=True)}."
        yield _paragraphs([title, *filter(None, map(_prose, table.notes)), *further])
        return
    columns, shared = without_constants(paper_columns(table))
    lines, columns = lines_of(columns)
    has_headings = any(line.row is None for line in lines)
    layout = lay_out(columns, _INDENT if has_headings else 0.0)
    letters = letters_of([column for panel in layout.panels for column in panel])
    notes = [rf"\textsuperscript{{{name}}} {_prose(table.footnotes[mark])}" for mark, name in letters.items()]
    shown = {id(column) for panel in layout.panels for column in panel}
    if any(any(column.best) for column in columns if id(column) in shown):
        notes.append(BEST)
    notes += [*filter(None, map(_prose, table.notes)), *further]
    width = ONE_COLUMN if layout.is_narrow else TEXT
    constants = f" ({', '.join(shared)})" if shared else ""
    above = _CAPTION * math.ceil(_CAPTION * width_of(short(table.title) + constants) / width)
    pages: list[tuple[list[PaperColumn], Sequence[Sequence[str]], list[Line]]] = []
    for panel in layout.panels:
        cells = list(zip(*(cells_of(column, layout.cap, letters) for column in panel), strict=True))
        pages += [(panel, cells, page) for page in pages_of(lines, panel, layout.cap, above)]
    below_rows = sum(math.ceil(width_of(note) / width) for note in notes)
    fits = above + height_of(pages[-1][2], pages[-1][0], layout.cap) + below_rows <= PAGE
    for number, (panel, texts, page) in enumerate(pages, start=1):
        part = f", part {number} of {len(pages)}" if len(pages) > 1 else ""
        caption = escape(f"{short(table.title)}{part}{constants}", wraps=True)
        below = notes if fits and number == len(pages) else []
        yield _float(layout, _tabular(panel, texts, page, layout.cap), caption, labels.of(table), below)
    if notes and not fits:
        # more lines than fit below the rows stand in the text behind them
        yield _paragraphs(notes)


def _tabular(
    panel: Sequence[PaperColumn], cells: Sequence[Sequence[str]], page: Sequence[Line], cap: float
) -> list[str]:
    """The lines of a tabular environment."""
    indent = r"\quad " if any(line.row is None for line in page) else ""
    rows = []
    for position, line in enumerate(page):
        if line.row is not None:
            rows.append(f"{indent}{' & '.join(cells[line.row])} \\\\")
            continue
        rows += [r"\addlinespace"] if position else []
        heading = escape(line.heading, wraps=True)
        if width_of(line.heading) > ONE_COLUMN:
            heading = rf"\parbox[t]{{{ONE_COLUMN:g}em}}{{\raggedright {heading}\strut}}"
        rows.append(rf"\multicolumn{{{len(panel)}}}{{@{{}}l}}{{{heading}}} \\")
    titles = [title_of(column, cap) for column in panel]
    return [
        rf"\begin{{tabular}}{{@{{}}{''.join(column.alignment for column in panel)}@{{}}}}",
        r"  \toprule",
        f"  {' & '.join(titles)} \\\\",
        r"  \midrule",
        *(f"  {row}" for row in rows),
        r"  \bottomrule",
        r"\end{tabular}",
    ]


def _float(layout: Layout, tabular: Sequence[str], caption: str, label: str, notes: Sequence[str]) -> str:
    """A float; what is wider than the text all the same, as in a narrower document, is made smaller."""
    kind, places = ("table", "htbp") if layout.is_narrow else ("table*", "tbp")
    left_out = [f"% No room for: {', '.join(layout.left_out)}"] if layout.left_out else []
    return "\n".join(
        [
            rf"\begin{{{kind}}}[{places}]",
            *left_out,
            r"  \centering\footnotesize\sloppy\setlength{\tabcolsep}{3pt}",
            rf"  \caption{{{caption}}}",
            rf"  \label{{{label}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *(f"  {line}" for line in tabular[:-1]),
            f"  {tabular[-1]}}}",
            *([rf"  \par\smallskip\parbox{{\linewidth}}{{\raggedright {_joined(notes)}}}"] if notes else []),
            rf"\end{{{kind}}}",
        ]
    )


def _paragraphs(notes: Sequence[str]) -> str:
    return rf"{{\footnotesize\raggedright\noindent {_joined(notes)}\par}}"


def _joined(notes: Sequence[str]) -> str:
    return "\\\\\n  ".join(notes)


def _prose(text: str) -> str:
    """A note, with what it quotes from a command or a file in the type of code."""
    text = re.sub(r"(?<![^\s(])-(?=\d)", "\N{MINUS SIGN}", text)
    parts = re.split(r"`([^`\s][^`]*)`", text)
    return "".join(
        rf"\texttt{{{escape(part, wraps=True)}}}" if number % 2 else escape(part, wraps=True)
        for number, part in enumerate(parts)
    ).strip()
