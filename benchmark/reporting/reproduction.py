"""Whether a cell that was run again came out the same, and what was different about it. Pure functions.

Three verdicts. `identical`: the digests agree, so every recorded number is equal to the bit. `within seed noise`: the
test accuracy moved by no more than the 95 % spread of the cell's own seeds. `different`: by more, or nobody knows how
much its seeds spread, or one of the two did not complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.statistics import measure, t_quantile

IDENTICAL, WITHIN_NOISE, DIFFERENT = "identical", "within seed noise", "different"

COMPARED = (
    ("code", ("package_version", "git_commit", "git_dirty")),
    ("versions", ("python_version", "backend_version", "keras_version", "numpy_version")),
    ("hardware", ("os", "cpu_model", "cpu_cores", "gpu_names", "gpu_driver")),
    ("data", ("data_fingerprint", "weights_sha256", "train_examples", "validation_examples", "test_examples")),
    ("settings", ("threads", "device_name", "compute_dtype", "isolation")),
)
"""What may explain that two executions of a cell differ: by heading, the columns of their records."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was not the same the second time."""

    area: str
    name: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How a cell came out the second time.

    Attributes:
        verdict: `identical`, `within seed noise` or `different`.
        reason: Why, in words.
        difference: Test accuracy now minus before; None when one of them has none.
        spread: Half width of the 95 % spread of its seeds' test accuracies; None for fewer than two seeds.
        seeds: How many seeds that rests on.
        changes: What else was different.
    """

    verdict: str
    reason: str
    difference: float | None
    spread: float | None
    seeds: int
    changes: tuple[Change, ...]


def compare_executions(before: Mapping[str, Any], now: Mapping[str, Any], seeds: Iterable[float]) -> Reproduction:
    """Compare two executions of one cell.

    Args:
        before: The first one's row, with `digest`, `status`, `test_accuracy`, and what `COMPARED` names as far as known.
        now: The second one's.
        seeds: Test accuracies of completed cells that differ from this one in the seed alone, its own first one included.
    """
    spread, count = seed_spread(seeds, before.get("test_examples"))
    difference = _difference(before.get("test_accuracy"), now.get("test_accuracy"))
    verdict, reason = _judge(before, now, difference, spread)
    return Reproduction(verdict, reason, difference, spread, count, tuple(_changes(before, now)))


def seed_spread(seeds: Iterable[float], test_examples: int | None) -> tuple[float | None, int]:
    """Half width of the 95 % spread of single results, `t(0.975, n - 1) · sd`, and n; None for n < 2.

    A standard deviation below that of rounding to whole test images (`1 / √12` of one) is taken to be that.
    """
    measured = measure(value for value in seeds if math.isfinite(value))
    if measured is None:
        return None, 0
    if measured.sd is None:
        return None, measured.n
    rounding = 1 / (test_examples * math.sqrt(12)) if test_examples else 0.0
    return t_quantile(measured.n - 1) * max(measured.sd, rounding), measured.n


def _difference(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before


def _judge(
    before: Mapping[str, Any], now: Mapping[str, Any], difference: float | None, spread: float | None
) -> tuple[str, str]:
    if now["digest"] is not None and now["digest"] == before["digest"]:
        return IDENTICAL, "every recorded number is equal to the bit"
    if now["status"] != before["status"]:
        return DIFFERENT, f"it was {before['status']} before and is {now['status']} now"
    if difference is None or not math.isfinite(difference):
        return DIFFERENT, "there is no test accuracy to compare"
    if difference == 0:
        return WITHIN_NOISE, "the test accuracy is equal, other numbers are not"
    moved = f"the test accuracy moved by {difference:+.4f}"
    if spread is None:
        return DIFFERENT, f"{moved}, and with fewer than two seeds nobody knows how much is noise"
    if abs(difference) <= spread:
        return WITHIN_NOISE, f"{moved}, its seeds spread by ±{spread:.4f}"
    return DIFFERENT, f"{moved}, more than its seeds spread (±{spread:.4f})"


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[Change]:
    for area, names in COMPARED:
        for name in names:
            if before.get(name) != now.get(name):
                yield Change(area, name, before.get(name), now.get(name))
