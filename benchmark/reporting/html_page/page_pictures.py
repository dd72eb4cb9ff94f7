"""The figures of a report as pictures within its page, those that compare first, as many as a page can hold."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.reporting.figures.drawing.figure_files import PlannedFigure
from benchmark.reporting.figures.drawing.inline_svg import inline_svg
from benchmark.reporting.figures.report_figures import drawn
from benchmark.reporting.page_content import PagePicture, Pairs
from benchmark.reporting.table import MissingFigure

MOST_PICTURES = 60
MOST_BYTES = 4_000_000
"""Of all pictures together: a page must open at once, and fit into a letter."""

TOO_MANY = "the page holds no more pictures; draw them all into a folder with --figures FOLDER"


def draw_pictures(planned: Iterable[PlannedFigure]) -> tuple[tuple[PagePicture, ...], Pairs]:
    """Draw figures for a page, in their order.

    Returns:
        The pictures, and of the figures that are not among them the titles, with the reason.
    """
    plans = list(planned)
    pictures: list[PagePicture] = []
    undrawn: list[tuple[str, str]] = []
    size = 0
    for number, each in enumerate(drawn(plans), start=1):
        if isinstance(each, MissingFigure):
            undrawn.append((each.title, each.reason))
        else:
            pictures.append(PagePicture(each.plan.kind, each.plan.title, inline_svg(each)))
            size += len(pictures[-1].svg)
        if len(pictures) == MOST_PICTURES or size > MOST_BYTES:
            undrawn += [(plan.title, TOO_MANY) for plan in plans[number:]]
            break
    return tuple(pictures), tuple(undrawn)
