"""What a report and a comparison begin with: at most three sentences, in the words and numbers of their tables."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.comparing.compare import compare_selections
from benchmark.reporting.comparing.differences import Judging
from benchmark.reporting.report import build_report
from benchmark.reporting.rows.metrics import METRICS
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.reporting.writers.formats import FORMATS, render
from tests.reporting_samples import SPEC, left_out, planned, row, spec_of, tour

GAINS = (0.05, 0.04, -0.03, 0.001, 0.06, 0.07, 0.0)
NOISE = (0.0, 0.004, -0.003, 0.001)
"""What a seed adds; the second strategy takes them in another order."""


def numbered(rows):
    return [{**each, "execution_id": number} for number, each in enumerate(rows, start=1)]


def report_of(rows, spec=None, options=None, run_cells=()):
    return build_report(numbered(rows), run_cells, spec, options)


def answer_of(*arguments, **options):
    return report_of(*arguments, **options).answer


def transfers(gains, seeds=4):
    """A fine-tuned strategy and one from scratch on a dataset for each gain."""
    return [
        row(
            strategy,
            seed,
            0.8 + (gain + NOISE[seed - 1] if strategy == "fine" else NOISE[seed]),
            dataset=f"set{number}",
            changes={"weights": "imagenet" if strategy == "fine" else "none"},
        )
        for number, gain in enumerate(gains)
        for strategy in ("scratch", "fine")
        for seed in range(seeds)
    ]


def verdicts(report, name):
    return [
        each for table in report.tables if table.name == name for row in table.rows if (each := row.cells["verdict"])
    ]


def test_one_cell_is_told_with_its_number_and_without_an_interval():
    assert answer_of([row()]) == (
        "1 cell on machine lab: dataset digits; model simple_cnn; strategy scratch; seed 0.",
        "Test accuracy is 0.9500, n=1, so without an interval.",
    )


def test_the_seeds_of_one_group_have_their_mean():
    scope, mean = answer_of([row(seed=seed, test=0.9 + 0.01 * seed) for seed in range(3)])
    assert scope == "3 cells on machine lab: dataset digits; model simple_cnn; strategy scratch; seeds 0-2."
    assert mean == "Test accuracy is 0.910 ± 0.025, n=3."


def test_where_nothing_is_judged_no_winner_is_named():
    rows = [
        row("a", seed, 0.9 + 0.01 * seed + 0.001 * size, changes={"batch_size": size})
        for seed in (0, 1)
        for size in (8, 16, 32)
    ]
    scope, verdict, last = answer_of(rows)
    assert "batch sizes 8, 16 and 32" in scope
    assert verdict.startswith("Mean test accuracy is from 0.9")
    assert verdict.endswith("(batch_size 32).")
    assert last == "No row is judged against another."
    assert "`bench compare A B`" in last.at_terminal


def test_rows_without_a_value_are_not_among_those_that_have_the_mean():
    rows = [row(test=0.9, changes={"batch_size": size}) for size in (32, 64)]
    assert answer_of(rows)[1] == "Mean test accuracy is 0.9000, n=1, in both rows."
    rows.append(row(test=None, status="failed", cause="oom", changes={"batch_size": 128}))
    assert answer_of(rows)[1] == "Mean test accuracy is 0.9000, n=1, in both rows with a value."


def test_one_sentence_is_over_all_transfer_tables():
    report = report_of(transfers(GAINS))
    counts = Counter(verdicts(report, "transfer"))
    assert counts == {"better": 4, "worse": 1, "not resolved": 2}
    assert report.answer[1].startswith(
        "In test accuracy fine-tuning (fine) is better than training from scratch (scratch) in 4 of 7 comparisons (+0.0"
    )
    assert ", worse in 1 (set2: -0.03" in report.answer[1]
    assert report.answer[1].endswith(", and 2 are not resolved.")
    assert report.answer[2].startswith("Not resolved are set3 (+0.00")
    assert report.answer[2].at_terminal.endswith("`bench run --resolve scratch,fine` adds seeds until it is decided.")


def test_a_single_transfer_is_told_in_full():
    _, verdict, last = answer_of(transfers(GAINS[:1]))
    assert verdict == (
        "In test accuracy fine-tuning (fine) is better than training from scratch (scratch) (+0.0500 ± 0.0083, n=4)."
    )
    assert last == "The verdict rests on normality, which fewer than six seeds cannot show."


def test_a_difference_within_the_margin_is_equivalent_as_in_the_table():
    report = report_of(transfers((0.001,)), options=ReportOptions(margin=0.02))
    assert [str(each.word) for each in verdicts(report, "transfer")] == ["equivalent"]
    assert "is equivalent to training from scratch (scratch) within ±2.0 points (" in report.answer[1]


def test_the_steps_of_a_progression_are_counted_and_the_decided_one_is_named():
    rows, cells = tour()
    assert answer_of(rows, SPEC, run_cells=cells)[1].endswith(
        "a version is better than the one before it in 1 of 3 steps (v2 to v3: +0.0200 ± 0.0028, n=3), and 2 are not resolved."
    )


def test_cells_without_a_result_are_counted_by_what_became_of_them():
    bad = [row(seed=seed, test=None, status=status, cause=None) for seed, status in ((2, "running"), (3, "diverged"))]
    rows = [row(seed=0), row(seed=1), *bad]
    cells = [*planned(rows), *left_out("digits", "vgg16", "scratch", "too small")]
    assert answer_of(rows, run_cells=cells)[2].endswith(
        "5 of 7 cells have no result: 1 running, 1 diverged, 3 left out."
    )


def test_a_lost_seed_makes_the_verdict_one_of_survivors():
    rows = transfers((0.05,))
    rows[-1] = {**rows[-1], "status": "failed", "cause": "oom", "test_accuracy": None}
    assert (
        "where seeds were lost the verdict is of the survivors alone, which may flatter; 1 of 8" in answer_of(rows)[2]
    )


def test_an_empty_report_says_so_and_what_to_do_at_a_terminal():
    (said,) = answer_of([])
    assert (said, said.at_terminal) == ("No results yet.", "No results yet: `bench run` makes them.")


def test_cells_without_test_data_show_what_they_have():
    rows = [{**each, "test_accuracy": None, "test_loss": None} for each in transfers(GAINS[:2])]
    verdict = answer_of(rows)[1]
    assert verdict.startswith("No cell has a value of test accuracy; mean validation accuracy is from ")


def test_other_test_data_are_not_compared():
    verdict = answer_of([{**each, "data_fingerprint": each["strategy"]} for each in transfers(GAINS[:1])])[1]
    assert verdict.endswith(" are not comparable: other data_fingerprint scratch against fine.")


def test_the_metric_that_was_asked_for_decides():
    rows = [{**each, "test_macro_f1": each["test_accuracy"] - 0.02} for each in transfers(GAINS[:2])]
    verdict = answer_of(rows, options=ReportOptions(metrics=("test_macro_f1",)))[1]
    assert verdict.startswith(
        "In test macro f1 fine-tuning (fine) is better than training from scratch (scratch) in both "
    )


def test_seconds_from_different_runs_have_no_verdict_and_the_reason():
    verdict = answer_of(transfers(GAINS[:2]), options=ReportOptions(metrics=("fit_seconds",)))[1]
    assert "both comparisons" in verdict
    assert "have no verdict (the two sides did not take turns in one run" in verdict


def test_results_of_other_machines_are_left_out_of_it():
    rows = [row(seed=0, machine="lab", run_id=2), row(seed=1, machine="home", run_id=1)]
    assert answer_of(rows)[0].startswith("1 cell on machine lab alone:")


def test_where_no_cell_has_a_result_it_is_said_why_and_no_empty_column_is_shown():
    why = {"status": "failed", "cause": "oom", "detail": "the worker was killed."}
    rows = [row(name, seed, None, salt=name, **why) for name in ("plain", "wide") for seed in (0, 1)]
    report = report_of(rows, ReportSpec(baseline="plain"))
    assert report.answer[1:] == ("No cell has a result; all 4 failed (oom): the worker was killed.",)
    text = render(report, "table", width=80)
    assert "(1 of" not in text
    assert "accuracy" not in text
    assert "test_accuracy" in render(report, "csv")
    rows[0] |= {"cause": None, "status": "diverged", "detail": "the loss was NaN"}
    rows[1] |= {"detail": "too large"}
    second = report_of(rows).answer[1]
    assert second.startswith("No cell has a result; 1 diverged: the loss was NaN; 3 failed (oom), mostly: the worker")


def test_what_is_counted_as_not_resolved_is_not_listed_again():
    verdict, rest = answer_of(transfers((0.001, 0.0, 0.001)))[1:]
    assert "all 3 comparisons of fine-tuning (fine) with training from scratch (scratch) are not resolved (" in verdict
    assert verdict.endswith(", n=4).")
    assert rest.startswith("More seeds would help")


def test_a_note_names_the_sides_of_a_pair_by_what_tells_them_apart():
    a = [row("plain", seed, 0.9, changes={"dropout": 0.1}) for seed in range(3)]
    b = [row("wide", seed, 0.9, changes={"dropout": 0.2}) for seed in range(3)]
    assert "plain and wide differ in dropout 0.1 against 0.2." in compared(a, b).tables[0].notes
    b = [row("plain", seed, 0.9, changes={"dropout": 0.2}) for seed in range(3)]
    assert "A and B differ in dropout 0.1 against 0.2." in compared(a, b).tables[0].notes


def test_the_history_of_all_machines_is_said_to_be_of_all():
    rows = [row(seed=seed, machine=name, run_id=run) for run, name in enumerate(("lab", "home"), 1) for seed in (0, 1)]
    report = report_of(rows, options=ReportOptions(tables=("history",)))
    assert report.answer[0].startswith("4 cells on machines home and lab: dataset digits;")
    assert {each.cells["machine"] for each in report.tables[0].rows} == {"home", "lab"}
    assert (report.machine, "alone" in str(report.notes)) == (None, False)
    home = report_of(rows, options=ReportOptions(tables=("history",), machine="home"))
    assert home.answer[0].startswith("2 cells on machine home alone:")
    both = report_of(rows, options=ReportOptions(tables=("summary", "history")))
    assert both.answer[0].startswith("2 cells on machine home alone:")
    assert "The history has the results of machines home and lab." in both.tables[1].notes


@settings(max_examples=40)
@given(
    gains=st.lists(st.sampled_from([-0.05, 0.0, 0.001, 0.05]), min_size=1, max_size=5),
    seeds=st.integers(1, 4),
    lost=st.sets(st.integers(0, 12)),
    margin=st.sampled_from([None, 0.02]),
    baseline=st.booleans(),
)
def test_never_more_than_three_sentences_and_every_number_is_one_of_the_tables(gains, seeds, lost, margin, baseline):
    rows = transfers(gains, seeds)
    for place in lost & set(range(len(rows))):
        rows[place] = {**rows[place], "status": "failed", "cause": "oom", "test_accuracy": None}
    options = ReportOptions(margin=margin, baseline="scratch" if baseline else None)
    report = report_of(rows, options=options)
    assert 1 <= len(report.answer) <= 3
    assert all(re.fullmatch(r"[A-Z0-9][^\n]*\.", text) for text in report.answer)
    below = render(replace(report, answer=()), "table", width=300)
    for number in re.findall(r"[-+±]?\d+\.\d+(?: ± \d+\.\d+)?", " ".join(report.answer[1:])):
        assert number in below, number
    shown = {str(getattr(each, "word", each)) for name in ("summary", "transfer") for each in verdicts(report, name)}
    told = {word for word in ("better than", "worse", "equivalent", "not resolved") if word in report.answer[1]}
    assert {word.removesuffix(" than") for word in told - {"worse"}} <= shown


@pytest.mark.parametrize("output_format", [name for name in FORMATS if name != "csv"])
def test_every_format_begins_with_it_and_only_a_terminal_says_what_to_type(output_format):
    report = report_of(transfers(GAINS))
    text = " ".join(render(report, output_format, width=300).split())
    before, told, _ = text.partition("in 4 of 7 comparisons")
    assert told
    # of the page what a browser shows, and before it the contents
    assert "from scratch (n=4)" not in before
    assert ("--resolve" in text) == (output_format == "table")


def test_json_has_the_sentences_as_a_list():
    report = report_of(transfers(GAINS))
    assert json.loads(render(report, "json"))["answer"] == list(report.answer)


def compared(a, b, **options):
    rows = numbered([*a, *b])
    return compare_selections(rows[: len(a)], rows[len(a) :], **options).report


def sides(gains):
    rows = transfers(gains)
    return [each for each in rows if each["strategy"] == "scratch"], [
        each for each in rows if each["strategy"] == "fine"
    ]


def test_a_comparison_names_its_selections_and_judges_the_average_first():
    scope, verdict, *_ = compared(*sides(GAINS), selections=("strategy=scratch", "strategy=fine")).answer
    assert scope.startswith(
        "B (strategy=fine) is compared with A (strategy=scratch), 28 cells against as many, on machine lab:"
    )
    assert scope.endswith("7 datasets; model simple_cnn; seeds 0-3.")
    assert verdict.startswith("In test accuracy B is better than A over all 7 pairs (+0.0")
    assert "; B is better than A in 4 of 7 pairs" in verdict


def test_an_open_comparison_says_what_is_ruled_out_and_how_to_go_on():
    *_, last = compared(*sides((0.001,)), selections=("strategy=scratch", "strategy=fine")).answer
    assert re.fullmatch(r"More than [\d.]+ points either way is ruled out; more seeds would help\.", last)
    assert "`bench run --resolve strategy=scratch --resolve strategy=fine`" in last.at_terminal


@pytest.mark.parametrize("gains", [GAINS[:1], GAINS])
def test_a_comparison_is_one_table_of_80_columns(gains):
    lines = render(compared(*sides(gains)), "table", width=80).splitlines()
    assert lines.count("B against A") == 1
    assert not [line for line in lines if "(1 of" in line or len(line) > 80]
    (heading,) = [line for line in lines if line.endswith("B is")]
    assert "B - A (n=4)" in heading


@pytest.mark.parametrize("name", ["transfer", "progression", "published"])
def test_a_table_that_is_asked_for_in_vain_says_so(name):
    notes = report_of([row(), row(seed=1)], options=ReportOptions(tables=(name,))).notes
    assert (
        f"{name.capitalize()}: nothing to show here; `{name}` in [report] of the matrix says what is wanted." in notes
    )


def test_the_same_results_on_both_sides_are_called_that():
    a, _ = sides(GAINS[:2])
    _, verdict, *_ = compare_selections(numbered(a), numbered(a)).report.answer
    assert verdict == (
        "In test accuracy B cannot be compared with A over both pairs, because the results are the same on both sides; "
        "both pairs are the same on both sides."
    )


def test_timings_that_do_not_count_are_called_that():
    a, b = ([{**each, "timing_valid": 0} for each in side] for side in sides(GAINS[:1]))
    judging = Judging((METRICS["fit_seconds"],))
    assert "because a side has no valid timing" in compared(a, b, judging=judging).answer[1]
    options = ReportOptions(metrics=("fit_seconds",), tables=("summary",))
    assert answer_of([*a, *b], options=options)[1] == "No cell has a valid value of fit seconds."
    pareto = answer_of([*a, *b], options=ReportOptions(tables=("pareto",)))[1]
    assert pareto.startswith("No row is on the front: none has both a value of test accuracy and a valid value of fit ")


@pytest.mark.parametrize("more", [",seed=0|1|2|3", ",machine=lab", ",run=1"])
def test_what_resolve_cannot_take_is_not_advised(more):
    selections = (f"strategy=scratch{more}", f"strategy=fine{more}")
    *_, last = compared(*sides((0.001,)), selections=selections).answer
    assert last.endswith("more seeds would help.")
    assert "--resolve" not in last.at_terminal


def test_other_machines_that_both_sides_have_are_named_once():
    a, b = sides(GAINS[:1])
    a, b = ([*side, *({**each, "machine": "home"} for each in side)] for side in (a, b))
    notes = [note for note in compared(a, b, machine="lab").notes if "alone" in note]
    assert [note.partition(":")[0] for note in notes] == ["A and B"]


def test_programs_get_all_columns_of_a_comparison():
    (table,) = json.loads(render(compared(*sides(GAINS[:2])), "json"))["tables"]
    keys = ["metric", "a_cells", "b_cells", "a", "b", "difference", "p", "verdict"]
    assert [column["key"] for column in table["columns"]] == keys
    assert all(list(each) == [*keys, "kind", "remark"] for each in table["rows"])


def test_pairs_are_named_by_what_differs_between_them():
    """Also where a setting that varies is unknown to some of the groups."""
    a = [row("plain", seed, changes={"dropout": share}) for share in (0.1, 0.2) for seed in range(3)]
    bare = spec_of("digits", "x", "plain", 0, {}) | {"architecture": {"name": "x", "parameters": []}}
    a += [{**row("plain", seed, model="x"), "spec": json.dumps({**bare, "seed": seed})} for seed in range(3)]
    b = [{**each, "strategy": "wide", "cell_id": f"b{each['cell_id']}"} for each in a]
    (table,) = compared(a, b).tables
    assert [each.cells["pair"] for each in table.rows if each.cells["metric"] == "test accuracy"] == [
        "simple_cnn, dropout 0.1", "simple_cnn, dropout 0.2", "x, dropout none", "all 3",
    ]  # fmt: skip


def test_what_all_pairs_differ_in_is_said_once():
    a = [row("plain", seed, model=model) for model in ("x", "y") for seed in range(3)]
    b = [row("wide", seed, 0.96, model=model, changes={"batch_size": 32}) for model in ("x", "y") for seed in range(3)]
    (table,) = compared(a, b).tables
    assert [note for note in table.notes if "batch_size" in note] == ["All pairs differ in batch_size 64 against 32."]


def test_a_note_that_all_tables_of_a_kind_have_stands_once():
    text = render(report_of(transfers(GAINS)), "markdown")
    assert text.count("rests on normality") == 2  # in the answer, and as a note on every verdict
    assert text.count("Fine-tuned is fine; from scratch is scratch.") == 1
    assert "- Transfer, all 7 tables: Fine-tuned is fine; from scratch is scratch." in text


def test_a_footnote_of_some_verdicts_stays_with_them():
    rows = [each for each in transfers(GAINS[:2]) if each["dataset"] == "set0" or each["seed"] == 0]
    text = render(report_of(rows), "markdown")
    assert "(a) rests on normality" in text
    assert "Every verdict" not in text


TYPED = ("see --machine", "bench forget --undo", "bench run --rerun", "`bench run`", "`bench compare")


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_can_be_typed_stands_at_a_terminal_and_among_the_notes_of_json_alone(output_format):
    rows = [row(seed=0), row("other", seed=1, changes={"dropout": 0.4}), row(seed=2, forgotten=1), row(machine="home")]
    reports = [
        report_of(rows, options=ReportOptions(machine="lab", tables=tables)) for tables in (("summary",), ("classes",))
    ]
    text = " ".join("".join(render(each, output_format, width=200) for each in [*reports, report_of([])]).split())
    expected = {"table": TYPED, "json": TYPED[:3]}.get(output_format, ())
    assert [each for each in TYPED if each in text] == list(expected)


@pytest.mark.parametrize("name", ["classes", "confusion", "calibration"])
def test_no_run_is_advised_for_predictions_that_images_with_several_labels_cannot_have(name):
    made = row()
    spec = json.loads(made["spec"]) if isinstance(made["spec"], str) else made["spec"]
    several = {**made, "spec": json.dumps({**spec, "data": {**spec["data"], "multi_label": True}})}
    notes = report_of([several], options=ReportOptions(tables=(name,))).notes
    assert "1 of 1 results are of images with several labels, and this table speaks of one." in notes
    assert not any("have no test predictions" in note for note in notes)
