"""A small chart of a cell's history in SVG, made of numbers alone: training and validation by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, _EDGE = 300, 90, 6
MOST_POINTS = 100

Curve: TypeAlias = tuple[str, Sequence[float | None]]
"""What a curve is of, and its values by epoch; None is missing."""


def chart(title: str, curves: Sequence[Curve], kept: int | None) -> Markup:
    """Curves on one scale, with their ends in words.

    Args:
        title: What all of them measure.
        curves: The first is drawn in the accent, others are dashed.
        kept: Index of the kept epoch, which a line marks; None where there is none.
    """
    from markupsafe import Markup

    known = [value for _, values in curves for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Markup("")
    low, high, count = min(known), max(known), max(len(values) for _, values in curves)
    lines = [
        f'<polyline class="c{number}" points="{points}"></polyline>'
        for number, (_, values) in enumerate(curves)
        for points in _pieces(values, low, high)
    ]
    if kept is not None and kept < count:
        lines.append(f'<line x1="{_x(kept, count)}" x2="{_x(kept, count)}" y1="0" y2="{HEIGHT}"></line>')
    styles = ("solid", "dashed") if len(curves) > 1 else ("",)
    words = Markup.escape(f"{title}: {', '.join(map(_ends, curves, styles))}")
    return Markup(  # noqa: S704  numbers and escaped words
        f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{title} by epoch">{"".join(lines)}</svg><figcaption>{words}</figcaption></figure>'
    )


def _ends(curve: Curve, style: str) -> str:
    """Where a curve begins and ends, and how it is drawn, where that tells it from another."""
    name, values = curve
    known = [value for value in values if value is not None]
    drawn = f" ({style})" if style else ""
    return f"{name}{drawn} {known[0]:.4g} → {known[-1]:.4g}" if known else f"{name} unknown"


def _pieces(values: Sequence[float | None], low: float, high: float) -> Iterator[str]:
    """The points of each stretch without a gap."""
    step = max(1, math.ceil(len(values) / MOST_POINTS))
    piece: list[str] = []
    for place in sorted({*range(0, len(values), step), len(values) - 1}):
        value = values[place]
        if value is not None and math.isfinite(value):
            piece.append(f"{_x(place, len(values))},{_y(value, low, high)}")
        elif piece:
            yield _joined(piece)
            piece = []
    if piece:
        yield _joined(piece)


def _joined(piece: Sequence[str]) -> str:
    # a line from a point to itself is drawn as a dot
    return " ".join(piece if len(piece) > 1 else [*piece, *piece])


def _x(place: int, count: int) -> int:
    return round(_EDGE + (WIDTH - 2 * _EDGE) * place / max(count - 1, 1))


def _y(value: float, low: float, high: float) -> int:
    # halves first: the span of two huge losses is more than a float can hold
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
    return round(HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * share)
