"""What a source of data is asked for; the sources themselves are `digits.py` and `tfds.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which prepared dataset, and how its source may be reached.

    Attributes:
        source: `digits` or `tfds:NAME`.
        image_size: Height and width in pixels.
        color: `grey` or `rgb`.
        offline: Whether downloads are forbidden.
        manual_directory: A folder that holds the source's original archives, or None.
        data_directory: Where TFDS keeps its datasets, or None for its default.
    """

    source: str
    image_size: int
    color: str
    offline: bool = False
    manual_directory: str | None = None
    data_directory: str | None = None

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the prepared images."""
        return (self.image_size, self.image_size, self.channels)
