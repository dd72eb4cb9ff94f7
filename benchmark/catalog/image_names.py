"""How a command names the images and the class that it is to look at: files by their paths, images of the test set by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST = "test:"
"""Begins the name of an image of the test set; its index in the prepared arrays follows."""
SHOWN_BY_DEFAULT = 6
"""How many images are explained where none is named."""


def problem_of_number(name: str, tested: NDArray[Any]) -> str | None:
    """What is wrong with the name of a test image, where a cell was tested on images of these numbers; None where nothing is."""
    number = name.removeprefix(TEST)
    if number.isdecimal() and len(number) < 19 and int(number) in tested:
        return None
    return (
        f"{one_line(name)}: the cell was not tested on such an image; expected a number out of {tested.min()} to "
        f"{tested.max()}, as in the pictures of its mistakes"
    )


def problem_of_class(name: str, class_names: Sequence[str]) -> str | None:
    """What is wrong with the name of a class of a cell; None where nothing is."""
    if name in class_names:
        return None
    shown = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
    return f"--class {name!r}: expected one of the cell's classes: {one_line(shown)}"
