"""The verdict on a cell that was run twice."""

from __future__ import annotations

import math

import pytest

from benchmark.reporting.comparing.reproduction import (
    DIFFERENT,
    IDENTICAL,
    WITHIN_NOISE,
    compare_executions,
    seed_spread,
)
from benchmark.reporting.statistics.intervals import t_quantile


def row(**changes):
    return {"status": "completed", "digest": "a", "test_accuracy": 0.9, "test_examples": 1000, **changes}


SEEDS = (0.90, 0.91, 0.92)
SPREAD = t_quantile(2) * 0.01 * math.sqrt(2)


def test_the_spread_of_seeds_is_that_of_the_difference_of_two_results():
    assert seed_spread(SEEDS, 1000) == (pytest.approx(SPREAD), 3)
    assert seed_spread((), 10) == (None, 0)
    assert seed_spread((0.5, math.nan), 10) == (None, 1)


def test_seeds_that_agree_by_chance_are_no_certainty():
    assert seed_spread((0.9, 0.9), 100)[0] == pytest.approx(t_quantile(1) * 0.01 / math.sqrt(6))


@pytest.mark.parametrize(
    ("now", "seeds", "verdict"),
    [
        (row(), SEEDS, IDENTICAL),
        (row(digest="b"), SEEDS, WITHIN_NOISE),
        (row(digest="b"), (), WITHIN_NOISE),
        (row(digest="b", test_accuracy=0.9 + 0.99 * SPREAD), SEEDS, WITHIN_NOISE),
        (row(digest="b", test_accuracy=0.9 - 1.01 * SPREAD), SEEDS, DIFFERENT),
        (row(digest="b", test_accuracy=0.901), SEEDS[:1], DIFFERENT),
        (row(digest="b", status="failed", test_accuracy=None), SEEDS, DIFFERENT),
        (row(digest="b", test_accuracy=math.nan), SEEDS, DIFFERENT),
        (row(digest=None, status="interrupted"), SEEDS, DIFFERENT),
    ],
)
def test_verdicts(now, seeds, verdict):
    found = compare_executions(row(), now, seeds)
    assert (found.verdict, bool(found.reason)) == (verdict, True)


def test_two_executions_without_digests_are_never_identical():
    assert compare_executions(row(digest=None), row(digest=None), ()).verdict == WITHIN_NOISE


def test_what_changed_is_named_by_area():
    before = row(package_version="1", threads=1, cpu_model="a", data_fingerprint="f")
    found = compare_executions(before, {**before, "threads": 2, "cpu_model": "b"}, SEEDS)
    assert [(one.area, one.name, one.before, one.now) for one in found.changes] == [
        ("hardware", "cpu_model", "a", "b"),
        ("settings", "threads", 1, 2),
    ]
