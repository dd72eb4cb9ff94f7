"""`bench db export --to`: what other programs read, each read back by its own reader; and nothing is ever overwritten."""

from __future__ import annotations

import importlib.util
import json
import math
import sqlite3
import subprocess
import sys
import types
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import Workplace, copied_place, finished_place

from benchmark import layout
from benchmark.cli import exporting
from benchmark.matrix.problems import NAME_LIMIT
from benchmark.results.store.database import open_database

STRANGE = "🦜/../é: [x] " + "long" * NAME_LIMIT
MATRIX = f"""
[matrix]
name = "{STRANGE[:NAME_LIMIT].strip()}"
dataset = "digits"
model = ["simple_cnn", "{STRANGE[:NAME_LIMIT].strip()}"]
strategy = ["scratch", ".."]
seed = [0, 1]
backend = "fake"

[defaults]
epochs = 3

[model."{STRANGE[:NAME_LIMIT].strip()}"]
extends = "simple_cnn"
filters = [8, 8]

[strategy.".."]
epochs = 2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    place = finished_place(tmp_path_factory.mktemp("finished"), MATRIX)
    # the loss of a diverged epoch, and one that ran off
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute(
            "UPDATE epoch SET val_loss = NULL, nan_metrics = 'val_loss' WHERE execution_id = 1 AND epoch = 2"
        )
        connection.execute("UPDATE epoch SET train_loss = 9e999 WHERE execution_id = 1 AND epoch = 2")
        for _, sql in triggers:
            connection.execute(sql)
    return place


@pytest.fixture
def place(finished, tmp_path) -> Workplace:
    return copied_place(finished, tmp_path)


def export(place: Workplace, *arguments: str) -> Path:
    done = place.call("db", "export", "out", *arguments)
    assert done.exit_code == 0, done.stderr
    return place.directory / "out"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {layout.OWN_MARK}


def history(place: Workplace, columns: str) -> list[tuple]:
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        return connection.execute(f"SELECT {columns} FROM history ORDER BY execution_id, epoch").fetchall()


def test_parquet_keeps_the_types_of_all_columns_and_what_is_missing_or_no_number(place):
    import pandas as pd
    import pyarrow.compute as pc
    from pyarrow import parquet

    out = export(place, "--to", "parquet", "--predictions")
    assert names_in(out) == {"results.parquet", "history.parquet", "predictions.parquet"}
    results = pd.read_parquet(out / "results.parquet")
    kinds = {name: str(kind) for name, kind in results.dtypes.items()}
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        cursor = connection.execute("SELECT * FROM results")
        assert list(results) == [column for column, *_ in cursor.description]
        assert len(results) == len(cursor.fetchall())
    assert {kinds[name] for name in ("is_latest", "timing_valid", "forgotten")} == {"bool"}
    assert {kinds[name] for name in ("started_utc", "finished_utc")} == {"datetime64[ns, UTC]"}
    assert {kinds[name] for name in ("model", "machine", "status", "cause")} == {"category"}
    assert (kinds["seed"], kinds["peak_rss_bytes"], kinds["test_accuracy"]) == ("Int64", "Int64", "float64")
    table = parquet.read_table(out / "history.parquet")
    row = table.filter(pc.and_(pc.equal(table["execution_id"], 1), pc.equal(table["epoch"], 2))).to_pylist()[0]
    assert math.isnan(row["val_loss"])
    assert row["train_loss"] == math.inf
    images = pd.read_parquet(out / "predictions.parquet")
    assert set(images["split"]) == {"test", "validation"}
    assert images["confidence"].between(0, 1).all()


def test_a_selection_is_exported_in_every_form(place):
    assert place.call("run", "--rerun", "--select", "model=simple_cnn,seed=0,strategy=scratch").exit_code == 0
    asked = ("--select", "model=simple_cnn", "--exclude", "seed=1", "--latest", "--machine", "tester")
    out = export(place, "--to", "json", *asked)
    assert names_in(out) == {"results.json", "history.json", "cells.json"}
    rows = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [(row["model"], row["seed"], row["is_latest"]) for row in rows] == [("simple_cnn", 0, 1)] * 2
    epochs = json.loads((out / "history.json").read_text(encoding="utf-8"))
    assert {row["execution_id"] for row in epochs} == {row["execution_id"] for row in rows}
    assert len(json.loads((out / "cells.json").read_text(encoding="utf-8"))) == 2
    # and into a folder that is there already
    done = place.call("db", "export", "out", "--format", "csv", *asked)
    assert done.exit_code == 0, done.stderr
    assert len((out / "results.csv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is not installed")
def test_tensorboard_reads_a_folder_for_each_execution(place, monkeypatch):
    # its own stand-in for TensorFlow, which takes seconds to import
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = export(place, "--to", "tensorboard")
    rows = history(place, "cell_id, execution_id, epoch, train_accuracy, val_loss, elapsed_seconds")
    assert len(names_in(out)) == len({row[1] for row in rows}) == 8
    for cell_id, execution_id in {row[:2] for row in rows}:
        (folder,) = out.glob(f"*-{cell_id}-{execution_id}")
        events = EventAccumulator(str(folder))
        events.Reload()
        expected = [(epoch, accuracy) for _, owner, epoch, accuracy, *_ in rows if owner == execution_id]
        drawn = [(event.step, event.value) for event in events.Scalars("train_accuracy")]
        assert drawn == [(epoch, pytest.approx(accuracy)) for epoch, accuracy in expected]
        assert "_hparams_/session_start_info" in events.Tags()["tensors"]
        if execution_id == 1:
            assert math.isnan(events.Scalars("val_loss")[1].value)
            assert events.Scalars("train_loss")[1].value == math.inf


def test_what_is_there_is_never_overwritten(place):
    out = export(place, "--to", "csv")
    before = {path: path.read_bytes() for path in out.rglob("*")}
    for target in ("csv", "parquet"):
        done = place.call("db", "export", "out", "--to", target)
        assert done.exit_code == 2
        assert "found a folder that is not empty" in done.stderr
    assert {path: path.read_bytes() for path in out.rglob("*")} == before
    assert place.call("db", "export", "matrix.toml", "--to", "csv").exit_code == 2
    assert (place.directory / "matrix.toml").read_text(encoding="utf-8") == MATRIX
    (place.directory / "empty").mkdir()
    assert place.call("db", "export", "empty", "--to", "csv").exit_code == 0
    assert place.call("db", "export", "deep/er/é 🦜", "--to", "csv").exit_code == 0


@pytest.mark.process
def test_a_folder_appears_whole_or_not_at_all(place):
    before = sorted(place.directory.iterdir())
    done = place.run("db", "export", "out", "--to", "json", BENCH_FAULT="write:2:enospc")
    assert done.returncode == 4, done.stderr
    assert sorted(place.directory.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "parquet", "--format", "csv"), "--to and --format: expected one of them"),
        (("--to", "mlflow"), "nowhere is not installed here; pip install 'benchmark-matrix[mlflow]'"),
        (("--to", "parquet", "--select", "model=none"), "none of the 8 results here match"),
        (("--to", "parquet", "--machine", "none"), "--machine: expected"),
        (("--to", "hdf5"), "hdf5"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_cure(place, monkeypatch, arguments, said):
    monkeypatch.setitem(exporting.PACKAGES, "mlflow", ("nowhere", exporting.PACKAGES["mlflow"][1]))
    done = place.call("db", "export", "out", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not (place.directory / "out").exists()


def test_a_package_that_is_broken_is_named_with_the_cure(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.delattr("pyarrow.parquet", raising=False)
    done = place.call("db", "export", "out", "--to", "parquet")
    assert done.exit_code == 2
    assert "pip install --upgrade pyarrow" in done.stderr
    assert not (place.directory / "out").exists()


def test_a_database_without_results_is_exported_as_empty_tables(tmp_path):
    import pandas as pd

    place = Workplace(tmp_path)
    place.write(MATRIX)
    open_database(tmp_path / "results.sqlite", mode="write").close()
    out = export(place, "--to", "parquet")
    results = pd.read_parquet(out / "results.parquet")
    assert (len(results), str(results["started_utc"].dtype)) == (0, "datetime64[ns, UTC]")


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_a_database_on_a_server_is_exported_alike(finished, target, tmp_path):
    import pandas as pd

    place = copied_place(finished, tmp_path)
    assert place.call("run", "--db", target).exit_code == 0
    out = export(place, "--to", "parquet", "--predictions", "--latest", "--db", target)
    assert (len(pd.read_parquet(out / "results.parquet")), len(pd.read_parquet(out / "history.parquet"))) == (8, 20)
    assert len(pd.read_parquet(out / "predictions.parquet"))


READ_STORE = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}")
(experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([experiment.name, [
    [run.info.status, run.info.start_time, run.info.end_time, run.data.tags, run.data.params, run.data.metrics,
     [[each.step, each.value] for each in client.get_metric_history(run.info.run_id, "train_accuracy")]]
    for run in runs
]]))
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is not installed")
def test_mlflow_reads_a_run_for_each_execution(place):
    done = place.run("db", "export", "out", "--to", "mlflow")
    assert done.returncode == 0, done.stderr
    assert names_in(place.directory / "out") == {"mlflow.db"}
    assert not (place.directory / "mlruns").exists()
    quiet = {**place.environment, "MLFLOW_DISABLE_TELEMETRY": "true"}
    read = [sys.executable, "-c", READ_STORE, str(place.directory / "out" / "mlflow.db")]
    name, runs = json.loads(subprocess.run(read, capture_output=True, check=True, text=True, env=quiet).stdout)
    assert name.startswith("🦜/../é: [x]")
    rows = history(place, "execution_id, cell_id, epoch, train_accuracy")
    assert len(runs) == 8
    for status, begin, end, tags, parameters, metrics, curve in runs:
        assert (status, tags["machine"], parameters["backend"]) == ("FINISHED", "tester", "fake")
        assert 0 < begin <= end
        assert "test_accuracy" in metrics
        expected = [[epoch, value] for owner, cell, epoch, value in rows if str(owner) == tags["execution_id"]]
        assert sorted(curve) == expected
        assert tags["cell_id"] in {row[1] for row in rows}
