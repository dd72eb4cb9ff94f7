"""What the recorder promises, held on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from results_samples import (
    EXITED,
    FACTS,
    MACHINE,
    begin,
    cell,
    complete,
    epoch,
    only,
    run_cell,
    set_up,
)

from benchmark.events import (
    ArtifactWritten,
    CheckpointFailed,
    Completed,
    Diverged,
    Evaluated,
    Failed,
    Progress,
    ProtocolError,
    StagesTaken,
    StageStarted,
)
from benchmark.matrix.cell import Weights
from benchmark.matrix.plan import LeftOut
from benchmark.results.care.check import check_database
from benchmark.results.read import queries, runs
from benchmark.results.read.cell_states import recorded
from benchmark.results.write.recorder import Recorder

LEFT_OUT = LeftOut("mnist", "vgg16", "scratch", 0, "vgg16 needs images of 32 pixels; set image_size = 32")


class TestRecording:
    def test_a_completed_cell_has_its_results(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell(), epochs=4)
        recorder.finish_run(run_id, "completed", 0)
        assert (start.number, start.earlier_attempt_ids) == (1, ())
        row = only(database)
        expected = {
            "cell_id": cell().cell_id,
            "run_id": run_id,
            "run_name": "tour",
            "machine": MACHINE,
            "status": "completed",
            "cause": None,
            "epochs": 4,
            "best_epoch": 4,
            "train_accuracy": 0.54,
            "val_loss": 1.1 / 4,
            "test_accuracy": 0.9,
            "test_loss": 0.3,
            "parameters": 225_034,
            "train_examples": 1293,
            "fit_seconds": 4.0,
            "total_seconds": 9.0,
            "first_epoch_seconds": 1.0,
            "evaluate_seconds": 0.2,
            "images_per_second": pytest.approx(2000.0),
            "peak_rss_bytes": 300_000_000,
            "timing_valid": True,
            "resumed": False,
            "package_version": "1.2.3",
            "git_commit": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["started_utc"] <= row["finished_utc"]
        assert len(row["digest"]) == 64

    def test_the_kept_metrics_are_those_of_the_epoch_whose_weights_were_kept(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        for number in range(1, 5):
            recorder.record(start.attempt_id, epoch(number, improved=number <= 2))
        assert only(database)["best_epoch"] == 2
        complete(recorder, start.attempt_id, 4, best=2)
        row = only(database)
        assert (row["best_epoch"], row["epochs"], row["train_accuracy"]) == (2, 4, 0.52)

    def test_a_cell_that_keeps_its_last_weights_shows_its_last_epoch(self, database):
        last = cell(keep="last")
        recorder, run_id = begin(database, [last])
        start = recorder.start_attempt(run_id, last.cell_id, MACHINE)
        for number in range(1, 5):
            recorder.record(start.attempt_id, epoch(number, improved=number == 1))
        assert only(database)["best_epoch"] == 4

    def test_a_running_cell_shows_what_is_known(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        recorder.record(start.attempt_id, StageStarted(1, 5, 10))
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, improved=False))
        recorder.record(start.attempt_id, Progress(1, 3, 7, 20))
        row = only(database)
        assert (row["status"], row["cause"], row["epochs"], row["best_epoch"]) == ("running", None, 2, 1)
        assert (row["fit_seconds"], row["parameters"], row["test_accuracy"]) == (2.0, 225_034, None)
        assert row["timing_valid"] == 0

    def test_what_became_of_features_is_shown_and_their_seconds_are_part_of_fitting(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        assert only(database)["features"] is None
        recorder.record(start.attempt_id, StageStarted(1, 5, 10, "reused", 0.25, 8.0))
        recorder.record(start.attempt_id, epoch(1))
        shown = ("features", "features_seconds", "features_alone_seconds", "fit_seconds")
        assert tuple(only(database)[name] for name in shown) == ("reused", 0.25, 8.0, 1.25)
        recorder.finish_attempt(start.attempt_id, state="failed")
        assert tuple(only(database)[name] for name in shown) == ("reused", 0.25, 8.0, 1.25)

    def test_what_another_cell_trained_is_shown_until_the_cell_trains_it_itself(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        assert only(database)["shared_epochs"] is None
        recorder.record(start.attempt_id, StagesTaken(1))
        for number in (1, 2):
            recorder.record(start.attempt_id, epoch(number, replayed=True))
        recorder.record(start.attempt_id, StageStarted(2, 5, 10, "none", 0.0, 0.0, 2, 2.0))
        shown = ("shared_epochs", "shared_seconds", "fit_seconds", "epochs", "resumed")
        assert tuple(only(database)[name] for name in shown) == (2, 2.0, 2.0, 2, False)
        recorder.finish_attempt(start.attempt_id, state="crashed", will_retry=True)
        again = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(again.attempt_id, StageStarted(1, 5, 10))
        assert tuple(only(database)[name] for name in shown) == (0, 0.0, 2.0, 2, False)

    @pytest.mark.parametrize(
        ("state", "will_retry", "status", "cause"),
        [
            ("failed", False, "failed", "failed"),
            ("crashed", False, "failed", "crashed"),
            ("crashed", True, "pending", "crashed"),
            ("oom", False, "failed", "oom"),
            ("timeout", False, "failed", "timeout"),
            ("data_error", False, "failed", "data_error"),
            ("device_lost", False, "failed", "device_lost"),
            ("protocol", False, "failed", "protocol"),
            ("diverged", False, "diverged", "diverged"),
            ("interrupted", False, "interrupted", "interrupted"),
            ("abandoned", False, "interrupted", "abandoned"),
        ],
    )
    def test_each_end_of_an_attempt_has_its_status_and_cause(self, database, state, will_retry, status, cause):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, traced=False))
        assert recorder.finish_attempt(start.attempt_id, state=state, detail="so", will_retry=will_retry)
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == (status, cause, "so")
        assert (row["epochs"], row["fit_seconds"], row["timing_valid"]) == (2, 2.0, False)
        assert row["images_per_second"] == pytest.approx(2000.0)
        assert (row["finished_utc"] is None) == (status in {"pending", "interrupted"})
        (found,) = queries.cell_detail(database, cell().cell_id).attempts
        assert (found["state"], found["last_epoch"]) == (state, 2)

    def test_an_exception_is_kept_with_its_traceback_and_the_end_of_the_log(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(
            run_id, cell().cell_id, MACHINE, isolation="fork", cores=(0, 3), neighbours=1, boot_id="b"
        )
        set_up(recorder, start.attempt_id)
        recorder.record(start.attempt_id, CheckpointFailed(2, "no space left"))
        error = Failed("failed", "ValueError", "bad \0 shape \ud800", "Traceback …\nValueError")
        ended = replace(EXITED, exit_code=1)
        recorder.finish_attempt(start.attempt_id, state="failed", exited=ended, error=error, log_tail="x\0y\udcffz")
        (found,) = queries.cell_detail(database, cell().cell_id).attempts
        expected = {
            "state": "failed",
            "detail": "checkpoint_failed at epoch 2: no space left; ValueError: bad \ufffd shape ?",
            "isolation": "fork",
            "cores": "0 3",
            "gpu": None,
            "neighbours": 1,
            "boot_id": "b",
            "guardian_pid": 101,
            "worker_pid": 102,
            "worker_start_ticks": 7777,
            "backend_version": "2.21",
            "device_name": "CPU",
            "exit_code": 1,
            "signal": 0,
            "error_type": "ValueError",
            "traceback": "Traceback …\nValueError",
            "log_tail": "x\ufffdy?z",
            "user_seconds": 2.5,
            "last_epoch": None,
        }
        assert {name: found[name] for name in expected} == expected
        assert only(database)["detail"] == expected["detail"]

    def test_a_diverged_cell_keeps_its_last_epoch_with_its_nan(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, train_loss=math.nan, val_loss=math.inf, improved=False))
        recorder.record(start.attempt_id, Diverged(2, 7))
        recorder.finish_attempt(start.attempt_id, state="diverged")
        row = only(database)
        assert (row["status"], row["detail"]) == ("diverged", "the loss was not finite in epoch 2, batch 7")
        first, last = queries.history(database, [row["execution_id"]])
        assert math.isnan(last["train_loss"])
        assert last["val_loss"] == math.inf
        assert first["train_loss"] == 1.0
        assert len(row["digest"]) == 64

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, -0.0, 0.1 + 0.2])
    def test_every_float_survives_the_round_trip(self, database, value):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1, train_loss=value, val_accuracy=None))
        recorder.record(start.attempt_id, Evaluated(0.5, value, 1, 0.1))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(start.attempt_id, state="completed")
        row = only(database)
        (told,) = queries.history(database, [row["execution_id"]])
        assert repr(row["test_loss"]) == repr(row["train_loss"]) == repr(told["train_loss"]) == repr(value + 0.0)
        assert told["val_accuracy"] is None
        assert row["val_accuracy"] is None
        assert check_database(database, None) == []

    def test_short_epochs_wait_for_each_other_and_no_longer_than_they_may(self, database):
        clock = [0.0]
        recorder = Recorder(database, monotonic=lambda: clock[0])
        run_id = recorder.begin_run(FACTS)
        recorder.register(run_id, [cell()], [], set())
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        assert recorder.seconds_to_flush() is None
        recorder.record(start.attempt_id, epoch(1, seconds=0.01))
        clock[0] = 0.04
        recorder.record(start.attempt_id, epoch(2, seconds=0.01))
        assert only(database)["epochs"] is None
        assert recorder.seconds_to_flush() == pytest.approx(0.06)
        recorder.flush(due_only=True)
        assert only(database)["epochs"] is None
        clock[0] = 0.11
        recorder.flush(due_only=True)
        assert only(database)["epochs"] == 2
        recorder.record(start.attempt_id, epoch(3, seconds=0.01))
        recorder.flush()
        assert only(database)["epochs"] == 3
        for number in range(4, 260):
            recorder.record(start.attempt_id, epoch(number, seconds=0.01))
        assert only(database)["epochs"] == 259
        recorder.record(start.attempt_id, epoch(260, seconds=0.01))
        recorder.record(start.attempt_id, epoch(261, seconds=0.06))
        assert only(database)["epochs"] == 261
        recorder.record(start.attempt_id, epoch(262, seconds=0.01))
        recorder.finish_attempt(start.attempt_id, state="failed")
        assert only(database)["epochs"] == 262

    def test_artifacts_are_kept_by_paths_made_of_ids(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, ArtifactWritten("weights", "w.npz", "a" * 64, 5))
        recorder.record(start.attempt_id, ArtifactWritten("weights", "w.npz", "b" * 64, 6))
        for name in ("../x", "/etc/passwd", "", "a/../../b", "x\0y"):
            with pytest.raises(ProtocolError, match="inside the attempt's folder"):
                recorder.record(start.attempt_id, ArtifactWritten("figure", name, "c" * 64, 5))
        (found,) = queries.cell_detail(database, cell().cell_id).artifacts
        assert found["path"] == f"{cell().cell_id}/{start.attempt_id}/w.npz"
        assert (found["sha256"], found["size_bytes"]) == ("b" * 64, 6)

    def test_a_late_word_of_an_ended_attempt_changes_nothing_and_is_logged(self, database, caplog):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        before = queries.cell_detail(database, cell().cell_id)
        recorder.record(start.attempt_id, epoch(4))
        assert not recorder.finish_attempt(start.attempt_id, state="failed")
        assert queries.cell_detail(database, cell().cell_id) == before
        assert "late EpochFinished was not recorded" in caplog.text

    def test_a_replaced_attempt_writes_nothing_more(self, database, caplog):
        old, run_id = begin(database, [cell()])
        start = old.start_attempt(run_id, cell().cell_id, MACHINE)
        old.record(start.attempt_id, epoch(1))
        new, new_run = begin(database, [cell()])
        again = new.start_attempt(new_run, cell().cell_id, MACHINE)
        new.record(again.attempt_id, epoch(1))
        before = queries.cell_detail(database, cell().cell_id)
        caplog.clear()
        old.record(start.attempt_id, epoch(2, train_loss=77.0))
        old.record(start.attempt_id, Evaluated(0.1, 9.0, 1, 0.1))
        set_up(old, start.attempt_id)
        assert not old.finish_attempt(start.attempt_id, state="completed")
        assert queries.cell_detail(database, cell().cell_id) == before
        assert "no longer the running one; 1 late epochs were not recorded" in caplog.text


class TestCells:
    def test_the_same_cell_keeps_one_row_and_takes_the_newest_names(self, database):
        begin(database, [cell(), cell(1)])
        begin(
            database,
            [cell(strategy="plain", strategy_label="Plain"), cell(2)],
            left_out=[LEFT_OUT],
            reused={cell(2).cell_id},
        )
        found = queries.cell_detail(database, cell().cell_id).cell
        assert (found["strategy"], found["strategy_label"], found["first_run_id"]) == ("plain", "Plain", 1)
        assert '"strategy": "plain"' in found["spec"]
        assert [(row["outcome"], row["strategy"]) for row in runs.run_cells(database, 1)] == [
            ("planned", "scratch"),
            ("planned", "scratch"),
        ]
        rows = runs.run_cells(database, 2)
        assert [(row["outcome"], row["status"]) for row in rows] == [
            ("planned", "pending"),
            ("reused", "pending"),
            ("left_out", "skipped"),
        ]
        assert rows[2]["reason"] == LEFT_OUT.reason
        assert rows[2]["cell_id"] is None

    def test_a_cell_can_be_read_back_from_its_row(self, database):
        import json

        one = cell(5, weights=Weights("parent", None, cell().cell_id), device="gpu:1", dataset="naïve 😀 'x")
        begin(database, [one])
        found = queries.cell_detail(database, one.cell_id).cell
        assert type(one).from_dict(json.loads(found["spec"])) == one
        assert found["parent_cell_id"] == cell().cell_id
        assert found["dataset"] == one.dataset

    def test_blocked_cells_are_entered_once_and_go_on_when_they_can(self, database):
        parent, child = cell(0), cell(1, weights=Weights("parent", None, cell(0).cell_id))
        recorder, run_id = begin(database, [parent, child])
        recorder.block(run_id, child, MACHINE, "its parent did not complete")
        recorder.block(run_id, child, MACHINE, "its parent failed: oom")
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == ("blocked", "parent", "its parent failed: oom")
        assert (row["epochs"], row["started_utc"], row["parent_cell_id"]) == (None, None, parent.cell_id)
        run_cell(recorder, run_id, child)
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == ("completed", None, None)
        recorder.block(run_id, child, MACHINE, "its parent did not complete")
        assert [row["status"] for row in queries.results(database)] == ["completed", "blocked"]

    def test_the_scheduler_learns_what_is_done(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1), cell(2)])
        start = run_cell(recorder, run_id, cell(0))
        failed = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(failed.attempt_id, state="crashed", will_retry=True)
        failed = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(failed.attempt_id, state="crashed", detail="SIGSEGV")
        states = recorded(database, MACHINE).states
        assert states.keys() == {cell(0).cell_id, cell(1).cell_id}
        done, broken = states[cell(0).cell_id], states[cell(1).cell_id]
        assert (done.status, done.data_fingerprint, done.attempts) == ("completed", "f" * 64, 1)
        assert [(file.kind, file.path) for file in done.artifacts] == [
            ("weights", f"{cell(0).cell_id}/{start.attempt_id}/weights.npz")
        ]
        assert (broken.status, broken.cause, broken.detail, broken.attempts) == ("failed", "crashed", "SIGSEGV", 2)
