"""What the recorder promises when an attempt goes on where an earlier one ended, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import logging

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
    Resumed,
)
from benchmark.results.read import queries, runs
from benchmark.results.read.cell_states import recorded
from benchmark.results.store.database import open_database
from benchmark.results.write.recorder import Recorder


class TestResuming:
    def interrupted(self, database, epochs=3, state="interrupted", **options):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        for number in range(1, epochs + 1):
            recorder.record(start.attempt_id, epoch(number))
        recorder.finish_attempt(start.attempt_id, state=state, exited=EXITED, **options)
        recorder.finish_run(run_id, "interrupted", 130)
        return start

    def resumed(self, database, first, *, replayed=2, epochs=5, seconds=4.0):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        if replayed:
            recorder.record(start.attempt_id, Resumed(replayed))
        for number in range(1, epochs + 1):
            recorder.record(start.attempt_id, epoch(number, replayed=number <= replayed, seconds=seconds))
        complete(recorder, start.attempt_id, epochs, seconds=20.0)
        return start

    def digest_of_an_undisturbed_run(self, target):
        with open_database(target, mode="write") as database:
            recorder, run_id = begin(database, [cell()])
            run_cell(recorder, run_id, cell(), epochs=5)
            return only(database)["digest"]

    def test_a_resumed_cell_goes_on_in_its_execution_to_the_same_digest(self, database, tmp_path):
        first = self.interrupted(database)
        second = self.resumed(database, first)
        assert second.execution_id == first.execution_id
        assert (second.number, second.earlier_attempt_ids) == (2, (first.attempt_id,))
        row = only(database)
        assert (row["status"], row["epochs"], row["resumed"], row["timing_valid"]) == ("completed", 5, True, False)
        assert row["digest"] == self.digest_of_an_undisturbed_run(tmp_path / "other.sqlite")
        told = queries.history(database, [row["execution_id"]])
        assert [one["epoch"] for one in told] == [1, 2, 3, 4, 5]
        assert [one["run_id"] for one in told] == [1, 1, 2, 2, 2]
        assert [one["seconds"] for one in told] == [1.0, 1.0, 4.0, 4.0, 4.0]
        (before, after) = queries.cell_detail(database, cell().cell_id).attempts
        assert row["total_seconds"] == before["total_seconds"] + after["total_seconds"]
        assert (after["resumed_from_epoch"], after["last_epoch"]) == (2, 5)

    def test_epochs_that_were_saved_but_never_committed_come_back_by_replay(self, database, tmp_path):
        first = self.interrupted(database, epochs=1)
        self.resumed(database, first, replayed=3)
        row = only(database)
        told = queries.history(database, [row["execution_id"]])
        assert [one["run_id"] for one in told] == [1, 1, 1, 2, 2]
        assert row["digest"] == self.digest_of_an_undisturbed_run(tmp_path / "other.sqlite")

    def test_an_attempt_that_began_anew_counts_alone(self, database, tmp_path):
        first = self.interrupted(database, state="crashed", will_retry=True)
        self.resumed(database, first, replayed=0, epochs=2)
        row = only(database)
        assert (row["epochs"], row["resumed"], row["timing_valid"]) == (2, False, True)
        assert row["total_seconds"] == 20.0
        assert len(queries.history(database, [row["execution_id"]])) == 2

    def test_other_numbers_after_a_resume_replace_the_row_and_are_logged(self, database, caplog):
        self.interrupted(database)
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            recorder.record(start.attempt_id, epoch(1, replayed=True))
            assert not caplog.text
            recorder.record(start.attempt_id, epoch(2, replayed=True, train_loss=0.123))
        assert "epoch 2 has other numbers than when it was first trained" in caplog.text
        told = queries.history(database, [start.execution_id])
        assert [one["train_loss"] for one in told] == [1.0, 0.123, 1 / 3]

    def test_a_failed_execution_goes_on_when_it_is_retried(self, database):
        first = self.interrupted(database, state="failed")
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        assert start.execution_id == first.execution_id
        row = only(database)
        assert (row["status"], row["cause"], row["detail"], row["run_id"]) == ("running", None, None, run_id)

    def test_final_executions_and_fresh_ones_begin_another(self, database):
        recorder, run_id = begin(database, [cell()])
        first = run_cell(recorder, run_id, cell())
        second = run_cell(recorder, run_id, cell())
        assert second.execution_id != first.execution_id
        third = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.finish_attempt(third.attempt_id, state="failed")
        fourth = recorder.start_attempt(run_id, cell().cell_id, MACHINE, fresh=True)
        assert fourth.execution_id != third.execution_id
        assert [row["status"] for row in queries.results(database)] == ["completed", "completed", "failed", "running"]
        assert [row["status"] for row in queries.results(database, newest=True)] == ["running"]

    def test_machines_are_kept_apart(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        other = recorder.start_attempt(run_id, cell().cell_id, "elsewhere")
        assert other.number == 1
        assert recorded(database, MACHINE).states[cell().cell_id].status == "completed"
        assert recorded(database, "elsewhere").states[cell().cell_id].status == "running"

    def test_what_a_dead_run_left_is_swept_with_what_tells_its_processes(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1), cell(2)])
        left = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE, boot_id="boot")
        set_up(recorder, left.attempt_id)
        recorder.record(left.attempt_id, epoch(1))
        waiting = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(waiting.attempt_id, state="crashed", will_retry=True)
        run_cell(recorder, run_id, cell(2))
        after = Recorder(database)
        own = after.begin_run(FACTS)
        (stale,) = after.sweep()
        assert (stale.attempt_id, stale.cell_id, stale.boot_id) == (left.attempt_id, cell(0).cell_id, "boot")
        assert (stale.guardian_pid, stale.worker_pid, stale.worker_start_ticks) == (101, 102, 7777)
        assert [(row["status"], row["cause"]) for row in queries.results(database)] == [
            ("interrupted", "abandoned"),
            ("interrupted", "abandoned"),
            ("completed", None),
        ]
        states = {row["run_id"]: row["state"] for row in runs.all_runs(database).values()}
        assert states == {run_id: "abandoned", own: "running"}
        (found,) = queries.cell_detail(database, cell(0).cell_id).attempts
        assert (found["state"], found["last_epoch"], found["finished_utc"]) == ("abandoned", 1, None)
        assert after.sweep() == []

    def test_a_run_that_ends_leaves_no_cell_waiting_or_running(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        recorder.start_attempt(run_id, cell(0).cell_id, MACHINE)
        waiting = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(waiting.attempt_id, state="oom", will_retry=True)
        recorder.finish_run(run_id, "interrupted", 130)
        assert {(row["status"], row["cause"]) for row in queries.results(database)} == {("interrupted", "interrupted")}
        (ended,) = runs.all_runs(database).values()
        assert (ended["state"], ended["exit_code"]) == ("interrupted", 130)
        assert ended["finished_utc"] >= ended["started_utc"]
