"""From rows to tables: what a report says, and what it never leaves out."""

from __future__ import annotations

import pytest

from benchmark.errors import NotFoundError, UserError
from benchmark.matrix.report_spec import ReportSpec, TransferSpec
from benchmark.reporting.comparing.compare import compare_selections
from benchmark.reporting.report import build_report
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Tally, letter
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import FORMATS, render
from tests.reporting_samples import GOLDEN, GOLDEN_FOLDER, SPEC, golden_text, left_out, planned, row, tour


def table(report, name, index=0):
    return [each for each in report.tables if each.name == name][index]


def cells(found, key):
    return [each.cells[key] for each in found.rows]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_report_of_the_sample_tour_looks_as_it_did(name):
    """After a wanted change: python -m tests.reporting_samples, and look at the difference."""
    assert golden_text(name) == (GOLDEN_FOLDER / name).read_text(encoding="utf-8")


def test_a_group_with_a_failed_seed_shows_what_it_has_and_why_one_is_missing():
    rows = [row(seed=0), row(seed=1), row(seed=2, test=None, status="failed", cause="oom", detail="killed")]
    summary = table(build_report(rows, [], None), "summary")
    assert cells(summary, "n") == [Tally(2, 3)]
    assert summary.rows[0].cells["test_accuracy"].n == 2
    assert summary.footnotes == ("seed 2 failed (oom): killed; success in 2 of 3 (95 % interval 0.21 to 0.94)",)
    assert "1 failed (oom)" in summary.notes[0]


def test_settings_that_vary_are_columns():
    rows = [row(seed=seed, changes={"batch_size": size, "epochs": 3}) for seed in (0, 1) for size in (32, 64)]
    summary = table(build_report(rows, [], None), "summary")
    assert cells(summary, "batch_size") == ["32", "64"]
    assert "setting_epochs" not in [column.key for column in summary.columns]


def test_planned_epochs_and_epochs_trained_are_two_columns():
    rows = [row(changes={"epochs": epochs}) for epochs in (3, 8)]
    summary = table(build_report(rows, [], None), "summary")
    assert cells(summary, "setting_epochs") == ["3", "8"]
    assert [column.key for column in summary.columns].count("epochs") == 1


def test_machines_are_never_blended():
    rows = [row(seed=0, machine="lab", run_id=2), row(seed=1, machine="home", run_id=1)]
    report = build_report(rows, [], None)
    assert report.machine == "lab"
    assert cells(table(report, "summary"), "n") == [Tally(1, 1)]
    assert any("home (1 cell)" in note for note in report.notes)
    assert build_report(rows, [], None, ReportOptions(machine="home")).machine == "home"


def test_what_the_last_run_planned_is_not_pending_on_another_machine():
    rows = [row(seed=0, machine="reference"), row(seed=1, machine="lab")]
    report = build_report(rows, planned(rows), None, ReportOptions(machine="reference", last_machine="lab"))
    assert cells(table(report, "summary"), "n") == [Tally(1, 1)]


def test_only_the_last_run_can_be_shown():
    rows = [row("old"), row("new")]
    report = build_report(rows, planned(rows[1:]), None, ReportOptions(only_run=True))
    assert cells(table(report, "summary"), "strategy") == ["new"]


def test_mixed_versions_are_said():
    rows = [row(seed=0, keras_version="3.14.0"), row(seed=1, keras_version="3.15.1")]
    assert any("keras_version (3.14.0, 3.15.1)" in note for note in build_report(rows, [], None).notes)


def test_that_one_backend_is_not_another_is_no_mixture_of_versions():
    rows = [
        row("scratch", seed, changes={"backend": backend}, backend_version=version)
        for backend, version in (("tensorflow", "2.21.0"), ("jax", "0.10.2"))
        for seed in range(2)
    ]
    assert not any("same conditions" in note for note in build_report(rows, [], None).notes)
    rows[0] = {**rows[0], "backend_version": "2.20.0"}
    assert "differ in backend_version (2.20.0, 2.21.0)." in " ".join(build_report(rows, [], None).notes)


def test_variables_that_chose_libraries_are_said_where_they_differ_and_devices_are_not():
    rows = [row(seed=0, device_name="cpu"), row(seed=1, device_name="NVIDIA H100")]
    assert not any("same conditions" in note for note in build_report(rows, [], None).notes)
    rows[1] = {**rows[1], "device_name": "NVIDIA H100, with LD_PRELOAD=/opt/fast.so"}
    notes = " ".join(build_report(rows, [], None).notes)
    assert "differ in libraries (LD_PRELOAD=/opt/fast.so, none preloaded)." in notes


def test_versions_are_taken_from_the_runs():
    rows = [row(seed=0, run_id=1), row(seed=1, run_id=2)]
    runs = [{"run_id": 1, "keras_version": "3.14.0"}, {"run_id": 2, "keras_version": "3.15.1"}]
    assert any("keras_version (3.14.0, 3.15.1)" in note for note in build_report(rows, [], None, runs=runs).notes)


