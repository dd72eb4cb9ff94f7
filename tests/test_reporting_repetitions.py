"""What counts as one of n values where seeds of streams, or folds, differ beside the seed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmark.reporting.comparing.differences import difference
from benchmark.reporting.report import build_report
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY
from benchmark.reporting.rows.missing_results import note_on_repetitions, reasons
from benchmark.reporting.writers.formats import render
from tests.reporting_samples import planned, row


def cell(seed: int = 0, test: float | None = 0.9, **columns):
    """A row of a cell with seeds of streams, or a fold of five, of its own."""
    names = ("split_seed", "weights_seed", "order_seed", "augment_seed")
    streams = {name: columns.pop(name, None) for name in names}
    fold = columns.pop("fold", None)
    made = row(seed=seed, test=test, salt=str((streams, fold)), **columns)
    spec = json.loads(made["spec"]) | streams
    spec["data"] |= {"fold": fold, "folds": None if fold is None else 5}
    return {**made, "spec": json.dumps(spec)}


def only(rows, run_cells=()):
    (group,) = group_cells(rows, run_cells)
    return group


def test_a_stream_that_varies_under_one_seed_is_what_is_repeated():
    group = only([cell(weights_seed=number or None, test=0.9 + number / 100) for number in (0, 1, 2)])
    assert group.values(TEST_ACCURACY) == {0: 0.9, 1: 0.91, 2: 0.92}
    assert (group.repetitions.of, group.repetitions.averaged) == ("weights_seed", ())
    assert group.repetitions.held == ("split_seed", "order_seed", "augment_seed")
    (note,) = note_on_repetitions([group])
    assert note == (
        "n counts values of weights_seed, ± does not include the effect of split_seed, order_seed, augment_seed, "
        "the same in all of them."
    )


def test_plain_seeds_need_no_words():
    group = only([cell(seed) for seed in range(3)])
    assert group.repetitions.of == "seed"
    assert note_on_repetitions([group]) == []


def test_streams_within_a_seed_are_averaged_and_n_counts_the_seeds():
    rows = [
        cell(seed, 0.9 + seed / 10 + weights / 100, weights_seed=7 + weights) for seed in (0, 1) for weights in (0, 1)
    ]
    group = only(rows)
    assert group.values(TEST_ACCURACY) == pytest.approx({0: 0.905, 1: 1.005})
    assert group.repetitions.averaged == ("weights_seed",)
    assert group.repetitions.held == ()
    assert len(group.cell_ids) == 4


def test_a_seed_of_a_stream_that_is_the_same_for_all_seeds_is_said():
    group = only([cell(seed, split_seed=0 if seed else None) for seed in range(3)])
    assert (group.repetitions.of, group.repetitions.averaged, group.repetitions.held) == ("seed", (), ("split_seed",))


def test_folds_are_averaged_within_a_seed():
    rows = [cell(seed, 0.8 + fold / 100, fold=fold, fit_seconds=float(fold)) for seed in (0, 1) for fold in range(5)]
    group = only(rows)
    assert group.values(TEST_ACCURACY) == pytest.approx({0: 0.82, 1: 0.82})
    assert group.values(FIT_SECONDS) == {0: 2.0, 1: 2.0}
    assert (group.repetitions.averaged, group.repetitions.held, group.planned) == (("fold",), (), 2)
    assert only(rows[:5]).planned == 1
    assert note_on_repetitions([only(rows[:5])]) == [
        "n counts values of seed, each of them a mean over fold, which are not independent repetitions."
    ]


def test_a_seed_of_which_a_fold_is_lost_has_no_result():
    rows = [cell(seed, fold=fold) for seed in (0, 1) for fold in range(5)]
    rows[7] = cell(1, None, fold=2, status="failed", cause="oom", detail="killed")
    group = only(rows)
    assert list(group.completed) == [0]
    assert reasons(group) == ["seed 1 failed (oom): fold 2: killed"]
    assert group.planned == 2


def test_folds_that_have_not_begun_belong_to_their_seed():
    rows = [cell(seed, fold=fold) for seed in (0, 1) for fold in range(5)]
    group = only(rows[:7], planned(rows))
    assert list(group.completed) == [0]
    assert reasons(group) == ["seed 1 pending: fold 2 and 2 more: not started yet"]


def test_a_timing_of_a_mean_is_valid_where_all_are():
    rows = [cell(fold=fold, timing_valid=fold != 3) for fold in range(5)]
    assert only(rows).values(FIT_SECONDS) == {}


def test_a_report_of_folds_shows_one_row_and_says_what_n_counts():
    rows = [cell(seed, 0.8 + seed / 100 + fold / 1000, fold=fold) for seed in (0, 1, 2) for fold in range(5)]
    text = render(build_report(rows, planned(rows), None), "markdown")
    assert "a mean over fold" in text
    assert "0.812" in text


def crossed_cells(strategy, random, *, spread):
    """Five splits by five initial weights under one seed; `spread` is the standard deviation that each of them makes."""
    of_split, of_weights = random.normal(size=5) * spread[0], random.normal(size=5) * spread[1]
    return [
        cell(0, 0.9 + float(of_split[split] + of_weights[weights]), strategy=strategy, fit_seconds=1.0,
             split_seed=split or None, weights_seed=weights or None, changes={"label": strategy})
        for split in range(5) for weights in range(5)
    ]  # fmt: skip


def test_an_interval_covers_what_all_crossed_streams_change():
    random = np.random.default_rng(0)
    means = [only(crossed_cells("a", random, spread=(0.001, 0.01))).measured(TEST_ACCURACY)[0] for _ in range(150)]
    covered = [abs(each.mean - 0.9) <= each.half_width for each in means]
    assert 0.92 <= np.mean(covered) <= 0.99


def test_equal_strategies_are_rarely_called_different_whatever_is_crossed():
    random = np.random.default_rng(1)
    pairs = [[only(crossed_cells(name, random, spread=(0.001, 0.01))) for name in "ab"] for _ in range(150)]
    differences = [difference(*pair, TEST_ACCURACY) for pair in pairs]
    assert np.mean([each.p < 0.05 for each in differences]) <= 0.07
