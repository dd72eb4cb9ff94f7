from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmark.reporting.rows.phases import bottleneck, estimated_phases, in_words, note_on_phases, phases_of


def epoch(number, *, step=2.0, validation=0.5, stage=1):
    return {
        "stage": stage, "epoch": number, "traced": step > 2, "input_seconds": 0.1, "step_seconds": step,
        "validation_seconds": validation, "checkpoint_seconds": 0.05,
    }  # fmt: skip


EXECUTION = {"setup_seconds": 0.5, "evaluate_seconds": 0.25, "total_seconds": 14.0}


def test_what_a_traced_epoch_takes_longer_is_tracing():
    found = phases_of(EXECUTION, [epoch(1, step=5.0, validation=1.0), *(epoch(number) for number in (2, 3, 4))])
    assert found["tracing"] == pytest.approx(3.0 + 0.5)
    assert found["steps"] == pytest.approx(8.0)
    assert found["validation"] == pytest.approx(2.0)
    assert found["input"] == pytest.approx(0.4)
    assert sum(found.values()) == pytest.approx(14.0 + found["rest"] - (14.0 - sum(found.values()) + found["rest"]))
    assert bottleneck(found) == "training steps"


def test_what_the_first_epoch_of_a_command_takes_longer_is_its_start():
    epochs = [epoch(1, step=5.0), epoch(2)]
    found = phases_of({**EXECUTION, "framework": "script"}, epochs)
    assert (found["start"], found["tracing"]) == (pytest.approx(3.5), 0)
    found = estimated_phases({**ROW, "framework": "script"})
    assert (found["start"], found["tracing"]) == (pytest.approx(4.5), 0)


def test_each_stage_is_traced_anew():
    epochs = [epoch(1, step=5.0), epoch(2), epoch(3, step=9.0, stage=2), epoch(4, stage=2)]
    assert phases_of(EXECUTION, epochs)["tracing"] == pytest.approx(10.0)


def test_a_single_epoch_does_not_tell_tracing_from_steps():
    assert phases_of(EXECUTION, [epoch(1, step=5.0)])["steps"] == 5.0
    assert phases_of(EXECUTION, []) == {}


ROW = {
    "setup_seconds": 0.5, "evaluate_seconds": 0.5, "total_seconds": 20.0, "fit_seconds": 16.0,
    "first_epoch_seconds": 7.0, "epochs": 4, "images_per_second": 500.0, "train_examples": 1000,
}  # fmt: skip


def test_columns_of_a_result_tell_about_the_same():
    found = estimated_phases(ROW)
    assert found == pytest.approx(
        {"start": 0.5, "tracing": 4.0, "steps": 8.0, "validation": 4.0, "evaluation": 0.5, "rest": 3.0}
    )
    assert estimated_phases({**ROW, "total_seconds": None}) == {}


def test_epochs_that_another_cell_trained_count_as_the_own_ones():
    ours = {**ROW, "total_seconds": 8.0, "shared_seconds": 12.0}
    assert estimated_phases(ours) == estimated_phases(ROW)
    epochs = [epoch(1, step=5.0), epoch(2)]
    assert phases_of({**EXECUTION, "total_seconds": 6.0, "shared_seconds": 8.0}, epochs) == phases_of(EXECUTION, epochs)


def test_words_begin_with_the_bottleneck_and_leave_out_what_is_small():
    assert in_words({"steps": 60.0, "tracing": 39.9, "input": 0.1}) == "training steps 60 %, tracing 40 %"


def group(model, **changes):
    return SimpleNamespace(model=model, cells=[{**ROW, **changes}])


def test_the_note_names_models_with_another_bottleneck():
    (note,) = note_on_phases([*[group("large")] * 4, group("small", first_epoch_seconds=15.0)])
    assert note.startswith("Where the time went, 100 s of work in 5 cells: training steps ")
    assert note.endswith("Most of small is tracing.")
    assert note_on_phases([group("x", total_seconds=None)]) == []


def test_the_note_says_what_sharing_saved():
    (note,) = note_on_phases([group("m"), group("m", total_seconds=8.0, shared_seconds=12.0)])
    assert note.startswith("Where the time went, 40 s of work in 2 cells: ")
    assert note.endswith(" 12 s of that were saved: another cell had trained these stages.")