def test_a_score_chosen_on_the_set_it_is_reported_on_is_said():
    notes = table(build_report([row()], [], None), "summary").notes
    assert any("chosen on the validation set" in note for note in notes)


def transfer_rows(fine=(0.92, 0.94, 0.91), scratch=(0.86, 0.87, 0.84), **changes):
    parents = [row("scratch", seed, 0.99, dataset="low") for seed in range(3)]
    rows = [row("scratch", seed, test, dataset="high") for seed, test in enumerate(scratch)]
    for seed, test in enumerate(fine):
        settings = {"weights": "parent", "parent_cell_id": parents[seed]["cell_id"], **changes}
        rows.append(row("from_low", seed, test, dataset="high", changes=settings))
    return parents + rows


SPEC_LOW = ReportSpec(transfer=(TransferSpec("from_low", "scratch", None, None),))


def test_transfer_has_the_metrics_as_rows():
    found = table(build_report(transfer_rows(), [], SPEC_LOW), "transfer")
    assert cells(found, "metric") == [
        "final epoch", "train accuracy", "validation accuracy", "test accuracy", "train loss", "validation loss", "seconds",
    ]  # fmt: skip
    test = found.rows[3].cells
    assert isinstance(test["fine_tuned"], Measurement)
    assert isinstance(test["difference"], Difference)
    assert test["difference"].method == "paired"
    assert test["difference"].mean == pytest.approx(0.2 / 3)
    assert test["verdict"] == "better"
    assert found.rows[4].cells["verdict"] is None, "test accuracy is the question; the others say why"
    options = ReportOptions(metrics=("train_loss",))
    judged = table(build_report(transfer_rows(), [], SPEC_LOW, options), "transfer")
    assert judged.rows[4].cells["verdict"] == "better", "a lower loss is better"
    assert judged.rows[3].cells["verdict"] is None
    assert found.about["dataset"] == "high"


def test_transfer_says_what_else_differs_and_what_the_parent_cost():
    found = table(build_report(transfer_rows(learning_rate=1e-4), [], SPEC_LOW), "transfer")
    text = " ".join(found.notes)
    assert "learning_rate 0.0001 against 0.001" in text
    assert "6.23 s more" in text


def test_without_a_report_section_transfer_is_found():
    report = build_report(transfer_rows(), [], ReportSpec())
    assert table(report, "transfer").about["scratch_strategy"] == "scratch"
    assert not [each for each in report.tables if each.name == "progression"]


def test_a_transfer_that_cannot_be_made_is_said():
    report = build_report([row()], [], SPEC_LOW)
    assert any("from_low against scratch" in note for note in report.notes)


def test_a_transfer_without_its_other_side_has_dashes_and_says_so():
    rows = [each for each in transfer_rows() if not (each["dataset"] == "high" and each["strategy"] == "scratch")]
    found = table(build_report(rows, [], SPEC_LOW), "transfer")
    assert set(cells(found, "scratch")) == {None}
    assert "not in this database" in found.notes[0]


def test_seeds_that_do_not_pair_are_compared_without_pairs_and_that_is_said():
    rows = transfer_rows()
    rows = [{**each, "seed": each["seed"] + 5} if each["strategy"] == "from_low" else each for each in rows]
    found = table(build_report(rows, [], SPEC_LOW), "transfer")
    assert found.rows[3].cells["difference"].method == "unpaired"
    assert any("Welch" in text for text in found.footnotes)


def test_transfer_matches_the_settings_that_are_axes():
    rows = []
    for threads in (1, 2):
        rows += [row("scratch", 0, 0.8 + threads / 100, changes={"threads": threads})]
        rows += [row("fine", 0, 0.9 + threads / 100, changes={"threads": threads, "weights": "imagenet"})]
    report = build_report(rows, [], ReportSpec(transfer=(TransferSpec("fine", "scratch", None, None),)))
    first, second = table(report, "transfer"), table(report, "transfer", 1)
    assert [each.rows[3].cells["scratch"].mean for each in (first, second)] == [0.8 + 1 / 100, 0.8 + 2 / 100]
    assert "threads 2" in second.title


VERSIONS = ReportSpec(progression=(("v1", "v2", "v10"),))


def version_rows(*scores):
    names = ("v1", "v2", "v10")
    return [
        row(name, seed, test, changes={"dropout": number / 10, "label": f"number {number}"})
        for number, (name, tests) in enumerate(zip(names, scores, strict=False))
        for seed, test in enumerate(tests)
    ]


def test_progression_compares_each_version_with_the_one_before():
    rows = version_rows((0.80, 0.81, 0.82), (0.90, 0.911, 0.921), (0.91, 0.90, 0.93))
    found = table(build_report(rows, [], VERSIONS), "progression")
    assert cells(found, "version") == ["v1", "v2", "v10"]
    assert cells(found, "label") == ["number 0", "number 1", "number 2"]
    assert cells(found, "verdict") == [None, "better", "not resolved"]
    assert found.rows[1].cells["change"].mean == pytest.approx(0.302 / 3)
    assert "v1 to v2 (+0.1007" in found.notes[0]
    assert "its lead over every other step is resolved too" in found.notes[0]
    assert "v1 to v2 changes dropout 0 to 0.1." in found.notes


