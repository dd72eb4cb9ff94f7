"""What queries, views, stored predictions and checks promise, held on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import sqlalchemy as sa
from results_samples import (
    FACTS,
    MACHINE,
    PREDICTIONS,
    STAGE,
    VALIDATION,
    begin,
    cell,
    epoch,
    only,
    run_cell,
    set_up,
)

from benchmark.errors import NotFoundError, UserError
from benchmark.events import (
    Completed,
    Evaluated,
)
from benchmark.matrix.plan import LeftOut
from benchmark.results.care.check import check_database
from benchmark.results.export.exported_tables import exported
from benchmark.results.looks import looks, record_look
from benchmark.results.read import durations, queries, runs, user_query
from benchmark.results.records import LookRow
from benchmark.results.schema.tables import (
    attempt,
    execution,
    look,
    prediction,
)
from benchmark.results.schema.tables import epoch as epoch_table
from benchmark.results.schema.views import HISTORY, RESULTS, VIEWS
from benchmark.results.store.database import open_database

LEFT_OUT = LeftOut("mnist", "vgg16", "scratch", 0, "vgg16 needs images of 32 pixels; set image_size = 32")


REFUSED = (
    "DELETE FROM run",
    "DROP TABLE epoch",
    "UPDATE run SET name = 'x'",
    "INSERT INTO run (run_id) VALUES (9)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE epoch",
    "COMMIT; DROP TABLE epoch",
    "BEGIN",
    "ATTACH 'x.sqlite' AS other",
    "VACUUM INTO 'copy.sqlite'",
    "PRAGMA journal_mode=DELETE",
    "SELECT load_extension('x')",
    "CREATE TEMP TABLE t (a int)",
    "SELECT * FROM nowhere",
    "SELEC",
    "",
    "-- nothing",
    "SELECT 1\0",
    "WITH gone AS (DELETE FROM run RETURNING 1) SELECT * FROM gone",
)
"""Statements that do more than read, or that are none."""


def asked(database, sql):
    """The answer to a user's question."""
    return user_query.read_only_query(database, sql)[1]


