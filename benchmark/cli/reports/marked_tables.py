"""Tables of reports within a Markdown file, between markers, for `bench report --check` and `--update`.

    <!-- bench: report --table summary --select model=resnet* -->
    …
    <!-- end bench -->

A marker is a line of its own; those in fenced code are examples, and mean nothing.
"""

from __future__ import annotations

import difflib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.cli.terminal import streams
from benchmark.cli.terminal.output import FILE_COLUMNS
from benchmark.errors import StorageError, UserError
from benchmark.files import appearing
from benchmark.reporting.table import Report
from benchmark.reporting.writers import markdown
from benchmark.reporting.writers.formats import render
from benchmark.text import quotable

BEGIN, END = "<!-- bench: report -->", "<!-- end bench -->"

_BEGINS = re.compile(r"\ufeff? {0,3}<!--\s*bench:(?P<rest>.*)")
_MARKER = re.compile(r"\s*(?P<words>.*?)\s*-->\s*")
_ENDS = re.compile(r" {0,3}<!--\s*end bench\s*-->\s*")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<rest>.*)")
_HEADING = re.compile(r" {0,3}(?P<signs>#{1,6})\s")
_MADE = re.compile(r'^(  "(created_utc|package_version|schema_version)": |<div class="made">).*\n', re.MULTILINE)
_LANGUAGES = {"table": "text"}

LONGEST_DIFF = 4000
"""So many lines of two files are set against each other: more of them take minutes, and nobody reads it."""


@dataclass(frozen=True, slots=True)
class Region:
    """What stands between two markers.

    Attributes:
        line: Of its first marker, from 1; that is the index of the first line between them, too.
        end: Index of the line of the second marker.
        words: The arguments of `bench report`.
        level: That of the headings of its tables: one below the heading above it.
    """

    line: int
    end: int
    words: tuple[str, ...]
    level: int = 2


def read_text(file: Path, option: str, cure: str) -> str:
    """The text of a file, with its line endings as they are.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{option} {file}: cannot be read: {getattr(error, 'strerror', None) or error}; {cure}"
        ) from error


def regions(file: Path, text: str) -> list[Region]:
    """The marked regions of a text, in their order; none where it has no markers.

    Raises:
        UserError: A marker is broken: the message has its line.
    """
    found: list[Region] = []
    fence, level, begun = "", 1, None
    for number, line in enumerate(text.split("\n"), start=1):
        if not begun and (fence or _FENCE.match(line)):
            fence = _next_fence(fence, line)
        elif _ENDS.fullmatch(line):
            if begun is None:
                raise UserError(f"{file}:{number}: expected {BEGIN} before {END}, found none; take the line away")
            found.append(Region(begun[0], number - 1, begun[1], level + 1 if level < 6 else 6))
            begun = None
        elif marker := _BEGINS.fullmatch(line):
            if begun is not None:
                raise UserError(
                    f"{file}:{number}: expected {END} of the marker in line {begun[0]}, found another marker; "
                    f"put {END} before it"
                )
            begun = number, _arguments(f"{file}:{number}", marker["rest"])
        elif begun is None and (heading := _HEADING.match(line)):
            level = len(heading["signs"])
    if begun is not None:
        raise UserError(f"{file}:{begun[0]}: expected a line {END} below this marker, found none; add it")
    return found


def _next_fence(fence: str, line: str) -> str:
    """The fence that is open after a line; empty where none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        # of backticks with more backticks behind it is a piece of code within a line
        return "" if match["fence"][0] == "`" and "`" in match["rest"] else match["fence"]
    closes = match["fence"].startswith(fence) and not match["rest"].strip()
    return "" if closes else fence


def _arguments(place: str, rest: str) -> tuple[str, ...]:
    marker = _MARKER.fullmatch(rest)
    try:
        words = shlex.split(marker["words"]) if marker else []
    except ValueError as error:
        raise UserError(f"{place}: {quotable(rest.strip()[:200])}: {error}; close the quotation") from error
    if not words or words[0] != "report":
        raise UserError(
            f"{place}: expected a line of its own such as <!-- bench: report --table summary -->, "
            f"got <!-- bench:{quotable(rest[:200])}"
        )
    return tuple(words[1:])


def region_texts(region: Region, reports: Sequence[Report], output_format: str | None) -> list[str]:
    """The texts that a region may have, the one that is written first.

    Args:
        region: Where it stands.
        reports: The report with what this computer alone knows, and without: both are right.
        output_format: One of `formats.FORMATS`; None for Markdown, of which a whole report that was pasted is right as well.
    """
    whole = [render(report, output_format or "markdown", width=FILE_COLUMNS) for report in reports]
    if output_format in {None, "markdown"}:
        return [*(markdown.render_part(report, region.level) for report in reports), *whole]
    return [_fenced(text, _LANGUAGES.get(str(output_format), str(output_format))) for text in whole]


def _fenced(text: str, language: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def with_regions(text: str, changes: Sequence[tuple[Region, Sequence[str]]]) -> tuple[str, list[Region]]:
    """The text with the regions that say none of what they may say written anew, and these; all else stays to the byte.

    Args:
        text: Of the file.
        changes: Its regions, with their `region_texts`.
    """
    lines = text.split("\n")
    changed: list[Region] = []
    # from the end, so that indices of what comes before stay true
    for region, right in reversed(changes):
        between = "\n".join(lines[region.line : region.end])
        if any(undated(_stripped(between)) == undated(_stripped(each)) for each in right):
            continue
        ending = "\r" * lines[region.line - 1].endswith("\r")
        lines[region.line : region.end] = [
            f"{line}{ending}" for line in ("", *_stripped(right[0]).split("\n")[:-1], "")
        ]
        changed.insert(0, region)
    return "\n".join(lines), changed


def _stripped(text: str) -> str:
    """The text without blank lines around it, and with the line endings that bench writes."""
    return text.replace("\r\n", "\n").strip("\r\n") + "\n"


def undated(text: str) -> str:
    """The text of a report without the lines of a JSON document or a page that say when and by which version it was made."""
    return _MADE.sub("", text)


def say_difference(file: Path, old: str, new: str) -> None:
    """Print on stderr how a file would change, as a unified diff."""
    before, after = (text.replace("\r\n", "\n").splitlines() for text in (old, new))
    if len(before) + len(after) > LONGEST_DIFF:
        return
    names = (str(file), str(file), "as it is", "as the database has it")
    for line in difflib.unified_diff(before, after, *names, lineterm=""):
        streams.say(line)


def replace_text(file: Path, old: str, new: str) -> None:
    """Write the new text of a file, whole or not at all; behind a symbolic link, and with its permissions.

    Raises:
        UserError: Somebody has changed the file meanwhile.
        StorageError: The disk does not let us.
    """
    path = file.resolve()
    try:
        with appearing(path) as aside:
            aside.write_bytes(new.encode())
            shutil.copymode(path, aside)
            if path.read_bytes() != old.encode():
                raise UserError(f"--update {file}: it was changed meanwhile, so nothing was written; update it again")
    except OSError as error:
        raise StorageError(
            f"--update {file}: cannot be written: {error.strerror or error}; nothing was changed"
        ) from error
