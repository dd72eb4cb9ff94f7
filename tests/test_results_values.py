"""Values on their way into the database and back: NaN, digests, texts, cells as JSON, many rows at once."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_samples import FACTS, MACHINE, STAGE, begin, cell, epoch

from benchmark.matrix.cell import Cell, Stage, Weights
from benchmark.results.read.user_query import read_only_query
from benchmark.results.schema.nan_values import nan_to_null, null_to_nan
from benchmark.results.store.database import open_database
from benchmark.results.write.outcome import images_per_second
from benchmark.results.write.recorder import Recorder
from benchmark.results.write.registration import SpecWriter
from benchmark.results.write.result_digest import EPOCH_FIELDS, RESULT_FIELDS, execution_digest
from benchmark.status import ATTEMPT_STATES, Cause, Status, status_of
from benchmark.text import storable


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d_e"]), st.none() | st.floats() | st.integers() | st.text()))
def test_nan_comes_back_where_it_was_and_nothing_else_changes(values):
    back = null_to_nan(nan_to_null(values))
    assert back.keys() == values.keys()
    for name, value in values.items():
        same = math.isnan(back[name]) if isinstance(value, float) and math.isnan(value) else back[name] == value
        assert same


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.floats()))
def test_what_is_stored_has_no_nan_and_no_negative_zero(values):
    for value in nan_to_null(values).values():
        assert not isinstance(value, float) or not (math.isnan(value) or repr(value) == "-0.0")


@given(st.text())
def test_any_text_can_be_kept(text):
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    assert storable(kept) == kept


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_texts_without_nul_and_surrogates_stay_as_they_are(text):
    assert storable(text) == text


ROW = dict.fromkeys(RESULT_FIELDS, 0.5)
EPOCH = dict.fromkeys(EPOCH_FIELDS, 0.25)


@given(st.sampled_from(RESULT_FIELDS), st.sampled_from(EPOCH_FIELDS), st.floats() | st.none())
def test_the_digest_depends_on_every_number_and_on_no_other_column(of_result, of_epoch, value):
    digest = execution_digest("c", ROW, [EPOCH])
    assert execution_digest("c", {**ROW, "fit_seconds": value}, [{**EPOCH, "seconds": value}]) == digest
    assert (execution_digest("c", {**ROW, of_result: value}, [EPOCH]) == digest) == (value == 0.5)
    assert (execution_digest("c", ROW, [{**EPOCH, of_epoch: value}]) == digest) == (value == 0.25)
    assert execution_digest("d", ROW, [EPOCH]) != digest
    assert execution_digest("c", ROW, []) != digest


def test_digests_do_not_change_between_versions():
    row = {**ROW, "test_loss": math.nan, "val_loss": None, "train_loss": math.inf, "epochs": 3, "status": "completed"}
    assert (
        execution_digest("c", row, [EPOCH, {**EPOCH, "epoch": 2}])
        == "ea2b8a6e76974298c56f19dc4a23a680ed25dd8f7a8c50b2acfc4c76070e1e4f"
    )


@given(
    st.lists(st.builds(lambda n, rate: (n, rate), st.integers(0, 9), st.floats(1e-6, 1)), min_size=1, max_size=4),
    st.text(max_size=5),
)
def test_cells_are_written_as_json_as_they_would_be_one_by_one(stages, name):
    made = tuple(Stage("all", epochs, 8, "adam", rate, None, 0, 0, (), None, None) for epochs, rate in stages)
    writer = SpecWriter()
    for one in (cell(0, stages=made, dataset=name), cell(1, stages=(STAGE, *made), weights=Weights("imagenet"))):
        record = json.loads(writer.text(one))
        assert record == json.loads(json.dumps(one.to_dict()))
        assert Cell.from_dict(record) == one


def test_every_cause_leads_to_a_status_and_stays_in_its_list():
    for state in ATTEMPT_STATES[1:]:
        for will_retry in (False, True):
            status, cause = status_of(state, will_retry=will_retry)
            assert status in Status
            assert cause is None or cause in set(Cause)


def test_throughput_leaves_tracing_out_and_weighs_epochs_by_their_time():
    rows = [
        {"epoch": 1, "input_seconds": 0.0, "step_seconds": 9.0, "images_per_second": 1.0, "traced": True},
        {"epoch": 2, "input_seconds": 0.5, "step_seconds": 0.5, "images_per_second": 100.0, "traced": False},
        {"epoch": 3, "input_seconds": 1.0, "step_seconds": 2.0, "images_per_second": 50.0, "traced": False},
    ]
    assert images_per_second(rows) == pytest.approx(250 / 4)
    assert images_per_second(rows, disturbed={3}) == pytest.approx(100.0)
    assert images_per_second(rows[:1]) == pytest.approx(1.0)
    assert images_per_second([]) is None


def test_ten_thousand_cells_are_entered_in_well_under_a_second(tmp_path):
    cells = [cell(seed) for seed in range(10_000)]
    with open_database(tmp_path / "results.sqlite", mode="write") as database:
        recorder = Recorder(database)
        run_id = recorder.begin_run(FACTS)
        began = time.process_time()
        recorder.register(run_id, cells, [], set())
        # measured: 0.25 s, so that a hundred thousand take 2.5 s
        assert time.process_time() - began < 1.5


def test_the_views_answer_at_once_over_ten_thousand_executions_and_many_epochs(tmp_path):
    path = tmp_path / "results.sqlite"
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
    with closing(sqlite3.connect(path)) as connection:
        numbers = "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n LIMIT 9999) "
        connection.execute(
            f"INSERT INTO execution (execution_id, cell_id, machine, first_run_id, run_id, status, timing_valid, resumed) "
            f"{numbers}SELECT x, '{cell().cell_id}', 'lab', 1, 1, 'interrupted', 0, 0 FROM n"
        )
        connection.execute(
            "INSERT INTO epoch (execution_id, epoch, attempt_id, run_id, stage, stage_epoch, traced, improved) "
            f"{numbers}SELECT x, k, 1, 1, 1, k, 0, 0 FROM n JOIN (SELECT value AS k FROM json_each('[1,2,3,4,5]'))"
        )
        connection.commit()
    with open_database(path, mode="read") as database:
        began = time.process_time()
        assert read_only_query(database, "SELECT count(*), max(epochs) FROM results")[1] == [(10_000, None)]
        assert len(read_only_query(database, "SELECT * FROM history WHERE epoch = 5")[1]) == 9999
        assert time.process_time() - began < 1.5


def test_recording_an_epoch_costs_little(tmp_path):
    with open_database(tmp_path / "results.sqlite", mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        began = time.process_time()
        for number in range(1, 301):
            recorder.record(start.attempt_id, epoch(number))
        # measured: 0.25 ms of processor time and 0.1 ms of waiting for the disk
        assert (time.process_time() - began) / 300 < 0.003


def test_reading_needs_no_heavy_library():
    code = (
        "import sys\n"
        "from benchmark.results.care import check\n"
        "from benchmark.results.read import queries\n"
        "from benchmark.results.write import recorder\n"
        "heavy = {'alembic', 'pandas', 'numpy', 'tensorflow', 'psycopg', 'mako'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
