"""A line of small bars: how a number went from epoch to epoch, in one row of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
MISSING = "!"


def sparkline(values: Sequence[float | None], width: int = 60) -> str:
    """One bar for each value, from the lowest to the highest of them; `!` where it is NaN or infinite.

    More values than `width` are thinned out evenly, first and last always kept.
    """
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    shown = [None if value is None or not math.isfinite(value) else value for value in values]
    scale = max((abs(value) for value in shown if value is not None), default=0.0) or 1.0
    # to -1..1 first: the span of two huge losses is more than a float can hold
    shown = [None if value is None else value / scale for value in shown]
    known = [value for value in shown if value is not None]
    low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    return "".join(MISSING if value is None else BARS[_level(value - low, span)] for value in shown)


def _level(above: float, span: float) -> int:
    return len(BARS) // 2 if span == 0 else min(int(above / span * len(BARS)), len(BARS) - 1)
