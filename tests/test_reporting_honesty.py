"""Comparisons that mislead nobody: what is compared, what is named, and when a verdict is withheld, in whole reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmark.errors import NotFoundError, UserError
from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.comparing.compare import compare_selections
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.report import build_report, judging
from benchmark.reporting.rows.audited_fields import AUDITED
from benchmark.reporting.rows.metrics import TEST_ACCURACY, Metric
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import render
from benchmark.results.schema.tables import TEST_METRICS
from tests.reporting_samples import row

LOW, HIGH = (0.80, 0.81, 0.82), (0.90, 0.911, 0.922)


def side(strategy, scores, **columns):
    """Rows of one strategy, an execution for each seed; a score of None is a seed that failed."""
    failed = {"status": "failed", "cause": "crashed"}
    start = columns.pop("start", 1)
    return [
        row(
            strategy,
            seed,
            score,
            execution_id=start + seed,
            salt=strategy,
            **({} if score is not None else failed),
            **columns,
        )
        for seed, score in enumerate(scores)
    ]


def compared(first, second, **options):
    return compare_selections(first, second, judging=judging(None, (), options.pop("margin", None)), **options)


def main_row(found):
    return found.report.tables[0].rows[0]


KNOWN = {"weights_sha256": {"changes": {"weights": "imagenet"}}}
"""What a field needs to be asked for at all."""


@pytest.mark.parametrize("field", AUDITED, ids=lambda field: field.name)
def test_each_audited_field_that_differs_is_named_with_both_values(field):
    about = KNOWN.get(field.name, {})
    sides = [
        side(name, scores, **about, **{field.name: value})
        for name, scores, value in (("a", LOW, 1000), ("b", HIGH, 2000))
    ]
    found = compared(*sides)
    if field.effect == "marks timings":
        rows = [each for each in found.report.tables[0].rows if "seconds" in each.cells["metric"]]
        assert ("no valid timing: resumed" if field.name == "resumed" else "neighbours 1000 against 2000") in rows[
            0
        ].remark
        assert field.name not in main_row(found).remark
        return
    assert f"{field.name} 1000 against 2000" in main_row(found).remark
    assert found.verdict == ("not comparable" if field.effect == "prevents" else "better")
    assert found.report.suspects


@pytest.mark.parametrize("field", AUDITED, ids=lambda field: field.name)
def test_an_audited_field_that_is_equal_marks_nothing(field):
    found = compared(side("a", LOW, **{field.name: 1000}), side("b", HIGH, **{field.name: 1000}))
    assert field.name not in main_row(found).remark
    assert found.verdict == "better"
    assert not found.report.suspects


def test_what_is_unknown_on_one_side_is_named_and_leaves_the_verdict():
    found = compared(side("a", LOW), side("b", HIGH, data_fingerprint="f"))
    assert "data_fingerprint unknown against f" in main_row(found).remark
    assert found.verdict == "better"


def swapped(column, a, b):
    """Rows of one strategy whose seeds have these values of a column in turn."""
    return [{**each, column: value} for each, value in zip(a, b, strict=True)]


@pytest.mark.parametrize("column", ["data_fingerprint", "test_examples"])
def test_two_sides_that_saw_the_same_data_at_other_seeds_are_not_comparable(column):
    first = swapped(column, side("a", LOW), [8000, 8000, 9000])
    assert compared(first, swapped(column, side("b", HIGH), [8000, 9000, 8000])).verdict == "not comparable"
    assert compared(first, swapped(column, side("b", HIGH), [8000, 8000, 9000])).verdict == "better"


def test_a_mean_over_results_on_other_data_is_named():
    rows = swapped("data_fingerprint", side("a", LOW), ["f", "f", "g"])
    notes = build_report(rows, (), ReportSpec(), ReportOptions()).notes
    assert (
        "Some means are over results on different data, which differ in data_fingerprint: digits simple_cnn a." in notes
    )
    assert not any(
        "other data" in note for note in build_report(side("a", LOW), (), ReportSpec(), ReportOptions()).notes
    )


def test_seeds_without_a_partner_make_no_pair_incomparable():
    first = swapped("data_fingerprint", side("a", (*LOW, 0.7)), ["f", "f", "f", "g"])
    assert compared(first, side("b", HIGH, data_fingerprint="f")).verdict == "better"


def test_data_unknown_at_one_seed_are_named_and_leave_the_verdict():
    first = swapped("data_fingerprint", side("a", LOW), ["f", "f", None])
    found = compared(first, side("b", HIGH, data_fingerprint="f"))
    assert found.verdict == "better"
    assert "data_fingerprint f and unknown against f" in main_row(found).remark


def test_unpaired_sides_with_other_shares_of_the_data_are_not_comparable():
    first = swapped("data_fingerprint", side("a", LOW), ["f", "f", "g"])
    other = swapped("data_fingerprint", side("b", HIGH), ["f", "g", "g"])
    later = [{**each, "seed": each["seed"] + 9} for each in other]
    assert compared(first, later).verdict == "not comparable"


def test_one_dataset_with_other_data_is_marked_and_the_others_are_not():
    first = side("a", LOW, dataset="x", data_fingerprint="f") + side("a", LOW, dataset="y", data_fingerprint="g")
    second = side("b", HIGH, dataset="x", data_fingerprint="f") + side("b", HIGH, dataset="y", data_fingerprint="h")
    x, y, both = compared(first, second).report.tables[0].rows[:3]
    assert [each.cells["verdict"] for each in (x, y, both)] == ["better", "not comparable", "better"]
    assert both.cells["a_cells"] == "all 2, 1 comparable"


def test_another_image_size_is_no_other_data():
    first = side("a", LOW, data_fingerprint="f", changes={"image_size": 16})
    second = side("b", HIGH, data_fingerprint="g", changes={"image_size": 32})
    assert compared(first, second).verdict == "better"


@pytest.mark.parametrize(
    ("strategies", "changes", "named", "names_it"),
    [
        (("a", "b"), {"threads": 2}, (), True),
        (("a", "b"), {"threads": 2}, ("threads",), False),
        (("a", "b"), {"batch_size": 32}, (), False),
        (("a", "a"), {"batch_size": 32}, (), True),
        (("a", "a"), {"batch_size": 32}, ("batch_size",), False),
    ],
)
def test_settings_that_are_no_part_of_the_strategies_are_suspect_unless_selections_name_them(
    strategies, changes, named, names_it
):
    found = compared(side(strategies[0], LOW), side(strategies[1], HIGH, changes=changes, start=10), named=named)
    assert [next(iter(changes)) in text for text in found.report.suspects] == [True] * names_it
    assert next(iter(changes)) in main_row(found).remark


def test_from_ten_seeds_on_a_difference_has_what_outliers_cannot_move():
    scores = [0.8 + 0.001 * seed for seed in range(10)]
    few, many = (compared(side("a", scores[:n]), side("b", [score + 0.05 for score in scores[:n]])) for n in (9, 10))
    assert main_row(few).cells["difference"].robust is None
    assert "interquartile means 0.8045 and 0.8545; the second is greater in 100 % of all pairs" in main_row(many).remark
    told = json.loads(render(many.report, "json"))["tables"][0]["rows"][0]["difference"]["robust"]
    assert (told["above"], told["interval"]["high"]) == (1, 1)


def test_an_axis_of_the_matrix_is_no_part_of_a_strategy():
    first = side("a", LOW) + side("a", LOW, changes={"batch_size": 32}, start=10)
    found = compared(first, side("b", HIGH, start=20) + side("b", HIGH, changes={"batch_size": 16}, start=30))
    assert ["batch_size 32 against 16" in text for text in found.report.suspects] == [True]


def predictions(right, labels):
    """Stored predictions of ten classes in which `right` says where the label is taken."""
    predicted = np.where(right, labels, (labels + 1) % 10)
    probabilities = np.zeros((len(labels), 10), np.float32)
    return Predictions(np.arange(len(labels)), labels, predicted, probabilities, tuple("0123456789"))


def loader(stored):
    return lambda ids: {number: stored[number] for number in ids if number in stored}


def test_other_labels_are_not_comparable():
    labels = np.arange(100) % 10
    stored = {number: predictions(np.ones(100, bool), labels) for number in (1, 2, 3)}
    stored |= {number: predictions(np.ones(100, bool), labels[::-1].copy()) for number in (11, 12, 13)}
    found = compared(side("a", LOW), side("b", HIGH, start=11), predictions=loader(stored))
    assert found.verdict == "not comparable"
    assert "labels" in main_row(found).remark


def test_a_difference_has_an_interval_over_seeds_and_images_and_says_what_would_help():
    generator, labels = np.random.default_rng(0), np.arange(200) % 10
    stored = {number: predictions(generator.random(200) < 0.8, labels) for number in (1, 2, 3, 11, 12, 13)}
    found = compared(side("a", LOW), side("b", HIGH, start=11), predictions=loader(stored))
    document = json.loads(render(found.report, "json"))
    difference = document["tables"][0]["rows"][0]["difference"]
    assert difference["over_images"]["low"] < difference["over_images"]["high"]
    assert "points over seeds and test images (seeds " in difference["remark"]
    assert "would" in difference["remark"]


def test_one_seed_is_about_two_networks_and_never_better():
    labels = np.arange(100) % 10
    stored = {1: predictions(np.arange(100) < 50, labels), 11: predictions(np.arange(100) < 90, labels)}
    found = compared(side("a", (0.5,)), side("b", (0.9,), start=11), predictions=loader(stored))
    remark = main_row(found).remark
    assert "the second alone is right on 40, the first alone on 0" in remark
    assert "these two networks, not the methods" in remark
    assert found.verdict == "not resolved"
    two = compared(side("a", (0.5, 0.6)), side("b", (0.9, 0.8), start=11), predictions=loader(stored))
    assert "networks" not in main_row(two).remark


def test_a_comparison_of_survivors_is_marked_with_both_shares():
    found = compared(side("a", (0.8, 0.81, 0.79, 0.8, 0.82)), side("b", (0.9, 0.91, 0.92, None, None)))
    remark = main_row(found).remark
    assert remark.startswith("of the survivors alone")
    assert "3 of 5 (95 % interval 0.23 to 0.88)" in remark
    assert "Fisher's exact p = 0.444" in remark


@pytest.mark.parametrize("lost", [1, 2])
def test_losing_the_worst_seeds_gives_no_plain_better(lost):
    generator = np.random.default_rng(lost)
    plain = 0
    for a, b in generator.normal(0.8, 0.01, (200, 2, 5)):
        worst = np.argsort(b)[:lost]
        scores = [None if seed in worst else score for seed, score in enumerate(b)]
        found = main_row(compared(side("a", a), side("b", scores)))
        plain += found.cells["verdict"] == "better" and "survivors" not in found.remark
    assert plain / 200 <= 0.025


def test_below_six_pairs_the_row_says_on_what_it_rests():
    assert "rests on normality" in main_row(compared(side("a", LOW), side("b", HIGH))).remark
    six = [0.9 + 0.01 * seed for seed in range(6)]
    many = compared(side("a", six), side("b", [score + 0.03 + 0.001 * seed for seed, score in enumerate(six)]))
    assert "rests on normality" not in main_row(many).remark


def test_what_is_not_resolved_says_what_it_rules_out_and_what_it_could_have_shown():
    found = compared(side("a", (0.80, 0.82, 0.81)), side("b", (0.81, 0.80, 0.82)))
    assert found.verdict == "not resolved"
    assert "points either way is ruled out; n=3 would detect" in main_row(found).remark


def test_equivalence_is_written_with_its_margin_and_told_to_programs_as_a_word():
    close = [score + 0.0001 * seed for seed, score in enumerate(LOW)]
    found = compared(side("a", LOW), side("b", close), margin=0.005)
    assert found.verdict == "equivalent"
    assert "equivalent within ±0.50 points" in render(found.report, "markdown")
    document = json.loads(render(found.report, "json"))["tables"][0]["rows"][0]
    assert document["verdict"] == document["difference"]["verdict"] == "equivalent"
    assert document["difference"]["margin"] == 0.005


DIFFERENCE = {
    "difference", "mean", "low", "high", "half_width", "n", "p", "adjusted_p", "comparisons", "method", "margin",
    "verdict", "remark", "over_images",
}  # fmt: skip


def test_a_difference_has_all_that_its_contract_names():
    found = compared(side("a", LOW), side("b", HIGH))
    rows = json.loads(render(found.report, "json"))["tables"][0]["rows"]
    first = rows[0]["difference"]
    assert first.keys() >= DIFFERENCE
    assert first["difference"] == first["mean"]
    assert first["high"] - first["low"] == pytest.approx(2 * first["half_width"])
    assert {"verdict", "remark"} <= rows[0].keys()
    assert [each["verdict"] for each in rows] == ["better", None, None, None], "other metrics have no verdict"


# ---- families


VERSIONS = ("v1", "v2", "v3", "v4", "v5")


def progressions(scores):
    """Rows of a progression of five versions on each of several models, from scores [models, versions, seeds]."""
    return [
        row(
            version,
            seed,
            score,
            model=f"m{place}",
            execution_id=1000 * place + 10 * number + seed,
            changes={"dropout": number / 10},
        )
        for place, versions in enumerate(scores)
        for number, (version, seeds) in enumerate(zip(VERSIONS, versions, strict=True))
        for seed, score in enumerate(seeds)
    ]


def test_all_verdicts_of_a_report_on_test_accuracy_are_one_family():
    scores = np.random.default_rng(0).normal(0.8, 0.01, (3, 5, 3))
    spec = ReportSpec(progression=(VERSIONS,), baseline="v1")
    report = build_report(progressions(scores), [], spec)
    changes = [
        each.cells["change"] for table in report.tables if table.name == "progression" for each in table.rows[1:]
    ]
    # three progressions of four steps, and three further pairs with the baseline on each of the three models
    assert {each.comparisons for each in changes} == {21}
    assert any("Holm over 21" in note for note in report.notes)


@pytest.mark.parametrize(
    ("reports", "most"), [(25, 4), pytest.param(400, 28, marks=pytest.mark.exhaustive)], ids=["some", "many"]
)
def test_a_report_of_many_null_steps_rarely_has_any_false_verdict(reports, most):
    # at 5 % more than 28 of 400 come by chance once in 25 times
    generator, false = np.random.default_rng(1), 0
    for scores in generator.normal(0.8, 0.01, (reports, 20, 5, 5)):
        report = build_report(
            progressions(scores), [], ReportSpec(progression=(VERSIONS,)), ReportOptions(tables=("progression",))
        )
        false += any(each.cells["verdict"] in {"better", "worse"} for table in report.tables for each in table.rows)
    assert false <= most


# ---- the baseline


def test_the_summary_compares_with_the_baseline():
    report = build_report(side("a", LOW) + side("b", HIGH), [], ReportSpec(baseline="a"))
    first, second = report.tables[0].rows
    assert (first.cells["difference"], first.cells["verdict"]) == (None, None)
    assert second.cells["difference"].mean == pytest.approx(0.101)
    assert second.cells["verdict"] == "better"
    assert (
        build_report(side("a", LOW) + side("b", HIGH), [], None, ReportOptions(baseline="b"))
        .tables[0]
        .rows[0]
        .cells["verdict"]
        == "worse"
    )


def test_a_baseline_that_is_not_there_is_the_users_mistake():
    with pytest.raises(NotFoundError, match="baseline: expected a strategy that is shown"):
        build_report(side("a", LOW), [], None, ReportOptions(baseline="z"))


def test_a_metric_that_cannot_be_judged_is_the_users_mistake():
    with pytest.raises(UserError, match="metric: expected one of"):
        build_report(side("a", LOW), [], None, ReportOptions(metrics=("parameters",)))


def test_every_metric_that_the_database_has_a_column_for_can_be_judged():
    for name in TEST_METRICS:
        rows = [{**each, name: each["test_accuracy"]} for each in side("a", LOW) + side("b", HIGH)]
        report = build_report(rows, [], None, ReportOptions(metrics=(name,), baseline="a"))
        verdict = report.tables[0].rows[1].cells["verdict"]
        assert verdict == ("worse" if name in {"test_log_loss", "test_brier", "test_ece"} else "better")
        assert report.tables[0].rows[1].cells[name].n == 3


# ---- timings


def timed(strategy, starts, **columns):
    return [
        row(
            strategy,
            seed,
            0.9,
            execution_id=start,
            started_utc=f"2026-01-01T00:00:{start:02}Z",
            fit_seconds=5.0 + seed,
            **columns,
        )
        for seed, start in enumerate(starts)
    ]


@pytest.mark.parametrize(
    ("first", "second", "judged"),
    [((1, 3, 5), (2, 4, 6), True), ((1, 4, 5), (2, 3, 6), True), ((1, 2, 3), (4, 5, 6), False)],
)
def test_timings_are_judged_only_where_the_sides_took_turns(first, second, judged):
    how = judging(None, ("fit_seconds",), None)
    found = compare_selections(timed("a", first), timed("b", second), judging=how)
    seconds = next(each for each in found.report.tables[0].rows if each.cells["metric"] == "fit seconds")
    assert (seconds.cells["verdict"] is not None) == judged
    assert ("take turns" in seconds.remark) == (not judged)


def test_timings_of_two_runs_are_never_judged():
    how = judging(None, ("fit_seconds",), None)
    found = compare_selections(timed("a", (1, 3, 5), run_id=1), timed("b", (2, 4, 6), run_id=2), judging=how)
    assert next(e for e in found.report.tables[0].rows if e.cells["metric"] == "fit seconds").cells["verdict"] is None


# ---- gates


# ---- what is left out


# ---- lineage


def lineage(*, select=None, **of_parents):
    parents = side("scratch", (0.99,) * 3, dataset="low", **of_parents)
    changes = [{"weights": "parent", "parent_cell_id": each["cell_id"]} for each in parents]
    fine = [row("fine", seed, score, dataset="high", changes=changes[seed]) for seed, score in enumerate(HIGH)]
    rows = fine + side("scratch", LOW, dataset="high")
    report = build_report(rows if select else rows + parents, [], None, parents=parents)
    return " ".join(next(table for table in report.tables if table.name == "transfer").notes)


@pytest.mark.parametrize("select", [None, "strategy"])
def test_what_the_weights_cost_is_said_whether_their_cells_are_shown_or_not(select):
    text = lineage(select=select, digest="abcdef0123")
    assert "The weights come from low, simple_cnn, scratch: " in text
    assert "(digest abcdef01)" in text
    assert "6.23 s more (mean)" in text


def test_a_cost_is_never_quoted_from_disturbed_timings():
    assert "not known, because none of its timings is valid" in lineage(timing_valid=False)


def test_metrics_of_fractions_stay_fractions():
    report = build_report(side("a", (0.999, 0.99)), [], None)
    cell = report.tables[0].rows[0].cells["test_accuracy"]
    assert isinstance(TEST_ACCURACY, Metric)
    assert cell.high == 1
    assert "to 1)" in render(report, "markdown")


def test_losses_of_two_kinds_are_not_compared_and_the_cross_entropy_is():
    def focal(rows):
        specs = [json.loads(each["spec"]) for each in rows]
        changed = [{**spec, "stages": [{**spec["stages"][0], "loss": "focal"}]} for spec in specs]
        return [{**each, "spec": json.dumps(spec)} for each, spec in zip(rows, changed, strict=True)]

    sides = [side("a", LOW), focal(side("b", HIGH))]
    found = compare_selections(*sides, judging=judging(None, ["test_loss"], None))
    assert found.verdict == "not comparable"
    remarks = [each.remark for each in found.report.tables[0].rows if "loss" in each.cells["metric"]]
    assert any("not comparable: loss cross_entropy against focal; compare test_log_loss" in each for each in remarks)
    assert compared(*sides).verdict == "better"
    alike = [focal(side(name, scores)) for name, scores in (("a", LOW), ("b", HIGH))]
    assert compare_selections(*alike, judging=judging(None, ["test_loss"], None)).verdict != "not comparable"