class TestReading:
    @pytest.fixture
    def filled(self, target):
        with open_database(target, mode="write") as database:
            recorder, run_id = begin(database, [cell(0), cell(1), cell(2)], left_out=[LEFT_OUT])
            run_cell(recorder, run_id, cell(0))
            start = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
            recorder.record(start.attempt_id, epoch(1))
            yield database

    def test_results_can_be_filtered_by_any_column(self, filled):
        assert len(queries.results(filled, status="completed")) == 1
        assert len(queries.results(filled, seed=[0, 1], model="simple_cnn")) == 2
        assert len(queries.results(filled, cause=None)) == 2
        assert queries.results(filled, seed=[]) == []
        with pytest.raises(UserError, match="no column 'modell'"):
            queries.results(filled, modell="x")

    def test_the_first_columns_are_those_of_the_view(self, filled):
        row = queries.results(filled)[0]
        assert list(row)[: len(RESULTS)] == list(RESULTS)
        assert row["timing_valid"] == 1
        assert '"seed": 0' in queries.results(filled, spec=True)[0]["spec"]
        told = queries.history(filled, [row["execution_id"]])[0]
        assert list(told)[: len(HISTORY)] == list(HISTORY)
        assert told["traced"] is True

    def test_progress_is_read_from_the_database(self, filled):
        progress = runs.run_progress(filled)
        assert progress.counts == {"completed": 1, "running": 1, "pending": 1, "skipped": 1}
        (running,) = progress.running
        assert (running["cell_id"], running["epochs"], running["epochs_planned"]) == (cell(1).cell_id, 1, 5)
        assert progress.run["state"] == "running"
        assert runs.run_progress(filled, progress.run["run_id"]) == progress
        with pytest.raises(NotFoundError, match="run 99"):
            runs.run_progress(filled, 99)

    def test_a_new_run_does_not_take_an_earlier_runs_interruption_for_its_own(self, filled):
        begin(filled, [cell(0), cell(1), cell(2)], reused={cell(0).cell_id})
        assert runs.run_progress(filled).counts == {"completed": 1, "pending": 2}
        assert runs.run_progress(filled, 1).counts == {"completed": 1, "interrupted": 1, "pending": 1, "skipped": 1}

    def test_cells_are_found_by_the_beginning_of_their_id(self, filled):
        detail = queries.cell_detail(filled, cell().cell_id[:4].upper())
        assert detail.cell["cell_id"] == cell().cell_id
        assert [len(rows) for rows in (detail.executions, detail.attempts, detail.epochs, detail.artifacts)] == [
            1,
            1,
            3,
            1,
        ]
        with pytest.raises(NotFoundError, match="bench list cells"):
            queries.cell_detail(filled, "ffff")
        with pytest.raises(NotFoundError):
            queries.cell_detail(filled, "%%%%")
        with pytest.raises(UserError, match="at least the first 4"):
            queries.cell_detail(filled, cell().cell_id[:3])
        twin = cell(7, cell_id=cell().cell_id[:6] + "0" * 14)
        begin(filled, [twin])
        with pytest.raises(UserError, match="found several"):
            queries.cell_detail(filled, cell().cell_id[:6])

    def test_the_newest_matrix_and_the_past_durations_are_there(self, filled):
        assert queries.latest_matrix_text(filled) == ("m.toml", "[matrix]\n")
        assert queries.latest_matrix_text(filled, "elsewhere") is None
        (past,) = durations.totals(filled, MACHINE)
        assert past == {"cell_id": cell().cell_id, "total_seconds": 9.0}

    def test_one_reading_statement_is_answered(self, filled, target):
        columns, rows = user_query.read_only_query(
            filled, "SELECT status, count(*) AS n FROM results GROUP BY 1 ORDER BY 1;"
        )
        assert (columns, rows) == (["status", "n"], [("completed", 1), ("running", 1)])
        assert user_query.read_only_query(filled, "SELECT '50%' AS share")[1] == [("50%",)]

    def test_any_other_statement_is_the_users_mistake_and_does_nothing(self, filled, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = runs.all_runs(filled)
        for sql in REFUSED:
            with pytest.raises(UserError, match=r"query: .*Write one SELECT"):
                user_query.read_only_query(filled, sql)
        assert runs.all_runs(filled) == before
        assert not (tmp_path / "copy.sqlite").exists()

    def test_an_endless_statement_is_broken_off(self, filled):
        sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        with pytest.raises(UserError, match=r"longer than 0\.3 seconds"):
            user_query.read_only_query(filled, sql, limit_seconds=0.3)

    def test_an_answer_without_end_is_broken_off(self, filled, monkeypatch):
        monkeypatch.setattr(user_query, "MOST_ROWS", 3)
        assert len(user_query.read_only_query(filled, "SELECT epoch FROM history LIMIT 3")[1]) == 3
        with pytest.raises(UserError, match="more than 3 rows"):
            user_query.read_only_query(filled, "SELECT epoch FROM history")


class TestViews:
    def test_every_view_can_be_read_and_has_its_columns(self, database):
        for view, columns in VIEWS.items():
            assert user_query.read_only_query(database, f"SELECT * FROM {view}")[0] == list(columns)

    def test_what_is_true_or_false_is_1_or_0_however_it_is_read(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        flags = ("timing_valid", "forgotten", "is_latest")
        (row,) = asked(database, f"SELECT {', '.join(flags)} FROM results")
        (saved,) = exported(database)["results"][1]()
        (listed,) = queries.results(database)
        for values in (row, [saved[name] for name in flags], [listed[name] for name in flags]):
            assert repr(tuple(values)) == "(1, 0, 1)"
        assert repr(asked(database, "SELECT timing_valid, resumed, 1 = 1 FROM execution")) == "[(1, 0, 1)]"
        assert repr(listed["resumed"]) == "0"

    def test_each_image_that_was_predicted_is_a_row(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        columns = "execution_id, cell_id, split, image, label, predicted"
        rows = asked(database, f"SELECT {columns}, confidence FROM predictions ORDER BY split, image")
        owner = (start.execution_id, cell().cell_id)
        assert [row[:6] for row in rows] == [
            *((*owner, "test", image, *answer) for image, answer in enumerate([(0, 0), (0, 1), (1, 1), (1, 1)])),
            (*owner, "validation", 3, 0, 1),
            (*owner, "validation", 7, 1, 1),
        ]
        assert [row[6] for row in rows] == pytest.approx([0.8] * 6, abs=3e-4)
        assert {type(value) for row in rows for value in row[3:6]} == {int}

    def test_what_is_in_the_lockbox_is_stored_and_in_no_row(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        locked = replace(PREDICTIONS, split="lockbox")
        recorder.finish_attempt(start.attempt_id, state="completed", predictions=[locked])
        assert queries.predictions(database, [start.execution_id], "lockbox") == {start.execution_id: locked}
        assert asked(database, "SELECT count(*) FROM predictions") == [(0,)]

    def test_a_look_comes_back_as_it_was_recorded(self, database):
        _, run_id = begin(database, [cell()])
        row = LookRow(
            "judge", "a", "b", ((1, 2), (3,)), 1, 0.5, None, 0.75, 0.01, "not resolved", None, {"p": 0.2}, "search", run_id,
        )  # fmt: skip
        kept = record_look(database, row)
        assert looks(database, "judge", "search") == looks(database) == [kept]
        assert replace(kept, look_id=None, looked_utc=None) == row
        assert looks(database, "resolve") == looks(database, "judge", "another") == []
        assert asked(database, "SELECT look_id, a, n, alpha FROM looks") == [(kept.look_id, "a", 1, 0.01)]

    def test_predictions_that_cannot_be_read_are_no_rows_and_stop_nothing(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(
            start.attempt_id, state="completed", predictions=[replace(PREDICTIONS, content=b"rubbish")]
        )
        assert asked(database, "SELECT count(*) FROM predictions") == [(0,)]
        assert only(database)["status"] == "completed"

    def test_flags_are_numbers(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        (row,) = asked(database, "SELECT timing_valid, is_latest, forgotten FROM results WHERE timing_valid = 1")
        assert (row, {type(value) for value in row}) == ((1, 1, 0), {int})

    @pytest.mark.parametrize("kind", ["reproduce", "retime", "retime evening"])
    def test_the_latest_is_the_one_begun_last_of_its_cell_and_machine_but_no_reproduction(self, database, kind):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        first, last = (run_cell(recorder, run_id, cell(0), fresh=True) for _ in range(2))
        elsewhere = recorder.start_attempt(run_id, cell(0).cell_id, "elsewhere")
        name = f"reproduce {cell(0).cell_id[:8]}" if kind == "reproduce" else kind
        again, again_id = begin(database, [cell(0)], facts={**FACTS, "name": name})
        checked = run_cell(again, again_id, cell(0), fresh=True)
        rows = dict(asked(database, "SELECT execution_id, is_latest FROM results"))
        ids = [start.execution_id for start in (first, last, elsewhere, checked)]
        assert [rows[number] for number in ids] == [0, 1, 1, 0]
        assert [row["is_latest"] for row in queries.results(database)] == [0, 1, 1, 0]
        read = queries.results(database, spec=True)
        assert [bool(row["is_reproduction"]) for row in read] == [False, False, False, True]
        assert [bool(row["is_retiming"]) for row in read] == [False, False, False, kind != "reproduce"]
        assert [row["execution_id"] for row in queries.cell_detail(database, cell(0).cell_id).results] == ids[:3]

    def test_settings_of_the_last_stage_and_what_was_shared_are_columns(self, database):
        last = replace(STAGE, optimizer="sgd", momentum=0.9, weight_decay=0.01, label_smoothing=0.1, train="last:2")
        begin_with = replace(STAGE, optimizer="adam")
        this = cell(stages=(begin_with, last))
        this = replace(this, architecture=replace(this.architecture, parameters=(("dropout", 0.25),)))
        recorder, run_id = begin(database, [this])
        run_cell(recorder, run_id, this)
        names = (
            "optimizer, momentum, weight_decay, label_smoothing, train, dropout, framework, image_size, train_examples"
        )
        (row,) = asked(database, f"SELECT {names} FROM results")
        assert row == ("sgd", 0.9, 0.01, 0.1, "last:2", 0.25, "keras", 16, 1293)

    def test_elapsed_seconds_add_up_also_after_a_resume(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        for number in (1, 2, 3):
            recorder.record(start.attempt_id, epoch(number, seconds=float(number)))
        recorder.finish_attempt(start.attempt_id, state="crashed", will_retry=True)
        again = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(again.attempt_id, epoch(1, seconds=1.0, replayed=True))
        for number in (2, 3):
            recorder.record(again.attempt_id, epoch(number, seconds=10.0))
        rows = asked(database, "SELECT epoch, elapsed_seconds, monitored FROM history ORDER BY epoch")
        assert rows == [(1, 1.0, None), (2, 11.0, None), (3, 21.0, None)]

    def test_a_final_execution_can_be_forgotten_and_given_metrics_and_nothing_else(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with database.transaction() as connection:
            connection.execute(execution.update().values(forgotten=True, test_macro_f1=0.5))
        assert asked(database, "SELECT forgotten, test_macro_f1 FROM results") == [(1, 0.5)]
        assert check_database(database, None) == []

    def test_looks_and_the_node_of_the_last_attempt_are_shown(self, database):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        values = {"run_id": run_id, "kind": "judge", "campaign": "spring", "a": "strategy=a", "b": "strategy=b", "n": 3}
        values |= {"executions": "[[1], [2]]", "verdict": "better", "looked_utc": "2026-03-04T05:06:07.089Z"}
        with database.transaction() as connection:
            connection.execute(look.insert().values(**values))
            connection.execute(attempt.update().values(node="10.0.0.1"))
        assert asked(database, "SELECT campaign, n, verdict FROM looks") == [("spring", 3, "better")]
        assert asked(database, "SELECT node, digest FROM results") == [("10.0.0.1", None)]
        assert check_database(database, None) == []


class TestPredictions:
    def test_a_completed_cell_keeps_what_it_predicted(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        start = run_cell(recorder, run_id, cell(0))
        assert queries.predictions(database, [start.execution_id, 99]) == {start.execution_id: PREDICTIONS}
        assert queries.predictions(database, [start.execution_id], "validation") == {start.execution_id: VALIDATION}

    def test_nothing_else_does(self, database):
        recorder, run_id = begin(database, [cell()])
        for state in ("failed", "interrupted", "diverged"):
            start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
            recorder.record(start.attempt_id, epoch(1))
            recorder.finish_attempt(start.attempt_id, state=state, predictions=[PREDICTIONS])
            assert queries.predictions(database, [start.execution_id]) == {}

    def test_they_never_change_and_none_are_added_afterwards(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        one = prediction.c.execution_id == start.execution_id
        values = {"examples": 4, "classes": 2, "class_names": "[]", "sha256": "", "content": b""}
        bare = recorder.start_attempt(run_id, cell().cell_id, MACHINE, fresh=True)
        recorder.record(bare.attempt_id, epoch(1))
        recorder.finish_attempt(bare.attempt_id, state="completed")
        later = prediction.insert().values(execution_id=bare.execution_id, **values)
        for change in (prediction.update().where(one).values(content=b"x"), later):
            with pytest.raises(sa.exc.IntegrityError), database.transaction() as connection:
                connection.execute(change)

    def test_a_byte_that_changed_is_found(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        with database.transaction() as connection:
            drop = "DROP TRIGGER prediction_is_final_update"
            drop = "DROP TRIGGER prediction_is_final ON prediction" if connection.dialect.name == "postgresql" else drop
            connection.exec_driver_sql(drop)
            tested = prediction.update().where(prediction.c.split == "test")
            connection.execute(tested.values(content=PREDICTIONS.content[:-1] + b"x"))
        (finding,) = check_database(database, None)
        assert finding.kind == "prediction"
        assert finding.where == f"cell {cell().cell_id}, execution {start.execution_id}"

    def test_scores_of_views_are_columns_of_the_execution_and_not_of_the_view(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, Evaluated(0.9, 0.3, 1, 0.1, tta_accuracy=0.91, tta_loss=math.nan))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(start.attempt_id, state="completed")
        (row,) = queries.results(database)
        assert row["tta_accuracy"] == 0.91
        assert math.isnan(row["tta_loss"])
        assert not {"tta_accuracy", "tta_loss"} & RESULTS.keys()
        assert check_database(database, None) == []


class TestChecking:
    def test_a_sound_database_has_no_findings(self, database, tmp_path):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        run_cell(recorder, run_id, cell(0))
        recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        assert check_database(database, None) == []
        (missing,) = check_database(database, tmp_path / "artifacts")
        assert (missing.kind, missing.detail.partition(":")[0]) == (
            "artifact",
            "the folder is missing, with its 1 file",
        )

    def test_a_number_that_changed_is_found_by_the_digest(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        run_cell(recorder, run_id, cell(0))
        start = run_cell(recorder, run_id, cell(1))
        with database.transaction() as connection:
            drop = "DROP TRIGGER epoch_is_final_update"
            drop = "DROP TRIGGER epoch_is_final ON epoch" if connection.dialect.name == "postgresql" else drop
            connection.exec_driver_sql(drop)
            bent = epoch_table.update().where(
                epoch_table.c.execution_id == start.execution_id, epoch_table.c.epoch == 2
            )
            connection.execute(bent.values(train_loss=math.nextafter(0.5, 1)))
        (finding,) = check_database(database, None)
        assert finding.kind == "digest"
        assert finding.where == f"cell {cell(1).cell_id}, execution {start.execution_id}, attempt {start.attempt_id}"
