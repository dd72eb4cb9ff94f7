"""Draws misclassified test images, the most confident mistakes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from benchmark import units
from benchmark.catalog.image_names import TEST
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.image_tiles import Tiling, channels_note, draw_tile, prepare_axes
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages
from benchmark.reporting.figures.drawing.style import SHEET_INCHES, finish, sheet, styled
from benchmark.reporting.figures.images.confusion import describe_n
from benchmark.reporting.predictions.stored_predictions import Predictions

COLUMNS, MOST_ROWS = 5, 4
_TILE_INCHES = 0.92
_CAPTION_INCHES = 0.62
_POINTS = 7.0


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image that some seeds took for another class.

    Attributes:
        index: Its position in the prepared test set.
        label, predicted: True class, and the class that a seed was surest of.
        confidence: How sure that seed was, 0..1.
        seeds: How many seeds were wrong about it, whichever class they took it for.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    seeds: int


def find_mistakes(members: Sequence[Predictions]) -> list[Mistake]:
    """Every image that at least one of several predictions got wrong, the most confident mistake first."""
    worst: dict[int, Mistake] = {}
    for member in members:
        confidence = member.confidence
        for row in member.wrong.tolist():
            index = int(member.indices[row])
            current = Mistake(index, int(member.labels[row]), int(member.predicted[row]), float(confidence[row]), 1)
            earlier = worst.get(index)
            if earlier is not None:
                surest = max(earlier, current, key=lambda each: each.confidence)
                current = replace(surest, seeds=earlier.seeds + 1)
            worst[index] = current
    return sorted(worst.values(), key=lambda each: (-each.confidence, each.index))


@styled
def draw_mistakes(title: str, members: Sequence[Predictions], images: PreparedImages) -> Figure:
    """The most confident mistakes, each with its true class, the class it was taken for, and how sure that was.

    The predictions' indices point into `images`.
    """
    mistakes = find_mistakes(members)
    shown = mistakes[: COLUMNS * MOST_ROWS]
    rows = max(-(-len(shown) // COLUMNS), 1)
    column_inches = SHEET_INCHES / COLUMNS
    side = images.side
    pixels = side / _TILE_INCHES
    tiling = Tiling(rows, COLUMNS, side, (column_inches - _TILE_INCHES) * pixels * 0.97, _CAPTION_INCHES * pixels)
    body = sheet(
        rows * (_TILE_INCHES + _CAPTION_INCHES) + 0.1,
        f"{title}: mistakes on the test data",
        _subtitle(len(mistakes), len(shown), members),
        channels_note(images.data.channels),
    )
    axes = body.add_subplot()
    prepare_axes(axes, tiling)
    if not shown:
        axes.text(0.5, 0.5, "no mistakes", transform=axes.transAxes, ha="center", va="center")
    for number, mistake in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        draw_tile(axes, images.test[mistake.index], tiling, row, column)
        left, top = tiling.corner(row, column)
        text = "\n".join(_caption(mistake, members, column_inches * 0.95))
        axes.text(left + side / 2, top + side * 1.03, text, fontsize=_POINTS, ha="center", va="top", linespacing=1.15)
    return finish(body)


def _caption(mistake: Mistake, members: Sequence[Predictions], inches: float) -> list[str]:
    names = members[0].class_names
    of_seeds = f", {mistake.seeds}/{len(members)} seeds" if len(members) > 1 else ""
    return [
        text_fitting.cut(f"true: {names[mistake.label]}", _POINTS, inches),
        text_fitting.cut(f"said: {names[mistake.predicted]}", _POINTS, inches),
        text_fitting.cut(f"{percent(mistake.confidence)} sure{of_seeds}", _POINTS, inches),
        text_fitting.cut(f"{TEST}{mistake.index}", _POINTS, inches),
    ]


def percent(share: float) -> str:
    """A probability in whole percent; `> 99 %` from 0.995 on, because rounding must not claim certainty."""
    if share >= 0.995:
        return "> 99 %"
    return f"{share:.0%}".replace("%", " %")


def _subtitle(count: int, shown: int, members: Sequence[Predictions]) -> str:
    which = f"the {shown} with the surest wrong answer are shown" if count > shown else "all are shown, surest first"
    by = "" if len(members) == 1 else " by at least one seed"
    return (
        f"{units.plural(count, 'image')} mistaken{by}; {which if count else 'nothing to show'}; {describe_n(members)}"
    )