def test_a_progression_that_shows_nothing_says_so():
    rows = version_rows((0.80, 0.85), (0.82, 0.86))
    note = table(build_report(rows, [], VERSIONS), "progression").notes[0]
    assert "not resolved: it may be chance" in note


def test_steps_that_gain_nothing_are_not_praised():
    rows = version_rows((0.80, 0.85), (0.79, 0.80), (0.7, 0.7))
    assert "None: no step" in table(build_report(rows, [], VERSIONS), "progression").notes[0]


def test_a_comparison_without_any_number_is_a_note():
    cells_left_out = [each for name in ("v1", "v2") for each in left_out("digits", "vgg16", name, "too small")]
    report = build_report(version_rows((0.8, 0.9), (0.9, 0.91)), cells_left_out, VERSIONS)
    assert [each.name for each in report.tables] == ["summary", "progression"]
    assert "Progression: digits, vgg16: no cell of it has a result." in report.notes


def test_a_version_that_is_missing_keeps_its_row():
    rows = [each for each in version_rows((0.8, 0.81), (0.9, 0.91), (0.9, 0.92)) if each["strategy"] != "v2"]
    found = table(build_report(rows, [], VERSIONS), "progression")
    assert cells(found, "n")[1] is None
    assert cells(found, "change") == [None, None, None]
    assert "no such cell in this database" in found.footnotes


def test_steps_are_corrected_for_their_number():
    rows = version_rows((0.80, 0.80, 0.80), (0.82, 0.83, 0.85), (0.82, 0.83, 0.85))
    found = table(build_report(rows, [], VERSIONS), "progression")
    assert found.rows[1].cells["change"].comparisons == 2


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    ("rows", "run_cells"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([], left_out("a", "b", "c", "impossible"), id="only left out"),
        pytest.param([], planned([row()]), id="only pending"),
        pytest.param([row(test=None, status="failed", cause="crashed")], [], id="only failures"),
        pytest.param([row(seed=s, test=None, status="diverged") for s in range(3)], [], id="all diverged"),
        pytest.param([row()], [], id="one seed"),
        pytest.param([row(test=None, status="running", epochs=3)], [], id="being written"),
        pytest.param([row(train_loss=float("nan"), val_loss=float("inf"))], [], id="not finite"),
        pytest.param([row(seed=s, spec=None) for s in range(2)], [], id="without the cell"),
        pytest.param(tour()[0][:5], tour()[1], id="half done"),
    ],
)
def test_every_state_of_a_database_gives_a_report(rows, run_cells, output_format):
    text = render(build_report(rows, run_cells, SPEC), output_format)
    assert text.endswith("\n")
    if not rows and not run_cells and output_format in {"table", "markdown", "html"}:
        assert text.count("No results yet") == 1
        assert "Summary" not in text, "a heading above nothing"


def test_only_the_tables_asked_for_are_made():
    rows, run_cells = tour()
    report = build_report(rows, run_cells, SPEC, ReportOptions(tables=("progression",)))
    assert {each.name for each in report.tables} == {"progression"}
    with pytest.raises(UserError, match="expected one of summary, transfer, progression"):
        build_report(rows, run_cells, SPEC, ReportOptions(tables=("progress",)))


def test_footnotes_are_lettered():
    assert [letter(position) for position in (0, 25, 26, 701, 702)] == ["a", "z", "aa", "zz", "aaa"]


def test_compare_pairs_by_seed_and_judges():
    a = [row("plain", seed, test) for seed, test in enumerate((0.80, 0.81, 0.82))]
    b = [row("better", seed, test) for seed, test in enumerate((0.90, 0.911, 0.922))]
    assert compare_selections(a, b).verdict == "better"
    assert compare_selections(b, a).verdict == "worse"
    assert compare_selections(a, a).verdict == "not comparable"


def test_compare_matches_datasets_and_judges_their_average():
    a = [row("plain", seed, 0.8 + seed / 100, dataset=name) for name in ("x", "y") for seed in range(3)]
    b = [row("better", seed, 0.9 + seed / 90, dataset=name) for name in ("y", "x") for seed in range(3)]
    found = compare_selections(a, b)
    rows = found.report.tables[0].rows
    assert [each.cells["a_cells"] for each in rows[:3]] == ["x, simple_cnn, plain", "y, simple_cnn, plain", "all 2"]
    assert found.verdict == "better"


def test_compare_of_nothing_names_the_side():
    with pytest.raises(NotFoundError, match="selection B matches no result"):
        compare_selections([row()], [])
    with pytest.raises(NotFoundError, match="agree in all but what is compared"):
        compare_selections(
            [row(dataset="x", model="m"), row(dataset="y", model="k")],
            [row(dataset="x", model="k"), row(dataset="y", model="m")],
        )


def test_compare_across_machines_says_so():
    a = [row(seed=seed, machine="lab") for seed in range(2)]
    b = [row(seed=seed, machine="home") for seed in range(2)]
    assert "B on home" in compare_selections(a, b).report.notes[0]
