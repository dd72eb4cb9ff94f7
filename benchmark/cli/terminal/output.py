"""What stdout gets: rows as a table for people, or as CSV or one JSON document for programs; and reports."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from benchmark import units
from benchmark.cli.cell_names import NAMES
from benchmark.cli.terminal import streams
from benchmark.files import appearing
from benchmark.status import Status
from benchmark.text import json_printable, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from benchmark.reporting.table import Report
    from benchmark.reporting.writers.panels import TextColumn

Row = Mapping[str, Any]

_GAP = 3
"""Between two columns of a table that rich draws."""

FILE_COLUMNS = 110
"""Width of a report that goes to a file or another program."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a printed table.

    Attributes:
        key: Where the value stands in a row.
        title: Heading; the key when empty.
        show: Makes text of a value that is not None.
        right: Whether numbers are lined up at the right.
        style: Of the whole column.
    """

    key: str
    title: str = ""
    show: Callable[[Any], str] = str
    right: bool = False
    style: str = ""


NAME_COLUMNS = tuple(Column(name, right=name == "seed") for name in NAMES)


def write_rows(rows: Sequence[Row], columns: Sequence[Column], output_format: str, *, empty: str = "") -> None:
    """Print rows; `json` and `csv` carry every key of them, the table only its columns.

    Args:
        rows: All with the same keys.
        columns: What the table shows.
        output_format: `table`, `json` or `csv`.
        empty: Said on stderr when there are no rows.
    """
    if output_format == "json":
        write_json(list(rows))
    elif output_format == "csv":
        write_csv(list(rows[0]) if rows else [column.key for column in columns], rows)
    elif rows:
        write_table(rows, columns)
    else:
        streams.say(empty)


def write_line(text: str = "", style: str | None = None) -> None:
    """Print one line, never wrapped by us; what users wrote in it can neither steer the terminal nor begin another."""
    streams.out().print(one_line(text), style=style, soft_wrap=True)


def write_json(document: Any) -> None:
    """One strict JSON document: NaN and infinities, which JSON has no words for, become null.

    An iterator among the values of the document is written row by row, each on a line, and never held whole.
    """
    if not isinstance(document, Mapping) or not any(isinstance(value, Iterator) for value in document.values()):
        sys.stdout.write(_json(document, indent=2) + "\n")
        return
    separator = "{\n"
    for key, value in document.items():
        sys.stdout.write(f"{separator}  {_json(key)}: ")
        if isinstance(value, Iterator):
            sys.stdout.writelines(_json_lines(value, indent="  "))
        else:
            sys.stdout.write(_json(value, indent=2).replace("\n", "\n  "))
        separator = ",\n"
    sys.stdout.write("\n}\n")


def write_json_line(document: Any) -> None:
    """A strict JSON document on one line."""
    sys.stdout.write(_json(document) + "\n")


def _json_lines(rows: Iterator[Any], indent: str = "") -> Iterator[str]:
    """A JSON array piece by piece, with a row on each line."""
    separator = "[\n"
    for row in rows:
        yield f"{separator}{indent}  {_json(row)}"
        separator = ",\n"
    yield "[]" if separator.startswith("[") else f"\n{indent}]"


def _json(value: Any, indent: int | None = None) -> str:
    ascii_only = streams.wants_ascii()
    try:
        text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=ascii_only)
    except (ValueError, TypeError):
        text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=ascii_only)
    return json_printable(text)


def save_rows(path: Path, header: Sequence[str], rows: Iterator[Row], output_format: str) -> None:
    """Write rows to a file, which appears whole or not at all: CSV, or JSON as an array with a row on each line.

    Raises:
        OSError: The file cannot be written; what was there before is still there.
    """
    with appearing(path) as aside, aside.open("x", encoding="utf-8", newline="") as file:
        if output_format == "csv":
            write_csv(header, rows, file)
        else:
            file.writelines(itertools.chain(_json_lines(rows), ["\n"]))


def write_csv(header: Sequence[str], rows: Iterable[Row], file: TextIO | None = None) -> None:
    """Comma separated values with a header; None is an empty field, NaN stays `nan`.

    A terminal gets each row on one line without what steers it; a file and another program get the texts as they are.
    """
    stream = sys.stdout if file is None else file
    field = _terminal_field if stream.isatty() else _csv_field
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(field, header))
    writer.writerows([field(row.get(key)) for key in header] for row in rows)


def write_csv_rows(rows: Iterator[Row]) -> None:
    """Rows that are made one after another; the first one has the header."""
    first = next(rows, None)
    if first is not None:
        write_csv(list(first), itertools.chain([first], rows))


def write_table(rows: Sequence[Row], columns: Sequence[Column], title: str | None = None) -> None:
    """A table as wide as the terminal allows; a wider one is folded into several with the first column in each."""
    streams.out().print(table(rows, columns, title))


def table(rows: Sequence[Row], columns: Sequence[Column], title: str | None = None) -> RenderableType:
    """The rows as rich tables without markup; words, numbers and ids stay whole where anything else can give way."""
    from rich.cells import cell_len
    from rich.console import Group

    from benchmark.reporting.writers.panels import TextColumn, fold, total

    width = streams.out().width
    texts = [
        TextColumn(
            one_line(column.title or column.key.replace("_", " ")),
            tuple(_shown(row.get(column.key), column) for row in rows),
            is_number=column.right or column.key.endswith("_id"),
            is_verdict=False,
            identifies=column is columns[0],
        )
        for column in columns
    ]
    natural = [max(column.natural, cell_len(column.title)) for column in texts]
    fits = total(natural, _GAP) <= width or len(columns) < 2
    panels = [list(zip(texts, natural, strict=True))] if fits else fold(texts, width, _GAP)
    if not panels:
        return _records(texts, len(rows))
    positions = {id(column): number for number, column in enumerate(texts)}
    drawn = [
        _panel([(columns[positions[id(text)]], text, width) for text, width in panel], rows, title) for panel in panels
    ]
    # a blank line between two
    return Group(*[part for each in drawn for part in ("", each)][1:])


def _panel(panel: Sequence[tuple[Column, TextColumn, int]], rows: Sequence[Row], title: str | None) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column, text, width in panel:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        style = column.style or None
        drawn.add_column(Text(text.title), justify=justify, style=style, overflow="fold", width=width)
    for number, row in enumerate(rows):
        status_style = STATUS_STYLES.get(str(row.get("status")), "")
        styles = [status_style if column.key == "status" else "" for column, _, _ in panel]
        drawn.add_row(*(Text(text.texts[number], style) for (_, text, _), style in zip(panel, styles, strict=True)))
    return drawn


def _records(columns: Sequence[TextColumn], rows: int) -> RenderableType:
    """Each row as lines `name: value`, for a terminal too narrow for any table."""
    from rich.text import Text

    lines = [
        "\n".join(f"{column.title}: {column.texts[number]}" for column in columns if column.texts[number])
        for number in range(rows)
    ]
    return Text("\n\n".join(lines), overflow="fold")


def print_report(report: Report, output_format: str) -> None:
    """Print a report in one of `formats.FORMATS`, as wide as the terminal, or the file, allows."""
    from benchmark.reporting.writers.formats import render

    console = streams.out()
    width = console.width if console.is_terminal else min(console.width, FILE_COLUMNS)
    color = console.is_terminal and not console.no_color
    text = render(report, output_format, width=width, color=color, encoding=sys.stdout.encoding or "ascii")
    sys.stdout.write(text)


STATUS_STYLES = {
    Status.COMPLETED: "green",
    Status.RUNNING: "cyan",
    Status.FAILED: "red",
    Status.DIVERGED: "yellow",
    Status.BLOCKED: "yellow",
    Status.INTERRUPTED: "yellow",
    Status.PENDING: "dim",
    "left out": "dim",
}


def _shown(value: Any, column: Column) -> str:
    if isinstance(value, bytes):
        return units.plural(len(value), "byte")
    return "" if value is None else one_line(column.show(value))


def plain(value: Any) -> Any:
    """The value as JSON can hold it, containers included; bytes are written in base64."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _terminal_field(value: Any) -> Any:
    field = _csv_field(value)
    return one_line(field) if isinstance(field, str) else field


def _csv_field(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value), allow_nan=False)
    if isinstance(value, bytes):
        return plain(value)
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        # a spreadsheet would take such a text for a formula
        return "'" + value
    return value
