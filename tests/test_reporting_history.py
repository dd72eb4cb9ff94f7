"""The history of a group over runs: steps where the level changes, and no steps where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from reporting_samples import row

from benchmark.reporting.report import build_report
from benchmark.reporting.statistics.change_points import SHORTEST_SERIES, steps
from benchmark.reporting.tables.shown import ReportOptions


def history(values, *, strategy="scratch", machine="lab", first_run=1, **options):
    """Rows of runs: `values` [runs, seeds] are test accuracies."""
    return [
        row(
            strategy, seed, value, machine=machine, salt=strategy, run_id=first_run + number, git_commit=f"{number:040d}",
            execution_id=1000 * (first_run + number) + 10 * len(strategy) + seed, **options,
        )
        for number, run in enumerate(values)
        for seed, value in enumerate(run)
    ]  # fmt: skip


def table(rows, **options):
    options = {"tables": ("history",), **options}
    commits = options.pop("commits", lambda *_: ())
    (only,) = build_report(rows, (), None, ReportOptions(**options), commits=commits).tables
    return only


def noise(runs, seeds=3, seed=0, sd=0.005):
    return 0.9 + np.random.default_rng(seed).normal(0, sd, (runs, seeds))


@pytest.mark.parametrize("runs", [4, 10, 20])
def test_without_a_step_at_most_one_series_in_twenty_has_one(runs):
    draws = np.random.default_rng(runs).normal(size=(2000, runs))
    assert np.mean([bool(steps(values)) for values in draws]) <= 0.06


def test_of_many_series_together_at_most_one_report_in_twenty_has_a_step():
    draws = np.random.default_rng(3).normal(size=(200, 10, 20))
    assert np.mean([any(steps(values, series=10) for values in report) for report in draws]) <= 0.08


def test_heavy_tails_make_few_false_steps():
    draws = np.random.default_rng(4).laplace(size=(1000, 20))
    assert np.mean([bool(steps(values)) for values in draws]) <= 0.2


@pytest.mark.parametrize("at", [2, 10, 19])
def test_a_step_is_found_where_it_is(at):
    values = np.random.default_rng(5).normal(size=20)
    values[at:] += 8
    assert steps(values) == [at]


def test_two_steps_are_both_found():
    values = np.random.default_rng(6).normal(size=24)
    values[8:] += 9
    values[16:] -= 5
    assert steps(values) == [8, 16]


def test_values_that_are_all_equal_have_no_step_and_one_that_leaves_them_is_one():
    assert steps([0.9] * 12, least_deviation=0.0008) == []
    assert steps([0.9] * 11 + [0.8], least_deviation=0.0008) == [11]
    assert steps([0.9] * 6 + [0.9 - 1 / 3600] * 6, least_deviation=0.0008) == []


def test_a_short_series_has_no_step():
    assert steps([0.0] * (SHORTEST_SERIES - 2) + [9.0]) == []


def test_the_table_has_a_row_for_each_run_and_group_and_marks_the_first_after_a_step():
    values = noise(12)
    values[7:] -= 0.1
    rows = table(history(values) + history(noise(12, seed=1), strategy="other")).rows
    assert len(rows) == 24
    stepped = [(each.cells["strategy"], each.cells["run_id"]) for each in rows if each.cells["step"]]
    assert stepped == [("scratch", 8)]
    assert all(isinstance(each.cells["step"], bool) for each in rows)
    assert rows[0].cells["test_accuracy"].n == 3


def test_the_commits_between_stand_beside_each_change_of_commit():
    values = noise(6, sd=0.0005)
    values[4:] += 0.05
    asked = []

    def commits(first, last):
        asked.append((first, last))
        return ["abc faster", "def better"]

    rows = table(history(values), commits=commits).rows
    assert rows[0].cells["commits"] is None
    assert rows[4].cells["commits"] == "000000000..000000000"
    assert asked == [(f"{3:040d}", f"{4:040d}")]
    assert "2 commits: abc faster; def better" in rows[4].remark


def test_machines_are_series_of_their_own():
    fast, slow = noise(6, sd=0.001), noise(6, sd=0.001, seed=1) - 0.1
    rows = history(fast) + history(slow, machine="other", first_run=7)
    assert not any(each.cells["step"] for each in table(rows).rows)
    assert {each.cells["machine"] for each in table(rows, machine="other").rows} == {"other"}


def test_a_run_with_other_seeds_is_shown_and_not_searched():
    rows = history(noise(6, sd=0.0005))
    alone = row(seed=9, test=0.5, salt="scratch", run_id=7, execution_id=99_999, git_commit="f" * 40)
    shown = table([*rows, alone]).rows
    assert len(shown) == 7
    assert not any(each.cells["step"] for each in shown)
    assert "other seeds" in shown[-1].remark


def test_reproductions_are_no_results():
    rows = history(noise(4)) + history(noise(1), first_run=9, is_reproduction=True)
    assert len(table(rows).rows) == 4
