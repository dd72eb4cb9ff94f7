"""How `--help` is laid out: as wide as the terminal, however narrow, with no name and no word broken."""

from __future__ import annotations

import itertools
import re
import shutil
import textwrap
from collections.abc import Iterable

import click

_LEAST_COLUMNS = 24
_LEAST_BESIDE = 24
"""Columns that an explanation takes to stand beside its term; with fewer it stands below."""
_VERBATIM = "\b\n"
"""Begins a paragraph whose lines stay lines, as click has it."""


class HelpText(click.HelpFormatter):
    """Writes help like click, which is never narrower than 50 columns and breaks what is longer than a line anywhere."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width, max_width)
        if width is None:
            self.width = min(self.width, max(shutil.get_terminal_size().columns, _LEAST_COLUMNS))

    def write_text(self, text: str) -> None:
        """Write paragraphs at the current indentation."""
        self.write(f"{_laid_out(text, self.width, self.current_indent)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms with their explanations beside them, or below where there is no room."""
        rows = list(rows)
        column = self.current_indent + min(max((len(term) for term, _ in rows), default=0), col_max) + col_spacing
        beside = self.width - column >= _LEAST_BESIDE
        at = column if beside else self.current_indent + 4
        for term, explanation in rows:
            name = _broken_term(term.rstrip(), self.width, self.current_indent)
            text = _laid_out(explanation, self.width, at)
            one_line = beside and text and len(name) <= column - col_spacing
            self.write(
                f"{name.ljust(at)}{text.lstrip()}\n"
                if one_line
                else "".join(f"{each}\n" for each in (name, text) if each)
            )


class HelpContext(click.Context):
    """The context of every command: its help is a `HelpText`."""

    formatter_class = HelpText


def _laid_out(text: str, width: int, indent: int) -> str:
    """Paragraphs in lines of at most `width` columns, where words allow."""
    return "\n\n".join(_paragraph(each, width, " " * indent) for each in text.split("\n\n"))


def _paragraph(text: str, width: int, indent: str) -> str:
    if text.startswith(_VERBATIM):
        lines = text.removeprefix(_VERBATIM).splitlines()
        return "\n".join(_command(f"{indent}{line}", width) for line in lines)
    return textwrap.fill(
        re.sub(r"\s*\n\s*", " ", text.strip()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _command(line: str, width: int) -> str:
    """A line that can be typed, in several that can be typed as well."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= width:
        return line
    lines = [indent]
    # an option stands with its value, where both fit into a line
    pairs = re.findall(r'(?:--\S+ (?=[^-\s"]))?\S+ ?', line)
    for words in itertools.chain.from_iterable([each] if len(each) + 6 <= width else each.split(" ") for each in pairs):
        continuation = "" if "".join(lines).count('"') % 2 == 1 else " \\"
        if lines[-1].strip() and len(f"{lines[-1]}{words.rstrip()}{continuation}") > width:
            lines[-1] = f"{lines[-1].rstrip()}{continuation}"
            lines.append(f"{indent}  ")
        lines[-1] += f"{words.rstrip()} "
    return "\n".join(each.rstrip() for each in lines)


def _broken_term(term: str, width: int, indent: int) -> str:
    """`--table [a|b|c]`, in lines that end between its words and alternatives."""
    lines = [" " * indent]
    for piece in re.findall(r"[^ |,]+[ |,]*|[ |,]+", term):
        if lines[-1].strip() and len(f"{lines[-1]}{piece}".rstrip()) > width:
            lines.append(" " * (indent + 4))
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
