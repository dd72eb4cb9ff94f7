"""Small cells, events and databases that the tests of `results` share."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import machine
from benchmark.events import ArtifactWritten, Completed, EpochFinished, Evaluated, Exited, Launched, ModelBuilt, Started
from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights
from benchmark.results.read import queries
from benchmark.results.records import PredictionRow
from benchmark.results.store.database import Database, open_database
from benchmark.results.write.recorder import Recorder
from benchmark.training.artifacts.prediction_file import pack_predictions

MACHINE = "lab"
DATA = Data("digits", None, 10, 16, "grey", None, None, 0.1)
ARCHITECTURE = Architecture("simple_cnn", (("filters", (32, 64)),))
STAGE = Stage("all", 5, 64, "adam", 1e-3, None, 0.0, 0.0, (("flip", "horizontal"),), None, None)
FACTS = {
    "machine": MACHINE,
    "name": "tour",
    "matrix_path": "m.toml",
    "matrix_text": "[matrix]\n",
    "package_version": "1.2.3",
    "boot_id": machine.boot_id(),
}
EXITED = Exited(0, 0, 300_000_000, 2.5, 0.25)


def predictions(
    labels=(0, 0, 1, 1), predicted=(0, 1, 1, 1), names=("cat", "dog"), tta=None, images=None, split="test"
) -> PredictionRow:
    """A row as the scheduler makes it of a worker's file: 80 % for what is predicted."""
    kinds = np.arange(len(names))
    rows = [np.where(kinds == np.array(one)[:, None], 0.8, 0.2 / (len(names) - 1)) for one in (predicted, tta or [])]
    averaged = rows[1].astype(np.float32) if tta else None
    content = pack_predictions(
        np.array(images or range(len(labels))), np.array(labels), rows[0].astype(np.float32), averaged
    )
    return PredictionRow(len(labels), tuple(names), hashlib.sha256(content).hexdigest(), content, split)


PREDICTIONS = predictions()
VALIDATION = predictions((1, 0), (1, 1), images=(7, 3), split="validation")


def cell(seed: int = 0, **changes) -> Cell:
    base = Cell(
        cell_id=hashlib.sha256(f"{seed}".encode()).hexdigest()[:20],
        dataset="digits",
        model="simple_cnn",
        strategy="scratch",
        strategy_label="Scratch",
        seed=seed,
        data=DATA,
        architecture=ARCHITECTURE,
        weights=Weights("none"),
        stages=(STAGE,),
        keep="best",
        monitor="val_accuracy",
        labels="integer",
        threads=1,
        precision="float32",
        backend="fake",
        device="auto",
        device_kind="cpu",
        deterministic=True,
    )
    return replace(base, **changes)


def epoch(number: int, **changes) -> EpochFinished:
    base = EpochFinished(
        stage=1,
        epoch=number,
        stage_epoch=number,
        train_accuracy=0.5 + number / 100,
        train_loss=1 / number,
        val_accuracy=0.4 + number / 100,
        val_loss=1.1 / number,
        learning_rate=1e-3,
        seconds=1.0,
        input_seconds=0.1,
        step_seconds=0.7,
        validation_seconds=0.1,
        checkpoint_seconds=0.05,
        images_per_second=1500.0 if number == 1 else 2000.0,
        traced=number == 1,
        improved=True,
    )
    return replace(base, **changes)


def begin(database: Database, cells=(), *, left_out=(), reused=(), facts=FACTS):
    """A recorder with one run and its cells."""
    recorder = Recorder(database)
    recorder.sweep()
    run_id = recorder.begin_run(facts)
    recorder.register(run_id, cells, left_out, set(reused))
    return recorder, run_id


def set_up(recorder: Recorder, attempt_id: int) -> None:
    recorder.record(attempt_id, Launched(101, 102, 7777))
    recorder.record(attempt_id, Started("2.21", "3.15", 1, "CPU"))
    recorder.record(attempt_id, ModelBuilt(225_034, 225_034, 1293, 144, 360, "f" * 64, None, "float32", 0.5))


def complete(
    recorder: Recorder, attempt_id: int, epochs: int, *, best: int | None = None, seconds: float = 9.0, **facts
) -> None:
    recorder.record(attempt_id, ArtifactWritten("weights", "weights.npz", "0" * 64, 12))
    recorder.record(attempt_id, Evaluated(0.9, 0.3, best or epochs, 0.2))
    recorder.record(attempt_id, Completed(epochs, float(epochs), seconds))
    done = {
        "state": "completed",
        "exited": EXITED,
        "disturbed": False,
        "predictions": [PREDICTIONS, VALIDATION],
        **facts,
    }
    assert recorder.finish_attempt(attempt_id, **done)


def run_cell(recorder: Recorder, run_id: int, one: Cell, *, epochs: int = 3, **options):
    """One cell from start to end; returns its `AttemptStart`."""
    start = recorder.start_attempt(run_id, one.cell_id, MACHINE, **options)
    set_up(recorder, start.attempt_id)
    for number in range(1, epochs + 1):
        recorder.record(start.attempt_id, epoch(number))
    complete(recorder, start.attempt_id, epochs)
    return start


def only(database: Database, **filters) -> dict[str, Any]:
    """The one row of the view `results` that these filters leave."""
    (row,) = queries.results(database, **filters)
    return row


def change(database: Database, sql: str) -> int:
    """Executes a statement that writes; returns how many rows it changed."""
    with database.transaction() as connection:
        return connection.exec_driver_sql(sql).rowcount


def rows_of(target: str, sql: str) -> list[tuple[Any, ...]]:
    """What a statement reads from the database at a path or URL."""
    with open_database(target, mode="read") as database, database.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The same from a file, whatever is in it, as a program sees it that knows nothing of bench."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
