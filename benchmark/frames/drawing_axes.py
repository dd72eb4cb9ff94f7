"""What all functions that draw onto axes of matplotlib do around their drawing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmark.errors import NotFoundError
from benchmark.reporting.rows.groups import Group
from benchmark.results.store.database import Database

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def completed_of(groups: Iterable[Group], database: Database) -> list[Group]:
    """Those groups that can be drawn.

    Raises:
        NotFoundError: There are none.
    """
    completed = [group for group in groups if group.completed]
    if not completed:
        raise NotFoundError(
            f"{database.display_name}: expected completed cells to draw, found none; begin with: bench run"
        )
    return completed


@contextmanager
def drawing() -> Iterator[None]:
    """Use the figures of reports without a trace: they keep matplotlib from the user's settings, which are wanted here."""
    names = ("MATPLOTLIBRC", "MPLBACKEND")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    import matplotlib as mpl

    try:
        import benchmark.reporting.figures  # noqa: F401
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(kept)
    # a `$` in a name is a dollar sign
    with mpl.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def as_text(axes: Axes) -> Axes:
    """The axes with a `$` in names as a dollar sign: their title and first ticks may have been made before `drawing`."""
    for text in (axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    return axes


def new_axes() -> Axes:
    """The axes of a new figure of pyplot, which a notebook shows."""
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained")[1]
