"""Writes executions as runs of MLflow, into a new SQLite store."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import StorageError
from benchmark.files import sha256_of, temporary_folder
from benchmark.layout import MLFLOW_STORE
from benchmark.results.export.recorded_runs import FIGURES, RecordedRun
from benchmark.status import Status

_STATUSES = {
    Status.COMPLETED: "FINISHED",
    Status.DIVERGED: "FINISHED",
    Status.RUNNING: "RUNNING",
    Status.PENDING: "SCHEDULED",
    Status.INTERRUPTED: "KILLED",
}
"""What MLflow calls them; all others are `FAILED`."""
_TAGS = ("cell_id", "execution_id", "machine", "status", "cause", "parent_cell_id", "run_name", "package_version")
_LONGEST_NAME = 200
_LONGEST_VALUE = 6000
_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE = 1000, 100
"""MLflow's limits: https://mlflow.org/docs/latest/rest-api.html#log-batch"""


def write_store(folder: Path, runs: Iterable[RecordedRun], home: Path) -> None:
    """Writes `mlflow.db` into a folder: an experiment for each matrix by its name, a run for each execution.

    Args:
        folder: Where the file goes.
        runs: The executions.
        home: Where the folder is going to be: below it MLflow keeps artifacts that are added later.

    Raises:
        OSError: It cannot be written.
        StorageError: MLflow refuses to go on, such as where the folder of temporary files is full.
    """
    # nothing of this is anybody else's: MLflow would tell its makers what is used
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    artifacts = (home / "artifacts").as_uri()
    # MLflow takes the path as a part of a URL, where some characters mean something else
    with temporary_folder() as aside:
        store = Path(aside) / MLFLOW_STORE
        try:
            client = MlflowClient(tracking_uri=f"sqlite:///{store}")
            experiments: dict[str, str] = {}
            for run in runs:
                name = _short(run.matrix_name)
                if name not in experiments:
                    there = client.get_experiment_by_name(name)
                    made = None if there else client.create_experiment(name, artifact_location=artifacts)
                    experiments[name] = made or there.experiment_id
                _write_run(client, experiments[name], run)
        except MlflowException as error:
            raise StorageError(
                f"{store}: MLflow cannot write it ({error!s:.300}). Make room, or name another folder in TMPDIR"
            ) from error
        shutil.move(store, folder / MLFLOW_STORE)


def _write_run(client: Any, experiment: str, run: RecordedRun) -> None:
    from mlflow.entities import Metric, Param

    row = run.row
    tags = {name: str(row[name]) for name in _TAGS if row[name] is not None}
    if row["git_commit"]:
        tags["mlflow.source.git.commit"] = row["git_commit"]
    title = _short(f"{row['dataset']} {row['model']} {row['strategy']} seed {row['seed']}")
    begun = client.create_run(experiment, start_time=int(run.begin * 1000), tags=tags, run_name=title).info.run_id
    metrics = [Metric(*each) for each in _metrics(run)]
    parameters = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in run.settings.items()]
    for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
        client.log_batch(begun, params=parameters[start : start + _PARAMETERS_AT_ONCE])
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(begun, metrics=metrics[start : start + _METRICS_AT_ONCE])
    status = _STATUSES.get(row["status"], "FAILED")
    if status in {"RUNNING", "SCHEDULED"}:
        client.update_run(begun, status=status)
    else:
        client.set_terminated(begun, status, end_time=int((run.end or run.begin) * 1000))


def _metrics(run: RecordedRun) -> Iterator[tuple[str, float, int, int]]:
    """Yields name, value, time in milliseconds and step: the curves, then what came of the execution at its last epoch."""
    for epoch, seconds, measured in run.curves():
        for name, value in measured.items():
            yield name, value, int(seconds * 1000), epoch
    for name in FIGURES:
        if run.row[name] is not None:
            yield name, float(run.row[name]), int((run.end or run.begin) * 1000), run.row["epochs"] or 0


def _short(name: str) -> str:
    """A name that MLflow takes; two long ones that begin alike stay two."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}… {sha256_of(name.encode())[:8]}"
