"""Reads a TOML file into a document; whatever is wrong with its kind, size, encoding or syntax is a `MatrixError`."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from benchmark.errors import MatrixError, NotFoundError, Problem
from benchmark.matrix.reading.line_numbers import DEPTH_LIMIT, LineScanner
from benchmark.matrix.reading.toml_mistakes import in_words
from benchmark.text import one_line

SIZE_LIMIT_BYTES = 1 << 20
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_LONG_INTEGER = re.compile(r"[0-9_]{4300,}")
# the standard library takes quadratic time for a dotted key of thousands of parts
_MANY_DOTS = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){100}""")
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: str | Path) -> str:
    """Reads the text of a matrix file.

    Raises:
        NotFoundError: There is no such file.
        MatrixError: It is not a regular file, cannot be read, is larger than 1 MiB, or is not UTF-8.
    """
    return decoded(_read_bytes(str(path)), str(path))


def _read_bytes(path: str) -> bytes:
    try:
        # opened before its kind is checked, so that it cannot be replaced in between; O_NONBLOCK for pipes
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f"{one_line(str(path))}: expected a matrix file, found nothing; `bench init` writes one, `--matrix PATH` names another"
        ) from error
    except (OSError, ValueError) as error:
        raise _refused(path, "a file that can be read", getattr(error, "strerror", None) or str(error)) from error
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise _refused(path, "a regular file", _KINDS.get(kind, "something else"))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(SIZE_LIMIT_BYTES + 1)
    if len(content) > SIZE_LIMIT_BYTES:
        raise _refused(path, "at most 1 MiB", "more")
    return content


def decoded(content: bytes, path: str) -> str:
    """Decodes UTF-8 with or without a byte order mark.

    Raises:
        MatrixError: It is not UTF-8; with the position of the first wrong byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        found = f"byte 0x{content[error.start]:02x}"
        raise MatrixError(path, [Problem("encoding", "UTF-8 text", found, line, column, "save it as UTF-8")]) from error


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """Parses a document into plain values.

    Raises:
        MatrixError: It has a syntax error, with line and column, is nested too deeply, or has too large numbers.
    """
    dotted = _MANY_DOTS.search(text)
    if dotted:
        raise _too_deep(text.count("\n", 0, dotted.start()) + 1, path)
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise _too_deep(LineScanner(text).scan().too_deep, path) from None
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(path, [_syntax_problem(str(error), text)]) from error
    except ValueError as error:
        raise MatrixError(path, [_value_problem(str(error), text)]) from error
    if _is_deep(document):
        raise _too_deep(LineScanner(text).scan().too_deep, path)
    return document


def _syntax_problem(message: str, text: str) -> Problem:
    match = _PLACE.search(message)
    if match is None or match["line"] is None:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    else:
        line, column = int(match["line"]), int(match["column"])
    said = _PLACE.sub("", message)[:200]
    excerpt = text.removeprefix("\ufeff").split("\n")[line - 1].rstrip("\r")
    expected, cure = in_words(said, excerpt[column - 1 :])
    hint = f"{cure} ({said})" if cure else said
    return Problem("syntax", expected, "", line, column, hint, excerpt)


def _value_problem(message: str, text: str) -> Problem:
    """A value that Python refuses without a position: an integer of more than 4,300 digits, a date that does not exist.

    See https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation.
    """
    match = _LONG_INTEGER.search(text)
    if match is None:
        return Problem("value", "a value that TOML allows", message[:200])
    line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
    return Problem("value", "an integer of at most 19 digits", f"{match.end() - match.start():,} digits", line, column)


def _is_deep(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(DEPTH_LIMIT):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep(line: int | None, path: str) -> MatrixError:
    return MatrixError(path, [Problem("nesting", f"at most {DEPTH_LIMIT} levels of tables and lists", "more", line)])


def _refused(path: str, expected: str, found: str) -> MatrixError:
    return MatrixError(path, [Problem("file", expected, found)])
