"""The register of output formats: to add one, write its writer beside this file and name it in `FORMATS`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from benchmark import layout
from benchmark.errors import StorageError, UserError
from benchmark.files import write_whole
from benchmark.reporting.table import Report, for_people
from benchmark.reporting.writers.page import Page


@dataclass(frozen=True, slots=True)
class Format:
    """One output format.

    Attributes:
        writer: The module here whose `render(report, page)` gives the report as a text that ends with a line break.
        endings: Of the files that are written in it when no format is named, lower case.
        is_data: Whether programs read it, which get all columns.
    """

    writer: str
    endings: tuple[str, ...] = ()
    is_data: bool = False


DEFAULT = "table"
FORMATS: Mapping[str, Format] = {
    DEFAULT: Format("terminal"),
    "markdown": Format("markdown", (".md",)),
    "html": Format("html", (".html", ".htm")),
    "csv": Format("csv_text", (".csv",), is_data=True),
    "json": Format("json_document", (".json",), is_data=True),
    "latex": Format("latex.latex", (".tex",)),
}
"""All formats, by their name for `--format`, in the order in which they are offered."""

_OF_TEXTS = (".txt",)
"""Endings of files for people, in the format of the terminal."""


def format_of_file(path: Path) -> str:
    """Name of the format that the ending of a file asks for; without an ending, or with `.txt`, the one for people.

    Raises:
        UserError: No format has this ending.
    """
    ending = path.suffix.lower()
    for name, known in FORMATS.items():
        if ending in known.endings:
            return name
    # of a folder or a database `save` says why nothing is written there
    if ending in {"", *_OF_TEXTS} or path.is_dir() or layout.is_of_database(path.name):
        return DEFAULT
    endings = [ending for known in FORMATS.values() for ending in known.endings]
    raise UserError(
        f"{path}: expected a file that ends in {', '.join([*endings, *_OF_TEXTS])}, got {path.suffix!r}; "
        f"or name the format: --format {DEFAULT}"
    )


def render(
    report: Report, output_format: str, *, width: int = 100, color: bool = False, encoding: str = "utf-8"
) -> str:
    """The report in one of `FORMATS`, ending with a line break; for the rest see `Page`.

    Raises:
        UserError: The format does not exist.
    """
    if output_format not in FORMATS:
        raise UserError(f"--format: expected one of {', '.join(FORMATS)}, got {output_format!r}")
    # a writer is imported when it is called, so that one format does not wait for the libraries of another
    writer = import_module(f"benchmark.reporting.writers.{FORMATS[output_format].writer}")
    if not FORMATS[output_format].is_data:
        # a heading above nothing tells people nothing
        told = (each for each in report.tables if each.rows or each.footnotes or each.notes)
        report = replace(report, tables=tuple(map(for_people, told)))
    text: str = writer.render(report, Page(width, color, encoding))
    return text


def save_tables(report: Report, output_format: str, folder: Path, *, protected: Iterable[Path] = ()) -> list[Path]:
    """Write each table of a report to a file of its own in a folder, which is made where there is none.

    Returns:
        The files; others in the folder stay as they are.

    Raises:
        UserError: The format has no such files, or something else than a folder is there.
        StorageError: The disk does not let us.
    """
    if output_format != "csv":
        raise UserError(
            f"--output {folder}/: expected a file, got a folder; name a file inside it, or write each table to a file of its "
            "own with --format csv"
        )
    from benchmark.reporting.writers.csv_text import files

    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"--output {folder}/: expected a folder, found a file; leave out the slash at its end to replace it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {folder}: {error.strerror or error}; give another --output"
        ) from error
    texts = {folder / name: text for name, text in files(report, Page()).items()}
    for path, text in texts.items():
        save(text, path, protected=protected)
    return list(texts)


def save(text: str, path: Path, *, protected: Iterable[Path] = ()) -> None:
    """Write a report to a file in UTF-8: aside first, then renamed, so that an old report stays until the new is whole.

    Args:
        text: What `render` returned.
        path: Where to; an existing report there is replaced.
        protected: Files that must not be replaced, such as the database that was read.

    Raises:
        UserError: The path is a directory, a device or a database.
        StorageError: The disk does not let us.

    Side effects: a temporary file beside `path` while writing.
    """
    _refuse(path, protected)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise StorageError(
            f"cannot write the report to {path}: {error.strerror or error}; give another --output"
        ) from error


def _refuse(path: Path, protected: Iterable[Path]) -> None:
    if path.is_dir():
        raise UserError(f"--output {path}: expected a file, found a directory; name a file inside it")
    if path.exists() and not path.is_file():
        raise UserError(f"--output {path}: expected a file, found something else there; use a pipe for a stream")
    same = path.exists() and any(other.exists() and path.samefile(other) for other in protected)
    if same or layout.is_of_database(path.name):
        raise UserError(
            f"--output {path}: expected a file for the report, found a database; a report never replaces one"
        )
