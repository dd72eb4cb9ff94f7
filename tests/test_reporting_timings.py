"""Comparing timings: only of sides that took turns, with intervals that cover, and never from a retiming what is no timing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmark.reporting.comparing.compare import compare_selections
from benchmark.reporting.report import judging
from benchmark.reporting.rows.latest import TIMINGS, latest_executions, timed_in
from benchmark.reporting.rows.metrics import FIT_SECONDS, RATE, STEADY_SECONDS, value_of
from benchmark.reporting.statistics.timings import Timed, bootstrap_factor, compare_timings, took_turns
from tests.reporting_samples import row


def timed(order: str, run: int | str = 1) -> tuple[list[Timed], list[Timed]]:
    """Both sides of an order such as `AABB`: the seeds of each side in the order in which they come."""
    sides: dict[str, list[Timed]] = {"A": [], "B": []}
    for place, side in enumerate(order):
        sides[side].append(Timed(len(sides[side]), run, (f"{place:03}", place)))
    return sides["A"], sides["B"]


@pytest.mark.parametrize(
    ("order", "turns"),
    [
        ("AB", True),
        ("ABAB", True),
        ("ABBA", True),
        ("ABBAAB", True),
        ("AABB", False),
        ("AAABBB", False),
        ("BBAA", False),
        ("ABAABB", False),
        ("ABABABABAB", True),
    ],
)
def test_sides_take_turns_when_they_change_once_for_each_seed(order, turns):
    assert took_turns(*timed(order)) is turns


def test_turns_are_taken_within_a_run():
    a, _ = timed("ABAB", run=1)
    _, b = timed("ABAB", run=2)
    assert not took_turns(a, b)
    assert not took_turns(a, [])
    # a run for each seed
    a, b = ([Timed(run, run, (str(place), place)) for run in (1, 2)] for place in (1, 2))
    assert took_turns(a, b)


@pytest.mark.parametrize(("n", "runs"), [(3, 1), (5, 1), (10, 1), (20, 1), (10, 5), (20, 10)])
def test_intervals_cover_the_true_difference_whatever_the_machine_drifts(n, runs):
    generator = np.random.default_rng(n + runs)
    covered = 0
    for _ in range(400):
        drift = np.cumsum(generator.normal(0, 0.2, n))
        effects = generator.normal(0, 0.1 if runs > 1 else 0.0, runs)
        blocks = {seed: seed * runs // n for seed in range(n)}
        first = dict(enumerate(20 + drift + generator.normal(0, 0.1, n)))
        second = {seed: first[seed] + 1 + effects[blocks[seed]] + generator.normal(0, 0.1) for seed in first}
        found = compare_timings(first, second, blocks)
        covered += abs(found.mean - 1) <= found.half_width
    assert covered / 400 >= 0.92
    assert runs > 1 or covered / 400 <= 0.985


def test_a_drift_of_one_percent_between_the_sides_is_no_difference():
    """All of A before all of B, while the machine slows down by 1 % in the middle."""
    generator = np.random.default_rng(3)

    def rows(strategy: str, later: int, slower: float) -> list[dict]:
        return [
            row(strategy, seed, 0.9, execution_id=later + seed, started_utc=f"2026-01-01T00:00:{later + seed:02}Z",
                fit_seconds=10.0 * slower * (1 + generator.normal(0, 0.002)))
            for seed in range(5)
        ]  # fmt: skip

    found = compare_selections(rows("a", 1, 1.0), rows("b", 20, 1.01), judging=judging(None, ("fit_seconds",), None))
    result = found.overall
    assert result.half_width < result.mean
    assert result.verdict is None
    assert "take turns" in result.remark


def test_a_bootstrap_over_runs_is_wider_than_one_over_seeds_where_runs_differ():
    blocks = [[1.0, 1.1, 0.9, 1.05], [2.0, 2.1, 1.95, 2.02], [0.1, 0.0, 0.05, -0.1]]
    assert bootstrap_factor(blocks, 0.0) > 1.5 * bootstrap_factor([list(itertools.chain(*blocks))], 0.0)


def test_a_few_equal_timings_are_no_certainty():
    found = compare_timings({0: 10.0, 1: 10.0}, {0: 10.001, 1: 10.001})
    assert found.p > 0.05
    assert compare_timings({0: 1.0}, {0: 2.0}).half_width is None
    assert compare_timings({0: 1.0}, {1: 2.0}) is None


# ---- timed again


def disturbed(**columns) -> dict:
    return row(timing_valid=False, fit_seconds=9.0, execution_id=1, run_id=1, **columns)


def again(number: int = 2, **columns) -> dict:
    made = {"is_reproduction": 1, "is_retiming": 1, "fit_seconds": 5.0, "run_id": number, "started_utc": "later"}
    return row(test=0.5, execution_id=number, **{**made, **columns})


def test_a_retiming_gives_its_timings_and_nothing_else():
    (found,) = latest_executions([disturbed(), again()])
    assert (found["execution_id"], found["test_accuracy"], found["run_id"]) == (1, 0.95, 1)
    assert (found["fit_seconds"], found["timing_valid"], timed_in(found)) == (5.0, True, 2)
    changed = {name for name in found if found[name] != disturbed().get(name)}
    assert changed <= {*TIMINGS, "timing_run_id", "timing_started_utc"}


@pytest.mark.parametrize(
    "other",
    [
        again(timing_valid=False),
        again(resumed=True),
        again(status="failed"),
        again(epochs=3),
        again(is_retiming=0),
        again(machine="home"),
        again(cpu_model="that of another node"),
    ],
)
def test_only_a_valid_retiming_of_the_same_work_counts(other):
    found = next(each for each in latest_executions([disturbed(), other]) if each["machine"] == "lab")
    assert found["fit_seconds"] == 9.0


def test_a_valid_timing_needs_no_other_and_a_new_result_brings_its_own():
    own = row(fit_seconds=7.0, execution_id=1)
    assert latest_executions([own, again()])[0]["fit_seconds"] == 7.0
    rerun = {**disturbed(), "execution_id": 3, "fit_seconds": 8.0}
    assert latest_executions([disturbed(), again(2), rerun])[0]["fit_seconds"] == 8.0
    assert latest_executions([disturbed(), again(2), again(4, fit_seconds=6.0)])[0]["fit_seconds"] == 6.0


def test_a_reproduction_takes_no_place_and_lends_no_timings():
    assert latest_executions([disturbed(), again(is_retiming=0)]) == [disturbed()]


def test_a_retiming_of_one_side_is_not_interleaved_with_the_other():
    def side(strategy: str, at: int, **columns) -> list[dict]:
        return [
            row(strategy, seed, 0.9, execution_id=at + 2 * seed, started_utc=f"{at + 2 * seed:02}", **columns)
            for seed in range(3)
        ]

    def retimed(strategy: str) -> list[dict]:
        made = {"is_reproduction": 1, "is_retiming": 1, "run_id": 2}
        return [
            row(strategy, seed, 0.9, execution_id=20 + seed, started_utc=f"{20 + seed}", **made) for seed in range(3)
        ]

    how = judging(None, ("fit_seconds",), None)
    assert compare_selections(side("a", 1), side("b", 2), judging=how).overall.verdict is not None
    first = [*side("a", 1, timing_valid=False), *retimed("a")]
    assert compare_selections(first, side("b", 2), judging=how).overall.verdict is None


def test_disturbed_epochs_count_as_the_others_of_their_stage():
    one = row(fit_seconds=30.0, lost_seconds=12.0, steady_seconds_per_epoch=2.0)
    assert value_of(one, FIT_SECONDS) == 18.0
    assert value_of(one, STEADY_SECONDS) == 2.0
    assert value_of(one, RATE) == one["images_per_second"]


def test_seeds_that_one_side_was_given_in_another_run_take_no_part():
    """Seed 2 of B was left to the next run; the others took turns."""
    first = [
        row("a", seed, 0.9, execution_id=1 + 2 * seed, started_utc=f"{1 + 2 * seed}", fit_seconds=5.0)
        for seed in range(3)
    ]
    second = [
        row(
            "b",
            seed,
            0.9,
            execution_id=2 + 2 * seed,
            started_utc=f"{2 + 2 * seed}",
            fit_seconds=7.0 + 0.01 * seed,
            run_id=1 + seed // 2,
        )
        for seed in range(3)
    ]
    found = compare_selections(first, second, judging=judging(None, ("fit_seconds",), None)).overall
    assert (found.n, found.verdict) == (2, "worse")
    assert "paired over the 2 seeds that both sides timed in one run; not seed 2" in found.remark
