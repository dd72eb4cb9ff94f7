"""Which executions count, and how cells become groups of seeds."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import cell_id_of
from benchmark.reporting.rows.code_versions import notes_on_versions
from benchmark.reporting.rows.flat_settings import describe, differing, settings_of
from benchmark.reporting.rows.grouping import group_cells, natural
from benchmark.reporting.rows.groups import varying_settings
from benchmark.reporting.rows.latest import choose_machine, latest_executions, note_on_other_machines
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY
from benchmark.reporting.rows.missing_results import name_seeds, note_on_timings, reasons
from benchmark.reporting.tables.shown import Shown
from benchmark.reporting.tables.summary import summary_table
from tests.reporting_samples import left_out, planned, row


def test_seeds_of_one_combination_are_one_group():
    groups = group_cells([row(seed=seed, test=0.9 + seed / 100) for seed in (2, 0, 1)])
    assert len(groups) == 1
    assert groups[0].values(TEST_ACCURACY) == {0: 0.9, 1: 0.91, 2: 0.92}


def test_cells_with_other_settings_are_never_averaged():
    rows = [row(seed=seed, changes={"batch_size": size}) for seed in (0, 1) for size in (32, 64)]
    groups = group_cells(rows)
    assert [len(group.completed) for group in groups] == [2, 2]
    assert varying_settings(groups) == ["batch_size"]


def test_a_setting_that_goes_with_the_strategy_does_not_vary():
    rows = [row("scratch"), row("careful", changes={"learning_rate": 1e-4})]
    assert varying_settings(group_cells(rows)) == []


def test_cells_that_share_even_their_seed_are_told_apart():
    """As after a raised training version: another id, the same settings."""
    rows = [row(test=0.8, salt="old", execution_id=1), row(test=0.9, salt="new", execution_id=2)]
    groups = group_cells(rows)
    assert len(groups) == 2
    versions = {group.settings["variant"]: group.values(TEST_ACCURACY) for group in groups}
    assert versions == {"newest": {0: 0.9}, "2, older": {0: 0.8}}
    assert varying_settings(groups) == ["variant"]


def test_a_seed_of_an_earlier_training_version_is_not_averaged_with_those_of_today():
    old = [row(test=0.8, seed=seed, salt="old", execution_id=seed) for seed in (0, 1)]
    new = row(test=0.9, seed=0, execution_id=5)
    record = json.loads(new["spec"])
    new["cell_id"] = cell_id_of(Cell.from_dict(record))
    versions = {group.settings["variant"]: group.values(TEST_ACCURACY) for group in group_cells([*old, new])}
    assert versions == {"newest": {0: 0.9}, "2, older": {0: 0.8, 1: 0.8}}


def coded(code, seed, execution_id, **changes):
    """A cell of a command whose files have this code."""
    command = changes.pop("command", ["python", "my train.py"])
    architecture = {"name": "script", "parameters": [], "code": code * 8, "command": command}
    return row(
        model="mine", seed=seed, salt=code, execution_id=execution_id, changes={"architecture": architecture, **changes}
    )


def test_versions_of_a_script_are_never_averaged_and_the_newest_is_named():
    """Also where not all seeds were run again."""
    rows = [coded("a1", 0, 1), coded("a1", 1, 2), coded("b2", 0, 3), coded("b2", 1, 4), coded("c3", 1, 5)]
    groups = group_cells(rows)
    assert {(group.settings["model_code"], *group.completed) for group in groups} == {
        ("a1a1a1a1", 0, 1),
        ("b2b2b2b2", 0, 1),
        ("c3c3c3c3", 1),
    }
    assert varying_settings(groups) == ["model_code"]
    assert groups[0].settings["command"] == "python 'my train.py'"
    (note,) = notes_on_versions(groups)
    assert note.endswith(
        "of digits mine scratch, the newest first: model_code c3c3c3c3; model_code b2b2b2b2; model_code a1a1a1a1."
    )


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["python", "train.py", "--lr", "{learning_rate}"], "python train.py --lr {learning_rate}"),
        (["sh", "-c", "echo 'a b'"], """sh -c 'echo '"'"'a b'"'"''"""),
        (["python", "train.py", "--words", *map(str, range(40))], r"python train\.py --words 0 1 2… [0-9a-f]{8}"),
    ],
)
def test_commands_are_shown_as_they_are_typed_and_long_ones_by_their_beginnings(command, shown):
    text = group_cells([coded("a1", 0, 1, command=command)])[0].settings["command"]
    assert text == shown or re.fullmatch(shown, text)
    assert len(text) <= 40


def test_one_note_names_all_whose_code_has_the_same_versions():
    rows = [
        row(strategy, seed, salt=code, execution_id=number, changes={"loss": "plugin:mine", "loss_code": code * 32})
        for number, code in enumerate(("a1", "b2"))
        for strategy in ("one", "two")
        for seed in (0, 1)
    ]
    (note,) = notes_on_versions(group_cells(rows))
    assert note == (
        "Versions of the code of digits simple_cnn one, digits simple_cnn two, the newest first: loss_code b2b2b2b2; loss_code a1a1a1a1."
    )


def test_code_under_other_names_is_no_version():
    rows = [coded("a1", 0, 1), coded("b2", 0, 2, batch_size=32), row(seed=0)]
    assert notes_on_versions(group_cells(rows)) == []


def test_children_of_different_parents_are_different_groups():
    parents = [row("one", 0), row("other", 0, changes={"epochs": 3})]
    children = [
        row("child", 0, changes={"weights": "parent", "parent_cell_id": parent["cell_id"]}) for parent in parents
    ]
    assert len([group for group in group_cells([*parents, *children]) if group.strategy == "child"]) == 2


def test_the_order_is_that_of_the_matrix():
    rows = [row(name, salt=name) for name in "bac"]
    matrix = planned([rows[2], rows[0], rows[1]])
    assert [group.strategy for group in group_cells(rows, matrix)] == ["c", "b", "a"]
    assert [group.strategy for group in group_cells(rows)] == ["a", "b", "c"]


def test_natural_order_counts():
    assert sorted(["v10", "v2", "v1"], key=natural) == ["v1", "v2", "v10"]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_names_can_be_ordered(names):
    assert len(sorted(names, key=natural)) == len(names)


@pytest.mark.parametrize("status", ["failed", "diverged", "blocked", "interrupted", "running", "pending", "skipped"])
def test_a_seed_without_result_is_kept_with_its_reason(status):
    groups = group_cells([row(seed=0), row(seed=1, test=None, status=status, cause=None, detail="why\nso")])
    assert groups[0].planned == 2
    assert reasons(groups[0]) == [f"seed 1 {status}: why so"]


def test_a_cause_is_said_when_it_says_more_than_the_status():
    bad = [row(seed=seed, test=None, status="failed", cause="timeout", detail="no progress") for seed in (0, 1)]
    bad.append(row(seed=2, test=None, status="diverged", cause="diverged"))
    assert reasons(group_cells(bad)[0]) == ["seeds 0 and 1 failed (timeout): no progress", "seed 2 diverged"]


def test_a_pending_seed_belongs_to_its_group():
    rows = [row(seed=seed) for seed in range(3)]
    groups = group_cells(rows[:2], planned(rows))
    assert len(groups) == 1
    assert reasons(groups[0]) == ["seed 2 pending: not started yet"]


def test_pending_cells_without_their_settings_find_the_one_group_they_can_belong_to():
    rows = [row(seed=seed) for seed in range(3)]
    cells = [{**cell, "spec": None, "epochs_planned": 8} for cell in planned(rows)]
    assert [group.planned for group in group_cells(rows[:2], cells)] == [3]


def test_pending_cells_that_fit_several_groups_stand_apart_and_none_is_lost():
    rows = [row(seed=seed, changes={"batch_size": size}) for size in (32, 64) for seed in range(2)]
    cells = [{**cell, "spec": None} for cell in planned(rows)]
    groups = group_cells([rows[0], rows[2]], cells)
    assert [group.planned for group in groups] == [1, 1, 2]
    assert reasons(groups[2]) == ["seed 1 (2 cells) pending: not started yet"]


def test_what_was_left_out_is_a_group_of_its_own():
    groups = group_cells([row()], left_out("digits", "vgg16", "scratch", "too small"))
    assert [group.model for group in groups] == ["simple_cnn", "vgg16"]
    assert reasons(groups[1]) == ["seeds 0-2 left out: too small"]


def test_left_out_settings_do_not_join_the_group_that_has_those_seeds():
    groups = group_cells([row(seed=0)], left_out("digits", "simple_cnn", "scratch", "no float16 on the cpu", [0]))
    assert [(len(group.completed), len(group.missing)) for group in groups] == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([3], "seed 3"), ([2, 0], "seeds 0 and 2"), ([0, 1, 2, 7], "seeds 0-2 and 7"), ([0, 1], "seeds 0 and 1")],
)
def test_seeds_are_named_shortly(seeds, text):
    assert name_seeds(seeds) == text


def test_timings_come_from_valid_executions_only():
    rows = [row(seed=0), row(seed=1, timing_valid=0), row(seed=2, resumed=True), row(seed=3, timing_valid=1)]
    groups = group_cells(rows)
    assert set(groups[0].values(FIT_SECONDS)) == {0, 3}
    assert note_on_timings(groups) == ["Timings leave out 2 of 4 results: 1 resumed, 1 disturbed."]


def test_on_a_busy_machine_seconds_are_marked_with_what_disturbed_them():
    busy = {"timing_valid": False, "detail": "timing disturbed: other programs used 1.3 cores"}
    table = summary_table(Shown(group_cells([row(seed=seed, **busy) for seed in range(2)])))
    (line,) = table.rows
    assert line.cells["fit_seconds"].n == 2
    assert [table.footnotes[mark] for mark in line.marks["fit_seconds"]] == [
        "no valid timing: disturbed: other programs used 1.3 cores"
    ]
    assert line.remark == "no valid timing: disturbed: other programs used 1.3 cores"
    assert not [note for note in table.notes if "Timings leave out" in note]


@pytest.mark.parametrize(
    ("train", "marks"), [("head", ["trains head alone: not the speed of training the whole network"]), ("all", [])]
)
def test_images_per_second_of_a_part_of_the_network_are_marked(train, marks):
    table = summary_table(Shown(group_cells([row(seed=seed, changes={"train": train}) for seed in range(2)])))
    assert [table.footnotes[mark] for mark in table.rows[0].marks.get("images_per_second", ())] == marks


def test_the_latest_execution_counts():
    rows = [row(test=0.9, execution_id=5), row(test=0.8, execution_id=2)]
    assert [each["test_accuracy"] for each in latest_executions(rows)] == [0.9]


def test_a_rerun_that_still_goes_on_does_not_hide_a_result():
    rows = [row(test=0.9, execution_id=1), row(test=None, status="running", execution_id=2)]
    assert latest_executions(rows)[0]["status"] == "completed"
    rows[1]["status"] = "failed"
    assert latest_executions(rows)[0]["status"] == "failed"


def test_the_machine_of_the_last_run_is_the_default():
    rows = [row(machine="old", run_id=1), row(machine="new", run_id=2)]
    assert choose_machine(rows, None, None) == "new"
    assert choose_machine(rows, None, "old") == "old"
    assert choose_machine(rows, "third", "old") == "third"
    assert choose_machine(rows, None, "never seen") == "new"
    assert choose_machine([], None, None) is None
    assert "old (1 cell)" in note_on_other_machines(rows, "new")[0]


def test_settings_of_a_row_without_its_cell_are_the_columns():
    assert settings_of({"batch_size": 32, "threads": None, "test_accuracy": 0.5}) == {"batch_size": 32}


def test_stages_that_differ_are_listed():
    spec = {**row()["spec"]} if isinstance(row()["spec"], dict) else __import__("json").loads(row()["spec"])
    spec["stages"] = [{**spec["stages"][0], "epochs": 3}, {**spec["stages"][0], "epochs": 2}]
    assert settings_of({"spec": spec})["epochs"] == [3, 2]
    assert describe([3, 2]) == "3 then 2"


def test_settings_are_described_as_one_would_write_them():
    assert describe([["flip", "horizontal"], ["rotation", 0.05]]) == "flip=horizontal, rotation=0.05"
    assert describe([]) == "none"
    assert describe(None) == "none"
    assert describe(True) == "on"
    assert describe({"monitor": "val_loss", "patience": 2}) == "monitor=val_loss, patience=2"
    assert describe(1e-05) == "1e-05"


def test_differing_settings_are_found_on_both_sides():
    assert differing({"a": 1, "b": [2]}, {"b": (2,), "c": 3}) == ["a", "c"]
