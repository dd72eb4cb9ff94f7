"""Lays a table out as lines of text: every table that a terminal or a text file gets is written by this."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.text import Span, Text

from benchmark.reporting.writers.panels import GAP, READABLE_TEXT, Panel, TextColumn, fold, longest_word, total, words
from benchmark.text import can_encode, encodable

NARROWEST = 24
"""A table is never narrower than it needs to be readable, whatever the terminal says."""

WORDS = re.compile("")
PATHS = re.compile(r"\S*/")
"""What is to be copied from a terminal."""
_JOINT = re.compile(r"(?<=\w)[-,](?=\w)|\s")
SHORTEST_PART = 7
"""Of a word that is too long for a line: as many digits as tell an id."""


def table_lines(columns: Sequence[TextColumn], width: int, encoding: str, title: str) -> Iterator[Text]:
    """The lines of a table, none of them wider than the width (but for such paths) or with blanks at its end.

    Columns whose cells are all the same stand in a line above it. What does not fit side by side is divided among several
    tables, with the columns that identify a row in each; where not even two columns fit, each row becomes lines
    `name: value`. A word is broken only where it is longer than a whole line, and a path not even there
    (`TextColumn.has_paths`).

    Two columns without headings are a list of names and what they stand for.

    Args:
        columns: At least one, safe to print; all with the same number of cells.
        width: Columns of the terminal; at least 24 are used.
        encoding: Of the reader's stream; characters that it lacks are replaced before widths are counted.
        title: Stands above the table, and above each of several.
    """
    width = max(width, NARROWEST)
    columns = [_encoded(column, encoding) for column in columns]
    if [column.title for column in columns] == ["", ""]:
        yield from _list(columns[0], columns[1], width)
        return
    constant, varying = divided(columns)
    varying, panels, gap = _arranged(varying, width)
    rule = "─" if can_encode("─", encoding) else "-"
    for number, panel in enumerate(panels or [[]], start=1):
        if number > 1:
            yield Text()
        part = f" ({number} of {len(panels)})" if len(panels) > 1 else ""
        yield from _styled(wrap(encodable(title, encoding) + part, width) if title else (), "bold")
        if number == 1:
            yield from _styled(wrap(constant, width), "dim")
        yield from _grid(panel, gap, rule, width) if panel else _records(varying, width)


def under_headings(columns: Sequence[TextColumn], headings: Sequence[str]) -> list[TextColumn]:
    """Columns whose rows stand under headings, one for each row, of which those that repeat the one before are left out."""
    first, *others = columns
    changes = {i: text for i, text in enumerate(headings) if i == 0 or headings[i - 1] != text}
    return [replace(first, texts=tuple(f"  {text}" for text in first.texts), headings=changes), *others]


def wrap(text: str, width: int, hang: str = "", *, whole: re.Pattern[str] | None = None) -> list[str]:
    """A text as lines that are broken between words.

    Args:
        text: What it begins with blanks, all lines begin with.
        width: In cells of a terminal, of which some characters take two.
        hang: What lines but the first begin with beside that.
        whole: Words that begin so stay in one piece where they are longer than a line: all `WORDS`, or `PATHS`; None
            breaks them.
    """
    if cell_len(text) <= width:
        return [text.rstrip()] if text else []
    line = text[: len(text) - len(text.lstrip())]
    hang = (line + hang)[: width // 2]
    lines: list[str] = []
    for word in words(text):
        longer = f"{line} {word}" if line.strip() else line + word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line.strip():
            lines.append(line)
        line = hang + word
        while cell_len(line) > width and not (whole and whole.match(word)):
            fitting = len(chop_cells(line, width)[0])
            # what hyphens and commas join stays whole where it can
            ends = [found.end() for found in _JOINT.finditer(line) if found.end() <= fitting]
            end = ends[-1] if ends and ends[-1] >= len(hang) + SHORTEST_PART else fitting
            lines.append(line[:end].rstrip())
            line = hang + line[end:].lstrip()
    return [*lines, line]


def _encoded(column: TextColumn, encoding: str) -> TextColumn:
    return replace(
        column,
        title=encodable(column.title, encoding),
        texts=tuple(encodable(text, encoding) for text in column.texts),
        headings={number: encodable(text, encoding) for number, text in column.headings.items()},
    )


def divided(columns: Sequence[TextColumn]) -> tuple[str, list[TextColumn]]:
    """What is the same in all rows, as `dataset mnist, backend torch`, and the other columns, one of which identifies."""
    constant = [column for column in columns if _is_constant(column)]
    if len(constant) == len(columns):
        constant = []
    varying = [column for column in columns if column not in constant]
    constant = [column for column in constant if column.texts[0] != "-"]
    if not any(column.identifies for column in varying):
        varying[0] = replace(varying[0], identifies=True)
    return _named(constant, 0), varying


def _named(columns: Iterable[TextColumn], number: int) -> str:
    """The cells of a row with their headings: `dataset mnist, backend torch`."""
    return ", ".join(f"{column.title} {column.texts[number] or '-'}" for column in columns)


def _is_constant(column: TextColumn) -> bool:
    may_move = column.title and not column.stays and not column.headings
    return bool(may_move) and len(column.texts) > 1 and len(set(column.texts)) == 1


def _arranged(columns: list[TextColumn], width: int) -> tuple[list[TextColumn], list[Panel], int]:
    """The columns as they are drawn, their panels (none where each row becomes lines), and the gap between two columns."""
    rows = len(columns[0].texts)
    best: tuple[list[TextColumn], list[Panel], int] = columns, [], GAP
    if not rows:
        return best
    heads = [column for column in columns if column.heads]
    for count in range(len(heads) + 1):
        others = [column for column in columns if column not in heads[:count]]
        if count and others:
            others = under_headings(others, [_named(heads[:count], number) for number in range(rows)])
        if not others or 2 * len(others[0].headings) > rows:
            break
        for gap in (GAP, 1):
            panels = fold(others, width, gap)
            if len(panels) == 1:
                return others, panels, gap
            if rows > 1 and gap == GAP and panels and (not best[1] or len(panels) < len(best[1])):
                best = others, panels, gap
    return best


def _styled(lines: Iterable[str], style: str) -> Iterator[Text]:
    return (Text(line, style) for line in lines)


def _grid(panel: Panel, gap: int, rule: str, width: int) -> Iterator[Text]:
    """Column headings, a rule, and each row; headings of rows run across all columns."""
    titles = [wrap(column.title, width) for column, width in panel]
    height = max(map(len, titles))
    for index in range(height):
        # titles end on the last line: shorter ones begin lower
        shown = [title[offset] if (offset := index - height + len(title)) >= 0 else "" for title in titles]
        yield _line(panel, gap, shown, ["bold"] * len(shown))
    yield Text(rule * total([width for _, width in panel], gap), "dim")
    headings = panel[0][0].headings
    for number in range(len(panel[0][0].texts)):
        yield from _styled(wrap(headings.get(number, ""), width, "  "), "bold")
        styles = [column.styles[number] if column.styles else "" for column, _ in panel]
        # more than one line where a text wraps
        for texts in zip_longest(*(wrap(column.texts[number], width) or [""] for column, width in panel), fillvalue=""):
            yield _line(panel, gap, texts, styles)


def _line(panel: Panel, gap: int, texts: Sequence[str], styles: Sequence[str]) -> Text:
    plain = ""
    spans = []
    for (column, width), text, style in zip(panel, texts, styles, strict=True):
        space = " " * (width - cell_len(text))
        before, after = (space, "") if column.is_number else ("", space)
        begin = len(plain) + len(before)
        plain += f"{before}{text}{after}{' ' * gap}"
        if style and text:
            spans.append(Span(begin, begin + len(text), style))
    return Text(plain.rstrip(), spans=spans)


def _records(columns: Sequence[TextColumn], width: int) -> Iterator[Text]:
    """Each row as lines `name: value`, for a width that no table fits."""
    headings = columns[0].headings
    for number in range(len(columns[0].texts)):
        if number and number not in headings:
            yield Text()
        yield from _styled(wrap(headings.get(number, ""), width, "  "), "bold")
        for column in columns:
            text = column.texts[number].strip() or "-"
            line = f"{column.title}: {text}"
            whole = PATHS if column.has_paths else None
            if column.is_number and cell_len(line) > width:
                yield from map(Text, [*wrap(f"{column.title}:", width, "  "), *wrap(f"  {text}", width)])
            else:
                yield from map(Text, wrap(line, width, "  ", whole=whole))


def _list(names: TextColumn, values: TextColumn, width: int) -> Iterator[Text]:
    """Names and what they stand for, side by side; what is too long for that begins on a line of its own."""
    room = width - names.natural - GAP
    panel = [(names, names.natural), (values, room)]
    for number, (name, value) in enumerate(zip(names.texts, values.texts, strict=True)):
        style = names.styles[number] if names.styles else ""
        yield from _styled(wrap(names.headings.get(number, ""), width, "  "), "bold")
        if room >= max(READABLE_TEXT, longest_word(value)):
            for texts in zip_longest([name], wrap(value, room) or [""], fillvalue=""):
                yield _line(panel, GAP, texts, [style, ""])
        else:
            line = f"{name}: {value}" if name.strip() else f"{name}  {value}"
            yield from map(Text, wrap(line, width, "  ", whole=PATHS if values.has_paths else None))
