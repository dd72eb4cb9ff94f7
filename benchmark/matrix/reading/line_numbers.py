"""Finds the line of each key and value of a TOML document, which `tomllib` does not report.

The scanner runs only when there is a mistake to report, on text that `tomllib` has parsed (or that is nested too deeply
for it). It reads only the structure: keys, headers, brackets; it never recurses.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from dataclasses import dataclass, field

from benchmark.matrix.problems import BARE_KEY, KeyPath

DEPTH_LIMIT = 16
"""How deeply tables and lists may be nested; no matrix needs more than six levels."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})" + r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_REST_OF_LINE = re.compile(r"[^\n]*\n?")


@dataclass
class _Frame:
    """An array or inline table that is being read."""

    closing: str
    path: KeyPath
    index: int = 0


@dataclass
class LineScanner:
    """Scans one document.

    Attributes:
        text: The document, with line ends of either kind.
        lines: After `scan`, the line, from 1, of every key, table and array element; of a table that of its first
            header or key.
        too_deep: The line of the first table or list that is nested too deeply; the scan ends there.
    """

    text: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    too_deep: int | None = None

    def scan(self) -> LineScanner:
        """Fills `lines` and `too_deep`; returns itself."""
        self._breaks = [match.start() for match in re.finditer("\n", self.text)]
        self._position = 0
        self._table: KeyPath = ()
        self._elements: dict[KeyPath, int] = {}
        while self._skip(_BLANK) < len(self.text):
            if self.text.startswith("[", self._position):
                self._header()
            else:
                self._assignment(self._table)
                self._skip(_REST_OF_LINE)
        return self

    @property
    def _line(self) -> int:
        return bisect.bisect_left(self._breaks, self._position) + 1

    def _limit(self, depth: int, line: int) -> None:
        """Ends the scan at a table or list that is nested too deeply."""
        if depth >= DEPTH_LIMIT and self.too_deep is None:
            self.too_deep = line
            self._position = len(self.text)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self._position)
        self._position = match.end() if match else self._position
        return self._position

    def _header(self) -> None:
        """Reads `[a.b]` or `[[a.b]]`; a part that is an array of tables means its latest element."""
        line, double = self._line, self.text.startswith("[[", self._position)
        self._position += 2 if double else 1
        parts = self._key()
        path: KeyPath = ()
        for number, part in enumerate(parts):
            path = (*path, part)
            self.lines.setdefault(path, line)
            if double and number == len(parts) - 1:
                self._elements[path] = self._elements.get(path, -1) + 1
            if path in self._elements:
                path = (*path, self._elements[path])
                self.lines.setdefault(path, line)
        self._table = path
        self._skip(_REST_OF_LINE)
        self._limit(len(path), line)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            start = self._position
            if self._skip(_STRING) > start:
                parts.append(_unquoted(self.text[start : self._position]))
            else:
                parts.append(self.text[start : self._skip(BARE_KEY)])
            self._skip(_SPACE)
            if not self.text.startswith(".", self._position) or len(parts) > DEPTH_LIMIT:
                return parts
            self._position += 1

    def _assignment(self, table: KeyPath) -> None:
        path = self._assigned_key(table)
        stack: list[_Frame] = []
        while self._value(path, stack):
            path = self._next(stack)
            if not stack:
                return

    def _assigned_key(self, table: KeyPath) -> KeyPath:
        """Reads `a.b =` and returns the whole path."""
        line, path = self._line, table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._position += self.text.startswith("=", self._position)
        self._limit(len(path) - 1, line)
        return path

    def _value(self, path: KeyPath, stack: list[_Frame]) -> bool:
        """Reads a scalar or opens a bracket; False when the value is complete and not inside a bracket."""
        self._skip(_BLANK if stack else _SPACE)
        self.lines.setdefault(path, self._line)
        character = self.text[self._position : self._position + 1]
        if character and character in "[{":
            self._position += 1
            stack.append(_Frame("]" if character == "[" else "}", path, -1))
            self._limit(len(path), self._line)
        else:
            start = self._position
            if self._skip(_STRING) == start:
                self._skip(_SCALAR)
        return bool(stack)

    def _next(self, stack: list[_Frame]) -> KeyPath:
        """Closes the brackets that end here; returns the path of the next value inside the others."""
        while stack:
            frame = stack[-1]
            self._skip(_BLANK)
            comma = self.text.startswith(",", self._position)
            self._position += comma
            self._skip(_BLANK)
            if self._position >= len(self.text) or not (comma or frame.index < 0 or self._closes(frame)):
                stack.clear()  # invalid TOML: skip this value
            elif self._closes(frame):
                self._position += 1
                stack.pop()
            else:
                frame.index += 1
                return (*frame.path, frame.index) if frame.closing == "]" else self._assigned_key(frame.path)
        return ()

    def _closes(self, frame: _Frame) -> bool:
        return self.text.startswith(frame.closing, self._position)


def _unquoted(key: str) -> str:
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except ValueError:
        return key
