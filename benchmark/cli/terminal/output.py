"""What stdout gets: rows as a table for people, or as CSV or one JSON document for programs; and reports."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchmark import units
from benchmark.cli.cell_names import NAMES
from benchmark.cli.terminal import streams
from benchmark.files import appearing
from benchmark.status import Status
from benchmark.text import encodable, json_printable, one_line

if TYPE_CHECKING:
    from rich.text import Text

    from benchmark.reporting.table import Report
    from benchmark.reporting.writers.panels import TextColumn

Row = Mapping[str, Any]

FILE_COLUMNS = 110
"""Width of tables that go to a file or another program, unless `COLUMNS` says another."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a printed table.

    Attributes:
        key: Where the value stands in a row.
        title: Heading; the key where there is none. Two columns with empty titles are a list of names and values.
        show: Makes text of a value that is not None.
        right: Whether numbers are lined up at the right.
        style: Of the whole column, or of each row.
        stays: Whether it is a column even where all its cells are the same, or empty.
        heads: Whether it may become a heading above the rows that share its value, where the terminal is narrow.
    """

    key: str
    title: str | None = None
    show: Callable[[Any], str] = str
    right: bool = False
    style: str | Callable[[Row], str] = ""
    stays: bool = False
    heads: bool = False


NAME_COLUMNS = tuple(Column(name, right=name == "seed", heads=name != "seed") for name in NAMES)


def write_rows(rows: Sequence[Row], columns: Sequence[Column], output_format: str, *, empty: str = "") -> None:
    """Print rows; `json` and `csv` carry every key of them, the table only those of its columns that hold anything.

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
    """Print a sentence as `sentence` has it."""
    streams.out().print(sentence(text, style), soft_wrap=True)


def sentence(text: str, style: str | None = None) -> Text:
    """A sentence, broken between words where the terminal ends.

    What users wrote in it can neither steer the terminal nor begin a line of its own.
    """
    from rich.text import Text

    from benchmark.reporting.writers.text_table import WORDS, wrap

    lines = wrap(encodable(one_line(text), encoding()), streams.out().width, "  ", whole=WORDS)
    return Text("\n".join(lines), style or "")


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


def write_table(rows: Sequence[Row], columns: Sequence[Column], title: str = "", *, under: str | None = None) -> None:
    """Print a table as wide as the terminal allows, by the writer of reports; `under` is as of `table`."""
    streams.out().print(table(rows, columns, title, under=under), soft_wrap=True)


def table(rows: Sequence[Row], columns: Sequence[Column], title: str = "", *, under: str | None = None) -> Text:
    """The lines of a table.

    Args:
        rows: At least one.
        columns: In the order to print; one in which nothing stands is left out.
        title: Stands above it.
        under: The key whose values stand as headings above the rows that share them.
    """
    from rich.text import Text

    from benchmark.reporting.writers.text_table import table_lines, under_headings

    used = [each for each in columns if each.stays or any(row.get(each.key) not in (None, "") for row in rows)]
    texts = [_text_column(rows, column) for column in used]
    texts[0] = replace(texts[0], identifies=True)
    if under is not None:
        texts = under_headings(texts, [one_line(str(row[under])) for row in rows])
    return Text("\n").join(table_lines(texts, width(), encoding(), one_line(title)))


def _text_column(rows: Sequence[Row], column: Column) -> TextColumn:
    from benchmark.reporting.writers.panels import TextColumn

    style = column.style or ("" if column.key != "status" else lambda row: STATUS_STYLES.get(row["status"], ""))
    return TextColumn(
        one_line(column.key.replace("_", " ") if column.title is None else column.title),
        tuple(_shown(row.get(column.key), column) for row in rows),
        is_number=column.right,
        styles=(style,) * len(rows) if isinstance(style, str) else tuple(map(style, rows)),
        stays=column.stays,
        heads=column.heads,
        has_paths=True,
    )


def width() -> int:
    """The width of tables on stdout: of the terminal, or what `COLUMNS` says, or of a file."""
    columns = streams.out().width
    return FILE_COLUMNS if columns == streams.UNBOUNDED_COLUMNS else columns


def encoding() -> str:
    """What stdout can show."""
    return sys.stdout.encoding or "ascii"


def print_report(report: Report, output_format: str) -> None:
    """Print a report in one of `formats.FORMATS`, as wide as the terminal, or the file, allows."""
    from benchmark.reporting.writers.formats import render

    console = streams.out()
    color = console.is_terminal and not console.no_color
    sys.stdout.write(render(report, output_format, width=width(), color=color, encoding=encoding()))


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
