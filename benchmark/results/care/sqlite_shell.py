"""Reads the rows of a damaged database with the `.recover` command of SQLite's shell `sqlite3`, where it is installed.

The shell writes SQL (https://sqlite.org/recovery.html), which is never executed here: a crafted file may put anything
into it. Only its INSERTs are parsed, and only constants in them. The shell gets a copy, because it may change the file.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.files import being_written
from benchmark.results.care.pages import Record
from benchmark.results.store.location import side_file

LEAST_SECONDS = 60.0
"""The shell's time limit, plus a second for each mebibyte: it may loop forever on a damaged file."""

log = logging.getLogger(__name__)

_INSERT = re.compile(
    rb"""INSERT\ (?:OR\ IGNORE\ )?INTO\ ['"]?(\w+)['"]?\s*(?:\((?P<columns>[^()]*)\)\s*)?VALUES\s*\((?P<values>.*)\);\s*""",
    re.DOTALL | re.VERBOSE,
)
_CONSTANT = re.compile(
    rb"""\s*(?: (?P<null>NULL) | (?P<real>[-+]?(?:Inf|\d+(?:\.\d*)?[eE][-+]?\d+|\d+\.\d*)) | (?P<integer>[-+]?\d+)
           | [xX]'(?P<blob>[0-9a-fA-F]*)' | (?P<calls>(?:replace\()*|unistr\() '(?P<text>[^']*(?:''[^']*)*)'
             (?P<changes>(?:\s*,\s*'[^']*'\s*,\s*char\(\d+\)\s*\))*|\)) ) \s*(?:,|$)""",
    re.VERBOSE,
)
_CHANGE = re.compile(rb"'([^']*)'\s*,\s*char\((\d+)\)")
_UNICODE = re.compile(r"\\(?:\\|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))")


@dataclass(frozen=True, slots=True)
class Script:
    """The SQL that the shell wrote, in the file `path`."""

    path: Path

    def rows(self, table: str) -> Iterator[Mapping[str, Any] | None]:
        """Yields the rows of a table by column name, with `_rowid_` where the shell names it; None for an invalid row."""
        for columns, values in self._inserts(table):
            yield None if values is None or len(columns) != len(values) else dict(zip(columns, values, strict=True))

    def lost_records(self) -> Iterator[Record]:
        """Yields the records of unknown tables: the shell writes root page, page, number of fields, row id, fields."""
        for _, values in self._inserts("lost_and_found"):
            if values is not None and len(values) > 3 and isinstance(values[2], int):
                yield Record(values[3], tuple(values[4 : 4 + values[2]]))

    def _inserts(self, table: str) -> Iterator[tuple[list[str], list[Any] | None]]:
        with self.path.open("rb") as file:
            for line in file:
                if not line.startswith(b"INSERT "):
                    continue
                # a text may hold line breaks; quotes inside a text are doubled
                while line.count(b"'") % 2 and (more := file.readline()):
                    line += more  # noqa: PLW2901  the statement grows by its next line
                statement = _INSERT.fullmatch(line)
                if statement is not None and statement[1] == table.encode():
                    columns = [name.strip("'\" ") for name in (statement["columns"] or b"").decode().split(",")]
                    yield columns, _constants(statement["values"])


@contextmanager
def recovered(source: Path, folder: Path) -> Iterator[Script | None]:
    """Gives what the shell recovers of a file; None where it is not installed, too old, fails, or takes too long.

    Args:
        source: The damaged file, which no program may write meanwhile.
        folder: Holds the copy of the file and the shell's output meanwhile.

    Side effects:
        Starts `sqlite3`.
    """
    shell, script = shutil.which("sqlite3"), None
    with ExitStack() as stack:
        try:
            if shell is not None:
                place = stack.enter_context(being_written(folder / f".salvage-{os.urandom(4).hex()}.partial"))
                place.mkdir(mode=0o700)
                copy, written = place / "copy", place / "recovered.sql"
                shutil.copyfile(source, copy)
                if side_file(source, "-wal").is_file():
                    shutil.copyfile(side_file(source, "-wal"), side_file(copy, "-wal"))
                script = Script(written) if _recover(shell, copy, written) else None
        except OSError as error:
            log.info("sqlite3 was not used: %s", error)
        yield script


def _recover(shell: str, copy: Path, written: Path) -> bool:
    # the free list may hold deleted rows, which must not be salvaged; -init replaces ~/.sqliterc
    command = [shell, "-batch", "-init", os.devnull, str(copy), ".recover --ignore-freelist"]
    limit = LEAST_SECONDS + copy.stat().st_size / (1 << 20)
    with written.open("wb") as script:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=script, stderr=subprocess.PIPE, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            log.info("sqlite3 was given up after %.0f s", limit)
            return False
    if done.returncode or done.stderr:
        log.info("sqlite3 .recover failed: %s", done.stderr[:200].decode(errors="replace"))
    return not (done.returncode or done.stderr)


def _constants(text: bytes) -> list[Any] | None:
    """The values of an INSERT; None when one of them is anything but a constant."""
    values, place = [], 0
    with suppress(ValueError):
        while place < len(text) and (constant := _CONSTANT.match(text, place)):
            values.append(_value(constant))
            place = constant.end()
    return values if place >= len(text) else None


def _value(constant: re.Match[bytes]) -> Any:
    """Converts a constant of SQL to Python; raises `ValueError` for text that is not UTF-8."""
    if constant["null"]:
        return None
    if constant["integer"]:
        return int(constant["integer"])
    if constant["real"]:
        return float(constant["real"])
    if constant["blob"] is not None:
        return bytes.fromhex(constant["blob"].decode())
    text = constant["text"].replace(b"''", b"'")
    for old, code in _CHANGE.findall(constant["changes"]):
        text = text.replace(old, bytes([int(code)]))
    decoded = text.decode()
    return _UNICODE.sub(_character, decoded) if constant["calls"] == b"unistr(" else decoded


def _character(match: re.Match[str]) -> str:
    code = next(filter(None, match.groups()), None)
    return "\\" if code is None else chr(int(code, 16))
