"""The tree of all errors that a user can meet, each with the exit code of the command that it ends.

    BenchError                1   a defect of ours
    ├── UserError             2   usage, matrix, selection: the message names the cure
    │   ├── MatrixError       2   all problems of a matrix at once
    │   └── NotFoundError     2   a name or id that is not there
    ├── CellsFailedError      3   some cells failed
    ├── StorageError          4   database or disk
    │   ├── DiskError         4   the disk is full or gave an error, which may pass
    │   ├── ServerError       4   the server does not answer, which may pass
    │   └── SchemaError       4   the database is older, newer, or not ours
    │       └── NewerRecordError  4  a recorded cell is newer
    ├── BusyError            75   another `bench run` holds this database
    └── NodeLostError        75   a computer of a cluster is no member of its run any more

A message has four parts: what went wrong and where, what was expected, what was found, and the cure.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from benchmark.text import one_line

_SHOWN_PROBLEMS = 20
"""How many mistakes of a matrix are shown at once; the others are counted."""
_SHOWN_CHARACTERS = 1500
_EXCERPT_CHARACTERS = 72
COMMAND_LINE = "the command line"
"""Stands for the file of a mistake in an option."""


INTERRUPTED_EXIT_CODES = frozenset({130, 143})
"""How a command ends that Ctrl-C, or another stop signal, has interrupted."""


class BenchError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1

    def explained(self) -> str:
        """The message as a terminal shows it: with the lines of a file that it is about, where it has such."""
        return str(self)


class UserError(BenchError):
    """The user's mistake: wrong usage, a wrong name, a wrong file."""

    exit_code = 2


class NotFoundError(UserError):
    """A cell, run, name or file that the user asked for does not exist."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a matrix file or in a setting given on the command line.

    Attributes:
        where: Path of the key, such as `strategy.two_phase.stage[1].train`.
        expected: What is allowed there, in words.
        found: What the user wrote there; empty when something is missing.
        line: Line in the file, counted from 1; None for a value from the command line.
        column: Column in that line, counted from 1; known for syntax errors only.
        hint: The nearest known name or another cure; may be empty.
        excerpt: The line itself, where the column is known.
    """

    where: str
    expected: str
    found: str = ""
    line: int | None = None
    column: int | None = None
    hint: str = ""
    excerpt: str = ""

    @property
    def is_typed(self) -> bool:
        """Whether it is about an option of the command line, and not about the file."""
        return self.line is None and self.where.startswith("--")

    def describe(self, path: str) -> str:
        """`path:line:column: where: expected …, got …; hint` in one line; `path` is the file that it may be in."""
        file = COMMAND_LINE if self.is_typed else path
        place = ":".join(str(part) for part in (file, self.line, self.column) if part is not None)
        got = f", got {self.found}" if self.found else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {self.where}: expected {self.expected}{got}{hint}"

    def pointer(self) -> list[str]:
        """The line of the file and a caret below the column, cut to what fits a terminal; nothing where it is unknown."""
        if not self.excerpt.strip() or self.column is None or len(self.excerpt) >= _SHOWN_CHARACTERS:
            return []
        first = max(0, self.column - 1 - _EXCERPT_CHARACTERS // 2)
        shown = one_line(self.excerpt.replace("\t", " "))[first : first + _EXCERPT_CHARACTERS]
        return [f"    {shown}", f"    {' ' * (self.column - 1 - first)}^"]


class MatrixError(UserError):
    """All problems of a matrix, reported at once: the first in words, the others counted."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        lines = [_shortened(one_line(f"  {problem.describe(path)}")) for problem in self.problems[:_SHOWN_PROBLEMS]]
        total = len(self.problems)
        typed = {problem.is_typed for problem in self.problems}
        place = " and ".join(
            text for key, text in ((False, f"in {path}"), (True, f"on {COMMAND_LINE}")) if key in typed
        )
        count = one_line(f"{total:,} problem{'s' if total != 1 else ''} {place}")
        more = [f"  … and {total - len(lines):,} more; mend these first"] if total > len(lines) else []
        super().__init__("\n".join([count, *lines, *more]))

    def explained(self) -> str:
        count, *lines = str(self).split("\n")
        pointers = [problem.pointer() for problem in self.problems[: len(lines)]]
        shown = [part for line, pointer in zip_longest(lines, pointers, fillvalue=()) for part in (line, *pointer)]
        return "\n".join([count, *map(str, shown)])


def _shortened(line: str) -> str:
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 1]}…"


class DataError(BenchError):
    """A dataset or a weights file is missing, damaged, or not what was expected. The message names the cure.

    It is made of lines: names of files and classes are quoted in them, and none makes a line of its own.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(one_line, lines)))


class CellsFailedError(BenchError):
    """Some cells failed, in this run or earlier and not retried."""

    exit_code = 3


class StorageError(BenchError):
    """The database or the disk cannot be used; recorded results are not lost by it."""

    exit_code = 4


class DiskError(StorageError):
    """The disk is full or gave an error while the database was written; the same write may succeed later."""


class ServerError(StorageError):
    """The database server does not answer, or has ended the connection; it may answer later."""


class SchemaError(StorageError):
    """The database has another schema version than this program, or was not made by bench at all."""


class NewerRecordError(SchemaError):
    """A recorded cell has settings that came with a newer version than this one."""


class BusyError(BenchError):
    """Another `bench run` holds this database."""

    exit_code = 75


class NodeLostError(BenchError):
    """A computer of a cluster is no member of its run, or not any more: it may write nothing."""

    exit_code = 75


FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_EXHAUSTED = FULL_DISK | {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


_WITHOUT_ROOM = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def says_full_disk(text: str) -> bool:
    """Whether an error says in words that a disk takes no more: HDF5 and others hand on the words, and not the number."""
    return any(words in text for words in _WITHOUT_ROOM)


def exhaustion(error: BaseException) -> StorageError | None:
    """The error to show when memory, disk, files or processes are exhausted; None when `error` is about something else."""
    is_exhausted = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)
    # `tempfile.gettempdir` raises this when it can write to none of its candidates, also because disks are full
    no_temporary_directory = isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error)
    if not is_exhausted and not no_temporary_directory:
        return None
    return StorageError(
        f"this system gives no more: {str(error) or 'no memory is left'}. Raise the limits of this shell (ulimit -n, -u, -v, "
        "-f), free disk and memory, or name a folder for temporary files in TMPDIR, and run again: nothing that was "
        "recorded is lost"
    )
