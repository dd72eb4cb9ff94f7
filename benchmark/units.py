"""Numbers with their units, as people read them: durations, sizes, counts, shares."""

from __future__ import annotations

import math
from collections.abc import Iterable


def seconds(value: float) -> str:
    """A duration: `15 ms`, `0.8 s`, `42 s`, `3:05 min`, `2:10 h`; `?` where it is no number of seconds."""
    if value < 0 or not math.isfinite(value):
        return "?"
    if 0 < value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def clock(value: float) -> str:
    """Seconds on a clock that goes on: `3:05`, `2:10:00`."""
    minutes, rest = divmod(max(round(value), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def minute(utc: str) -> str:
    """A recorded time to the minute: `2026-11-27 05:16 UTC`."""
    return f"{utc[:10]} {utc[11:16]} UTC"


def size(count: float, digits: int = 2) -> str:
    """Bytes in binary units with at least so many significant digits: `512 MiB`, `1.2 GiB`."""
    if abs(count) < 1024 or not math.isfinite(count):
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        count /= 1024
        if abs(count) < 1023.5 or unit == "PiB":
            break
    whole_digits = len(str(int(abs(count))))
    return f"{count:,.{max(0, digits - whole_digits)}f} {unit}"


def number(value: float) -> str:
    """A measured number with four significant digits, large ones whole; `nan` and `inf` by name."""
    if isinstance(value, float) and 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fraction(value: float) -> str:
    """An accuracy, 0..1, with four decimals."""
    return f"{value:.4f}"


def plural(count: int, noun: str) -> str:
    """`1 cell`, `2,000 cells`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(texts: Iterable[str], last: str = " and ") -> str:
    """`a, b and c`."""
    several = list(texts)
    return last.join(filter(None, [", ".join(several[:-1]), *several[-1:]]))
