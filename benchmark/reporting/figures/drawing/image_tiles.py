"""Many small images on one matplotlib axes, because a hundred axes are slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmark.reporting.figures.drawing.style import hide_frame


@dataclass(frozen=True, slots=True)
class Tiling:
    """A grid of tiles, each an image and the gap beside and below it, measured in pixels of the images.

    Attributes:
        rows, columns: Number of tiles.
        side: Height and width of an image, in pixels.
        gap_x, gap_y: Between images, in pixels.
    """

    rows: int
    columns: int
    side: int
    gap_x: float
    gap_y: float

    @property
    def width(self) -> float:
        return self.columns * self.side + (self.columns - 1) * self.gap_x

    @property
    def height(self) -> float:
        return self.rows * (self.side + self.gap_y)

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Left and upper edge of a tile, in pixels from the left and from the top."""
        return column * (self.side + self.gap_x), row * (self.side + self.gap_y)

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """The centre of a tile's image, likewise."""
        left, top = self.corner(row, column)
        return left + self.side / 2, top + self.side / 2


def prepare_axes(axes: Axes, tiling: Tiling) -> None:
    """Set up axes for tiles: limits in pixels, square pixels, no frame and no ticks."""
    axes.set_xlim(0, tiling.width)
    axes.set_ylim(tiling.height, 0)
    axes.set_aspect("equal", anchor="N")
    hide_frame(axes)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_tile(axes: Axes, image: NDArray[Any], tiling: Tiling, row: int, column: int) -> None:
    """Draw one image [h, w] or [h, w, c], uint8 or 0..1, as a tile; of more than three channels the first three."""
    left, top = tiling.corner(row, column)
    extent = (left, left + tiling.side, top + tiling.side, top)
    shown = visible(image) if image.ndim == 3 else image
    pixels = shown[..., 0] if shown.ndim == 3 and shown.shape[-1] == 1 else shown
    top_value = 255 if pixels.dtype == np.uint8 else 1.0
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=top_value, extent=extent, interpolation="auto")


def visible(image: NDArray[Any]) -> NDArray[Any]:
    """What can be shown of an image [h, w, c]: three channels as red, green and blue, or one as grey."""
    return image[..., : 3 if image.shape[-1] >= 3 else 1]


def channels_note(channels: int) -> list[str]:
    """Says which channels of images are shown, where not all of them are."""
    if channels in {1, 3}:
        return []
    what = "the first three are shown, as red, green and blue" if channels > 3 else "the first is shown"
    return [f"Of the {channels} channels of the images {what}."]


def join_images(images: Sequence[Sequence[NDArray[np.uint8]]], gap: int, columns: int) -> NDArray[np.uint8]:
    """Rows of images [h, w, c] as one RGB array with white gaps; short rows end in white.

    Args:
        images: At least one, all of one shape.
        gap: White pixels between neighbours.
        columns: Images in a whole row.
    """
    height, width = next(image for row in images for image in row).shape[:2]
    sheet = np.full((len(images) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for number, row in enumerate(images):
        for place, image in enumerate(row):
            top, left = number * (height + gap), place * (width + gap)
            sheet[top : top + height, left : left + width] = visible(image)  # grey is broadcast over the colours
    return sheet
