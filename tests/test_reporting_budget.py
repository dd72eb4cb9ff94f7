"""What a report says of any budget afterwards: `--at`, `--at-epoch`, time to accuracy, and accuracy against cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reporting_samples import row as sample

from benchmark.errors import UserError
from benchmark.reporting.report import build_report
from benchmark.reporting.rows.training_budget import TrainingBudget
from benchmark.reporting.statistics.curve_crossing import crossing
from benchmark.reporting.statistics.survival import median_time
from benchmark.reporting.tables.shown import ReportOptions


def row(strategy="scratch", seed=0, *arguments, **columns):
    """A row whose cell is another for each strategy."""
    return sample(strategy, seed, *arguments, salt=strategy, **columns)


def curve(*accuracies, seconds=10.0, losses=None):
    """Epochs of a cell, each of so many seconds, with these validation accuracies."""
    losses = losses or [None if value is None else 1 - value for value in accuracies]
    return [
        {
            "epoch": number, "elapsed_seconds": number * seconds, "val_accuracy": accuracy, "val_loss": loss,
            "train_accuracy": number / 100, "train_loss": 1 / number,
        }
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]  # fmt: skip


def report(cells, *tables, **options):
    """A report of rows that come with their epochs: (row, epochs)."""
    rows = [{**each, "execution_id": number} for number, (each, _) in enumerate(cells, 1)]
    epochs = {number: known for number, (_, known) in enumerate(cells, 1)}
    return build_report(
        rows, (), None, ReportOptions(tables=tables, **options),
        epochs=lambda ids: {number: epochs[number] for number in ids if epochs[number]},
    )  # fmt: skip


def only_row(cells, **options):
    (only,) = report(cells, "summary", **options).tables[0].rows
    return only


RISING = curve(0.5, 0.8, 0.7, 0.9)


@pytest.mark.parametrize(
    ("budget", "kept", "accuracy"),
    [
        (TrainingBudget(seconds=10), 1, 0.5), (TrainingBudget(seconds=29.9), 2, 0.8), (TrainingBudget(seconds=30), 2, 0.8),
        (TrainingBudget(seconds=1000), 4, 0.9), (TrainingBudget(epochs=3), 2, 0.8), (TrainingBudget(epochs=4), 4, 0.9),
    ],
)  # fmt: skip
def test_the_best_epoch_within_the_budget_is_shown_and_test_figures_are_empty(budget, kept, accuracy):
    cells = only_row([(row(), RISING)], budget=budget).cells
    assert cells["best_epoch"].mean == kept
    assert cells["val_accuracy"].mean == accuracy
    assert cells["test_accuracy"] is None
    assert cells["test_loss"] is None


def test_fit_seconds_are_those_of_the_epochs_within_the_budget():
    assert only_row([(row(), RISING)], budget=TrainingBudget(seconds=35)).cells["fit_seconds"].mean == 30


@pytest.mark.parametrize(
    ("changes", "epochs", "kept"),
    [
        ({"keep": "last"}, curve(0.9, 0.5), 2),
        ({"monitor": "val_loss"}, curve(0.9, 0.5, losses=[0.4, 0.3]), 2),
        ({}, curve(0.9, 0.9, losses=[0.4, 0.3]), 2),
        ({}, curve(0.9, 0.9, losses=[0.3, 0.3]), 1),
        ({}, curve(None, None), 2),
        ({}, curve(0.5, math.nan), 1),
    ],
    ids=["last", "by loss", "a tie by loss", "a tie by order", "without validation", "not a number"],
)
def test_the_epoch_is_chosen_as_training_would_have_chosen_it(changes, epochs, kept):
    import json

    one = row()
    one["spec"] = json.dumps({**json.loads(one["spec"]), **changes})
    assert only_row([(one, epochs)], budget=TrainingBudget(epochs=2)).cells["best_epoch"].mean == kept


def test_a_cell_without_an_epoch_by_then_counts_as_missing():
    shown = only_row(
        [(row(seed=0), curve(0.5)), (row(seed=1), curve(0.5, seconds=70))], budget=TrainingBudget(seconds=60)
    )
    assert (shown.cells["n"].completed, shown.cells["n"].planned) == (1, 2)
    assert "no epoch had ended by 60 s" in shown.remark


@pytest.mark.parametrize(("epochs", "completed"), [(curve(0.5, 0.6, 0.7), 1), (curve(0.5), 0)])
def test_what_failed_later_had_a_result_then_and_what_failed_before_has_none(epochs, completed):
    failed = row(seed=1, test=None, status="failed", cause="oom")
    shown = only_row([(row(), RISING), (failed, epochs)], budget=TrainingBudget(epochs=2))
    assert shown.cells["n"].completed == 1 + completed


def test_verdicts_at_a_budget_are_on_validation_accuracy():
    cells = [(row("a", seed), curve(0.5, 0.9)) for seed in range(4)]
    cells += [(row("b", seed), curve(0.7 + seed / 100, 0.8)) for seed in range(4)]
    rows = report(cells, "summary", budget=TrainingBudget(epochs=1), baseline="a").tables[0].rows
    assert [each.cells["verdict"] for each in rows] == [None, "better"]
    rows = report(cells, "summary", budget=TrainingBudget(epochs=2), baseline="a").tables[0].rows
    assert rows[1].cells["verdict"] == "worse"


@pytest.mark.parametrize(
    "options",
    [{"tables": ("calibration",)}, {"tables": ("history",)}, {"metrics": ("test_accuracy",)}, {"ensembles": True}],
    ids=str,
)
def test_what_is_measured_at_the_end_alone_is_refused_at_a_budget(options):
    with pytest.raises(UserError, match="recorded in every epoch"):
        build_report([row()], (), None, ReportOptions(budget=TrainingBudget(epochs=1), **options))


# Data: the 6-MP group of E. J. Freireich et al., Blood 21 (1963), weeks of remission, as in Cox and Oakes (1984); the median
# and its interval are those that lifelines 0.30 gives.
REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]


def test_the_median_is_that_of_kaplan_and_meier_with_the_interval_of_lifelines():
    result = median_time(*REMISSION)
    assert (result.reached, result.censored) == (9, 12)
    assert (result.median, result.low, result.high) == (23, 13, None)


def test_who_never_arrives_is_censored_and_never_dropped():
    assert median_time([1.0, 2.0], [5.0] * 3).median is None
    assert median_time([1.0, 2.0, 3.0], [5.0]).median == 2.0
    nobody = median_time([], [4.0, 5.0])
    assert (nobody.reached, nobody.censored, nobody.median) == (0, 2, None)


def test_one_cell_has_a_time_and_no_interval():
    alone = median_time([3.0], [])
    assert (alone.median, alone.low, alone.high) == (3.0, None, None)


def test_the_median_interval_covers_the_true_median():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        times, ends = generator.exponential(size=20), generator.uniform(0.5, 4, size=20)
        result = median_time(times[times <= ends].tolist(), ends[times > ends].tolist())
        covered += (result.low or 0) <= math.log(2) <= (result.high or math.inf)
    assert 0.92 <= covered / 400 <= 0.985


def test_the_time_table_counts_all_that_began():
    cells = [(row("fast", seed), curve(0.5, 0.9)) for seed in range(3)]
    cells += [(row("slow", 0), curve(0.4, 0.5, 0.9)), (row("slow", 1), curve(0.4, 0.5, 0.6))]
    cells += [(row("slow", 2, None, status="diverged", cause="diverged"), curve(0.4))]
    fast, slow = report(cells, "time", target=0.85).tables[0].rows
    assert {key: fast.cells[key] for key in ("n", "reached", "censored", "median")} == {
        "n": 3, "reached": 3, "censored": 0, "median": 20.0,
    }  # fmt: skip
    assert {key: slow.cells[key] for key in ("n", "reached", "censored", "median")} == {
        "n": 3, "reached": 1, "censored": 2, "median": 30.0,
    }  # fmt: skip


def test_the_default_target_is_the_least_of_the_best_mean_validation_accuracies():
    cells = [(row("a", 0), curve(0.5, 0.9)), (row("a", 1), curve(0.6, 0.7)), (row("b", 0), curve(0.6, 0.95))]
    assert report(cells, "time").tables[0].about["target"] == "0.8"


def test_learning_curves_cross_where_their_means_do():
    first = {seed: [(t, 0.6 + 0.0 * t) for t in (1.0, 11.0)] for seed in range(5)}
    second = {seed: [(t, 0.5 + 0.02 * t + 0.001 * seed) for t in (1.0, 11.0)] for seed in range(5)}
    result = crossing(first, second)
    assert result.second_leads
    assert result.time == pytest.approx(4.9, abs=0.05)
    assert result.low < result.time < result.high


def test_curves_that_do_not_cross_have_no_crossing():
    first = {0: [(1.0, 0.5), (5.0, 0.6)]}
    second = {0: [(1.0, 0.6), (5.0, 0.7)]}
    result = crossing(first, second)
    assert (result.time, result.low, result.high, result.second_leads) == (None, None, None, True)
    assert crossing(first, {0: [(6.0, 0.6), (9.0, 0.7)]}) is None


def test_the_interval_of_a_crossing_covers_it():
    generator = np.random.default_rng(1)
    times = np.linspace(1, 20, 12)
    covered = 0
    for _ in range(60):
        sides = [
            {
                seed: list(zip(times, start + slope * times + noise, strict=True))
                for seed, noise in enumerate(generator.normal(0, 0.02, 5))
            }
            for start, slope in ((0.6, 0.0), (0.5, 0.01))
        ]
        result = crossing(*sides)
        covered += result.time is not None and (result.low or 0) <= 10 <= (result.high or 99)
    assert covered >= 54


def pareto(*points, **options):
    """`front` of groups with these (test accuracy, fit seconds), in the order of the points."""
    rows = [
        row(f"s{number}", seed, accuracy + (seed - 1) / 1000, fit_seconds=seconds)
        for number, (accuracy, seconds) in enumerate(points)
        for seed in range(3)
    ]
    table = build_report(rows, (), None, ReportOptions(tables=("pareto",), **options)).tables[0]
    fronts = {each.cells["strategy"]: each.cells["front"] for each in table.rows}
    return [fronts[f"s{number}"] for number in range(len(points))]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 1.0), (0.95, 2.0), (0.92, 3.0)], [True, True, False]),
        ([(0.9, 1.0), (0.9, 2.0)], [True, False]),
        ([(0.9, 1.0), (0.9, 1.0)], [True, True]),
        ([(0.9, 2.0), (0.95, 1.0)], [False, True]),
    ],
)
def test_the_front_holds_what_nothing_beats_in_both(points, front):
    assert pareto(*points) == front


def test_the_front_of_random_points_is_the_one_by_definition():
    points = [tuple(point) for point in np.random.default_rng(2).uniform(0.1, 0.9, (12, 2)).tolist()]
    expected = [not any(b >= a and d <= c and (b, d) != (a, c) for b, d in points) for a, c in points]
    assert pareto(*points) == expected


def test_groups_without_valid_timings_are_neither_on_the_front_nor_off_it():
    rows = [row("a", 0, 0.9), row("b", 0, 0.8, timing_valid=False)]
    table = build_report(rows, (), None, ReportOptions(tables=("pareto",))).tables[0]
    assert [each.cells["front"] for each in table.rows] == [True, None]


def test_accuracy_stands_against_parameters_where_they_are_asked_for():
    rows = [row("a", 0, 0.9, parameters=10), row("b", 0, 0.9, parameters=9), row("c", 0, 0.8, dataset="other")]
    options = ReportOptions(tables=("pareto",), metrics=("parameters",))
    table = build_report(rows, (), None, options).tables[0]
    assert {each.cells["strategy"]: each.cells["front"] for each in table.rows} == {"a": False, "b": True, "c": True}
    with pytest.raises(UserError, match="metric"):
        build_report(rows, (), None, ReportOptions(metrics=("parameters",)))
