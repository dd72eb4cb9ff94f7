"""Draws the images that one selection fixed and broke against another, and those that no model gets right or believes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.images.compressed_images import ImageArray
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.image_tiles import Tiling, channels_note, draw_tile, prepare_axes
from benchmark.reporting.figures.drawing.style import SHEET_INCHES, SUBTITLE_POINTS, finish, sheet, styled
from benchmark.reporting.figures.images.mistakes import percent
from benchmark.reporting.predictions.image_changes import ChangedImage, PredictionDiff, SuspectImage

COLUMNS, MOST_ROWS = 5, 2
_TILE_INCHES, _CAPTION_INCHES, _HEADING_INCHES = 0.92, 0.62, 0.44
_POINTS = 7.0


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading and the images below it, each with the lines of its caption."""

    heading: str
    tiles: Sequence[tuple[int, Sequence[str]]]

    @property
    def rows(self) -> int:
        return -(-len(self.tiles) // COLUMNS)

    @property
    def inches(self) -> float:
        return _HEADING_INCHES + self.rows * (_TILE_INCHES + _CAPTION_INCHES)


@styled
def draw_changed_images(title: str, diff: PredictionDiff, images: ImageArray) -> Figure:
    """The images that were fixed and broken, those that all cells miss, and those whose label all models doubt.

    Args:
        title: What is set against what.
        diff: Its images are places in `images`.
        images: Of the prepared set [n, h, w, c], uint8.
    """
    sections = list(_sections(diff))
    body = sheet(max(sum(each.inches for each in sections), 0.5), title, diff.sentence, channels_note(images.shape[-1]))
    if not sections:
        prepare_axes(axes := body.add_subplot(), Tiling(1, COLUMNS, 1, 0, 0))
        axes.text(0.5, 0.5, "no such image", transform=axes.transAxes, ha="center", va="center")
        return finish(body)
    grid = body.add_gridspec(len(sections), 1, height_ratios=[each.inches for each in sections])
    for number, section in enumerate(sections):
        _draw(body.add_subplot(grid[number]), section, images)
    return finish(body)


def _sections(diff: PredictionDiff) -> Iterator[_Section]:
    names = diff.class_names

    def changed(each: ChangedImage) -> list[str]:
        return [
            f"label: {names[each.label]}",
            f"A: {names[each.a_says]} ({each.a_right}/{each.a_n} right)",
            f"B: {names[each.b_says]} ({each.b_right}/{each.b_n} right)",
        ]

    def suspect(each: SuspectImage) -> list[str]:
        return [
            f"label: {names[each.label]} ({percent(each.probability)})",
            f"said: {names[each.says]}",
            f"{each.n} cells",
        ]

    parts: list[tuple[str, Sequence[Any], Any, int]] = [
        ("B fixed", diff.fixed, changed, MOST_ROWS),
        ("B broke", diff.broken, changed, MOST_ROWS),
        ("missed by all cells", diff.missed_by_all, suspect, 1),
        ("label doubted by all models", diff.doubted_labels, suspect, 1),
    ]
    for heading, all_images, caption, rows in parts:
        shown = all_images[: COLUMNS * rows]
        if shown:
            more = f", {len(shown)} of {len(all_images):,}" if len(shown) < len(all_images) else f", {len(shown)}"
            tiles = [(each.image, [*caption(each), f"{diff.split}:{each.image}"]) for each in shown]
            yield _Section(heading + more, tiles)


def _draw(axes: Axes, section: _Section, images: ImageArray) -> None:
    side = images.shape[1]
    pixels = side / _TILE_INCHES
    column_inches = SHEET_INCHES / COLUMNS
    gap = (column_inches - _TILE_INCHES) * pixels * 0.97
    tiling = Tiling(section.rows, COLUMNS, side, gap, _CAPTION_INCHES * pixels)
    prepare_axes(axes, tiling)
    axes.set_title(section.heading, fontsize=SUBTITLE_POINTS, fontweight="bold", loc="left")
    for number, (image, lines) in enumerate(section.tiles):
        row, column = divmod(number, COLUMNS)
        draw_tile(axes, images[image], tiling, row, column)
        left, top = tiling.corner(row, column)
        text = "\n".join(text_fitting.cut(line, _POINTS, column_inches * 0.95) for line in lines)
        axes.text(left + side / 2, top + side * 1.03, text, fontsize=_POINTS, ha="center", va="top", linespacing=1.15)
