"""Draws how many examples of each class there are to train, to validate and to test."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages
from benchmark.reporting.figures.drawing.style import BLUE, GREEN, ORANGE, SMALL_POINTS, finish, sheet, styled

PARTS = (("training", BLUE), ("validation", ORANGE), ("test", GREEN))
MOST_NAMED = 40
_NAME_INCHES = 1.6
_BAR = 0.27


@styled
def draw_class_counts(name: str, images: PreparedImages) -> Figure:
    """Bars for each class: training, validation and test examples of the cells on these data."""
    counts = images.counts
    classes = range(len(images.class_names))
    step = -(-len(classes) // MOST_NAMED)
    totals = ", ".join(f"{sum(getattr(counts, part)):,} {part}" for part, _ in PARTS)
    body = sheet(
        min(0.7 + 0.38 * len(classes), 9.0), f"{name}: examples of each class", f"{len(classes)} classes; n = {totals}"
    )
    axes = body.add_subplot()
    most = max(max(getattr(counts, part), default=0) for part, _ in PARTS) or 1
    for number, (part, color) in enumerate(PARTS):
        values = getattr(counts, part)
        places = [label + (number - 1) * _BAR for label in classes]
        axes.barh(places, values, _BAR, color=color, label=part)
        for place, value in zip(places, values, strict=True):
            if step == 1:
                axes.text(value + most * 0.008, place, f"{value:,}", fontsize=6, va="center")
    axes.set_xlim(0, most * 1.1)
    axes.set_ylim(len(classes) - 0.45, -0.55)
    shown = list(classes)[::step]
    axes.set_yticks(
        shown, text_fitting.cut_distinct([images.class_names[label] for label in shown], SMALL_POINTS, _NAME_INCHES)
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("images")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    body.legend(loc="outside lower right", ncols=3)
    return finish(body)
