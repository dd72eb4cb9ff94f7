"""One door to all writers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.errors import StorageError, UserError
from benchmark.files import write_whole
from benchmark.reporting.table import Report

FORMATS = ("table", "markdown", "html", "csv", "json", "latex")
_DATABASE_ENDINGS = (".sqlite", ".sqlite3", ".db", ".sqlite-wal", ".sqlite-shm", ".sqlite.lock")


def render(
    report: Report, output_format: str, *, width: int = 100, color: bool = False, encoding: str = "utf-8"
) -> str:
    """The report in one of `FORMATS`, ending with a line break.

    Args:
        report: What to write.
        output_format: One of `FORMATS`.
        width: Of the terminal; only `table` asks for it.
        color: Whether the terminal shows colours; only `table` asks for it.
        encoding: What the reader's stream can show; characters outside it are replaced.

    Raises:
        UserError: The format does not exist.
    """
    # writers are imported here so that one format does not wait for the libraries of another
    if output_format == "table":
        from benchmark.reporting.writers import terminal

        return terminal.render(report, width=width, color=color, encoding=encoding)
    if output_format == "markdown":
        from benchmark.reporting.writers import markdown

        return markdown.render(report, encoding=encoding)
    if output_format == "csv":
        from benchmark.reporting.writers import csv_text

        return csv_text.render(report, encoding=encoding)
    if output_format == "json":
        from benchmark.reporting.writers import json_document

        return json_document.render(report)
    if output_format == "html":
        from benchmark.reporting.writers import html

        return html.render(report)
    if output_format == "latex":
        from benchmark.reporting.writers import latex

        return latex.render(report)
    raise UserError(f"--format: expected one of {', '.join(FORMATS)}, got {output_format!r}")


def save(text: str, path: Path, *, protected: Iterable[Path] = ()) -> None:
    """Write a report to a file in UTF-8: aside first, then renamed, so that an old report stays until the new is whole.

    Args:
        text: What `render` returned.
        path: Where to; an existing report there is replaced.
        protected: Files that must not be replaced, such as the database that was read.

    Raises:
        UserError: The path is a directory, a database or another thing that no report should replace.
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
    if same or path.name.endswith(_DATABASE_ENDINGS):
        raise UserError(
            f"--output {path}: expected a file for the report, found a database; a report never replaces one"
        )
