"""Many small images in one array, so that a hundred of them cost one axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where tiles lie on a sheet that is measured in pixels of its images.

    Attributes:
        rows, columns: How many.
        side: Height and width of an image, in pixels.
        gap_x, gap_y: Between tiles, in the same.
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
        """Left and upper edge of a tile; upwards is less."""
        return column * (self.side + self.gap_x), row * (self.side + self.gap_y)

    def middle(self, row: int, column: int) -> tuple[float, float]:
        left, top = self.corner(row, column)
        return left + self.side / 2, top + self.side / 2


def lay_out(axes: Axes, tiling: Tiling) -> None:
    """Prepare axes for tiles: limits in pixels, square pixels, nothing around."""
    axes.set_xlim(0, tiling.width)
    axes.set_ylim(tiling.height, 0)
    axes.set_aspect("equal", anchor="N")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])


def show(axes: Axes, image: NDArray[Any], tiling: Tiling, row: int, column: int) -> None:
    """Draw one image [h, w] or [h, w, 1 or 3], uint8 or 0..1, as a tile."""
    left, top = tiling.corner(row, column)
    extent = (left, left + tiling.side, top + tiling.side, top)
    pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    top_value = 255 if pixels.dtype == np.uint8 else 1.0
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=top_value, extent=extent, interpolation="auto")


def joined(images: Sequence[Sequence[NDArray[np.uint8]]], gap: int, columns: int) -> NDArray[np.uint8]:
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
            sheet[top : top + height, left : left + width] = image  # grey is broadcast over the colours
    return sheet
