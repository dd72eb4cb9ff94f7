"""Writes values as text for people, with as many digits as their interval supports."""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Kind, Published, Qualified, Tally, Value
from benchmark.units import size

MISSING = "-"


class _Digits(NamedTuple):
    """Decimals of a number: `least` to `most` beside an interval, `alone` without one."""

    least: int
    most: int
    alone: int


_DIGITS: dict[Kind, _Digits] = {
    "accuracy": _Digits(2, 4, 4),
    "score": _Digits(2, 4, 4),
    "percent": _Digits(0, 2, 2),
    "loss": _Digits(1, 4, 4),
    "seconds": _Digits(0, 2, 2),
    "rate": _Digits(0, 1, 1),
    "count": _Digits(0, 1, 0),
}
_LARGEST_PLAIN = 1e9


def written(value: Value, kind: Kind, *, known_n: int | None = None) -> str:
    """A cell as text: `0.9123 ± 0.0045`.

    Args:
        value: What to write.
        kind: What the cell holds.
        known_n: The n that is shown beside the cell; a different n is written into the cell.
    """
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value or MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Tally):
        return str(value.completed) if value.completed == value.planned else f"{value.completed}/{value.planned}"
    if isinstance(value, Qualified):
        return f"{value.word} {value.more}"
    if isinstance(value, Published):
        return value.value if isinstance(value.value, str) else f"{value.value:,.{value.decimals}f}"
    if isinstance(value, Measurement | Difference):
        text = _measurement(value, kind) if isinstance(value, Measurement) else _with_interval(value, kind, sign="+")
        return text if value.n == known_n else f"{text} (n={value.n})"
    return number(float(value), kind)


def _measurement(value: Measurement, kind: Kind) -> str:
    if kind == "count":
        least, most = number(min(value.values), kind), number(max(value.values), kind)
        return least if min(value.values) == max(value.values) else f"{least}-{most}"
    if kind == "bytes":
        # memory is needed for the largest
        return size(max(value.values), digits=3)
    return _with_interval(value, kind)


def _with_interval(value: Measurement | Difference, kind: Kind, *, sign: str = "") -> str:
    mean, half_width = value.mean, value.half_width
    if half_width is None or not math.isfinite(half_width) or not math.isfinite(mean):
        return number(mean, kind, sign=sign)
    if isinstance(value, Measurement) and value.is_cut:
        decimals = decimals_beside(half_width, kind)
        # an end at a bound is that number exactly
        ends = " to ".join(
            f"{end:g}" if end in value.bounds else _fixed(end, decimals)
            for end in (value.low, value.high)
            if end is not None
        )
        return f"{_fixed(mean, decimals)} ({ends})"
    return span(mean, half_width, kind, sign=sign)


def span(mean: float, half_width: float, kind: Kind, *, sign: str = "+") -> str:
    """A mean and half of its interval: `+0.0123 ± 0.0045`."""
    decimals = decimals_beside(half_width, kind)
    half = f"{half_width:,.{decimals}f}"
    if half_width > 0 and float(half.replace(",", "")) == 0:
        # an interval that is not zero must not be written as zero
        half = f"{10.0**-decimals:.{decimals}f}"
    return f"{_fixed(mean, decimals, sign)} ± {half}"


def decimals_beside(half_width: float, kind: Kind) -> int:
    """Decimals that give the half width two significant digits, within the limits of its kind."""
    digits = _DIGITS.get(kind, _Digits(0, 2, 2))
    if half_width <= 0:
        return min(3, digits.alone)
    return min(max(1 - math.floor(math.log10(half_width)), digits.least), digits.most)


def number(value: float, kind: Kind, *, sign: str = "") -> str:
    """A number without an interval."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if kind == "bytes":
        return size(value, digits=3)
    if kind == "count":
        return _fixed(value, 0 if value == int(value) else 1, sign)
    if kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if abs(value) >= _LARGEST_PLAIN:
        return f"{value:{sign}.3g}"
    decimals = _DIGITS.get(kind, _Digits(0, 2, 3)).alone
    if kind not in {"accuracy", "percent"}:
        whole_digits = 0 if abs(value) < 1 else int(math.log10(abs(value))) + 1
        decimals = max(0, min(decimals, 4 - whole_digits))
    return _fixed(value, decimals, sign)


def _fixed(value: float, decimals: int, sign: str = "") -> str:
    if abs(value) >= 1e15:
        return f"{value:{sign}.3g}"
    text = f"{value:{sign},.{decimals}f}"
    # a number that rounds to zero is written without a sign
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text
