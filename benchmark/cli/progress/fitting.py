"""Text that fits a number of columns of a terminal, wide characters counted as they are drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

width_of = cell_len

ELLIPSIS = "..."


def cut(text: str, width: int) -> str:
    """The text, or its beginning with dots, in at most so many columns."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - len(ELLIPSIS), 0)).rstrip() + ELLIPSIS[:width]


def cut_middle(text: str, width: int) -> str:
    """The text, or its two ends with dots between: what tells names apart often stands at their end."""
    if cell_len(text) <= width:
        return text
    room = width - len(ELLIPSIS)
    if room < 2:
        return cut(text, width)
    tail = set_cell_size(text[::-1], room // 2)[::-1].strip()
    return set_cell_size(text, room - cell_len(tail)).rstrip() + ELLIPSIS + tail


def cut_apart(names: Sequence[str], width: int) -> list[str]:
    """The names of cells, each as of `cut_middle`; where different ones then look alike, what all share is left out first."""
    short = [cut_middle(name, width) for name in names]
    words = [re.findall(r"seed \S+|\S+", name) for name in names]
    if len(set(short)) == len(set(names)) or len(set(map(len, words))) > 1:
        return short
    differs = [len(set(each)) > 1 for each in zip(*words, strict=True)]
    return [cut_middle(" ".join(itertools.compress(each, differs)), width) for each in words]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with blanks up to a width."""
    blanks = " " * max(width - cell_len(text), 0)
    return blanks + text if right else text + blanks
