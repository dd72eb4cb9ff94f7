"""Rows of the database as the parts of a page, one for each cell: settings, history, environment, log, mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import units
from benchmark.matrix.settings import DEFAULTS, SETTINGS, cell_settings
from benchmark.reporting.notation import number
from benchmark.reporting.page_content import CellPart, CellSetting, Chart, Epochs, Measure, Mistakes, Pairs
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow, cell_of
from benchmark.reporting.rows.metrics import (
    FIT_SECONDS,
    METRICS,
    SUMMARY_METRICS,
    TEST_ACCURACY,
    TEST_LOSS,
    VAL_ACCURACY,
    Metric,
    value_of,
)
from benchmark.reporting.rows.training_budget import LoadEpochs
from benchmark.reporting.table import Kind
from benchmark.results.read.queries import HARDWARE_OF_NODES
from benchmark.status import with_cause
from benchmark.text import headline

LOG_LINES = 50
LOG_CHARACTERS = 3_000_000
"""Of the logs of all cells together; each may have its share, and at least `SHORTEST_LOG`."""
SHORTEST_LOG = 2_000
EPOCH_ROWS = 12_000
"""Of all cells together; where there are more, each cell shows its share of them, evenly."""
FEWEST_EPOCHS = 10

_HISTORY: tuple[tuple[str, str, Kind], ...] = (
    ("epoch", "epoch", "count"), ("stage", "stage", "count"), ("train_accuracy", "train accuracy", "accuracy"),
    ("train_loss", "train loss", "loss"), ("val_accuracy", "validation accuracy", "accuracy"),
    ("val_loss", "validation loss", "loss"), ("monitored", "monitored", "score"),
    ("learning_rate", "learning rate", "score"), ("seconds", "seconds", "seconds"),
    ("elapsed_seconds", "elapsed seconds", "seconds"), ("images_per_second", "images/s", "rate"),
)  # fmt: skip
_CHARTS = {"accuracy": ("val_accuracy", "train_accuracy"), "loss": ("val_loss", "train_loss")}
_FIRST = (TEST_ACCURACY, VAL_ACCURACY, TEST_LOSS)
_ENVIRONMENT = {
    "run_id": "run", "run_name": "name of the run", "node": "node", "started_utc": "started", "finished_utc": "finished",
    "total_seconds": "took", "attempts": "attempts", "resumed": "resumed", "timing_valid": "timing counts",
    "device_name": "device", "compute_dtype": "computed in", "isolation": "process made by", "cores": "cores used",
    "neighbours": "cells beside it", "os": "system", "cpu_model": "processor", "cpu_cores": "cores of the machine",
    "memory_bytes": "memory", "gpu_names": "GPU", "gpu_driver": "GPU driver", "python_version": "Python",
    "backend": "backend", "backend_version": "version of the backend", "keras_version": "Keras", "numpy_version": "NumPy",
    "package_version": "bench", "git_commit": "commit", "git_dirty": "uncommitted changes", "matrix_path": "matrix",
    "command": "command", "data_fingerprint": "fingerprint of the data", "weights_sha256": "SHA-256 of the weights",
    "digest": "digest of the result",
}  # fmt: skip
"""What is told of each cell, by column, and what it is called on the page."""


@dataclass(frozen=True, slots=True)
class CellSources:
    """What the parts of cells are made of.

    Attributes:
        runs: Rows of table `run`, by id.
        attempts: The newest attempt of each execution, by its id.
        epochs: Reads recorded epochs.
        log: The end of the log of a row's newest attempt, and that attempt's row.
        mistakes: What a row's cell got wrong; None where that is not known.
    """

    runs: Mapping[int, Mapping[str, Any]]
    attempts: Mapping[int, Mapping[str, Any]]
    epochs: LoadEpochs
    log: Callable[[ResultRow, Mapping[str, Any]], str]
    mistakes: Callable[[ResultRow], Mistakes | None]


def cell_metrics(rows: Sequence[ResultRow], judged: Sequence[Metric]) -> tuple[Metric, ...]:
    """All metrics that any row has, those that are judged first, also where they are the user's own."""
    ordered = dict.fromkeys((*judged, *_FIRST, *SUMMARY_METRICS, *METRICS.values()))
    return tuple(metric for metric in ordered if any(row.get(metric.key) is not None for row in rows))


def measures(metrics: Sequence[Metric], varying: Sequence[str]) -> tuple[Measure, ...]:
    """The columns of the table of cells: settings that vary, and metrics."""
    on_paper = {*metrics[:1], FIT_SECONDS}
    return (
        *(Measure(name, name.replace("_", " "), is_number=False, screen_only=True) for name in varying),
        *(Measure(metric.key, metric.title, screen_only=metric not in on_paper) for metric in metrics),
    )


def cell_parts(
    groups: Sequence[Group], varying: Sequence[str], metrics: Sequence[Metric], sources: CellSources
) -> Iterator[CellPart]:
    """The parts of all cells that were begun, in the order of the report, with values for the columns of `measures`."""
    begun = [(group, row) for group in groups for row in rows_of(group)]
    shown = max(EPOCH_ROWS // max(len(begun), 1), FEWEST_EPOCHS)
    longest = max(LOG_CHARACTERS // max(len(begun), 1), SHORTEST_LOG)
    epochs = sources.epochs([row["execution_id"] for _, row in begun])
    for group, row in begun:
        attempt = sources.attempts.get(row["execution_id"], {})
        yield CellPart(
            cell_id=row["cell_id"],
            names=(row["dataset"], row["model"], row["strategy"]),
            seed=str(row["seed"]),
            status=row["status"],
            outcome=_outcome(row),
            values=(
                *((text, text) for text in (describe(group.settings.get(name)) for name in varying)),
                *(_value(row, metric) for metric in metrics),
            ),
            settings=_settings(row),
            epochs=_epochs(epochs.get(row["execution_id"], ()), row.get("best_epoch"), shown),
            environment=_environment(row, sources.runs.get(row.get("run_id") or 0, {}), attempt),
            log=_end(sources.log(row, attempt), longest),
            traceback=(attempt.get("traceback") or "").rstrip(),
            mistakes=sources.mistakes(row),
        )


def in_order(groups: Sequence[Group]) -> list[Group]:
    """The groups with those of one dataset and model beside each other, in the order in which these come first."""
    places: dict[tuple[str, ...], int] = {}
    for place, group in enumerate(groups):
        for length in (1, 2):
            places.setdefault(group.names[:length], place)
    return sorted(groups, key=lambda group: [places[group.names[:length]] for length in (1, 2)])


def rows_of(group: Group) -> list[ResultRow]:
    """The rows of all cells of a group that were begun, with a result or without, by seed."""
    rows = [*group.cells, *(each.row for each in group.missing if each.row is not None)]
    unique = {row["cell_id"]: row for row in rows if row.get("execution_id") is not None}
    return sorted(unique.values(), key=lambda row: row["seed"])


def _outcome(row: ResultRow) -> str:
    detail = headline(row["detail"]) if row.get("detail") else ""
    return with_cause(row["status"], row.get("cause")) + (f": {detail}" if detail else "")


def _value(row: ResultRow, metric: Metric) -> tuple[float | None, str]:
    value = row.get(metric.key)
    if value is None:
        return None, "-"
    return float(value), number(float(value), metric.kind) + _mark(row, metric)


def _mark(row: ResultRow, metric: Metric) -> str:
    return " (disturbed)" if metric.is_timing and value_of(row, metric) is None else ""


def _settings(row: ResultRow) -> tuple[CellSetting, ...]:
    if not row.get("spec"):
        return ()
    record = cell_settings(cell_of(row))
    return tuple(
        CellSetting(name, describe(value), _default(name), is_changed=_is_changed(name, value, record))
        for name, value in record.items()
    )


def _default(name: str) -> str:
    if name not in SETTINGS:
        # of weights, which no setting but a strategy names
        return "none"
    return SETTINGS[name].shown_default or describe(DEFAULTS.get(name))


def _is_changed(name: str, value: Any, record: Mapping[str, Any]) -> bool:
    """Whether somebody chose it: not what the dataset or the model decides, no seed, nothing that the cell does not have."""
    if name == "weights":
        return bool(value != "none")
    if name not in DEFAULTS or name == "seed" or value is None:
        return False
    if name.endswith("_seed"):
        return bool(value != record["seed"])
    return describe(value) != describe(DEFAULTS[name])


def _epochs(rows: Sequence[Mapping[str, Any]], best: int | None, most: int) -> Epochs:
    stages = {row.get("stage") for row in rows}
    known = [
        each
        for each in _HISTORY
        if any(row.get(each[0]) is not None for row in rows)
        and (each[0] != "stage" or len(stages) > 1)
        and (
            each[0] != "monitored"
            or any(row["monitored"] not in {row["val_accuracy"], row["val_loss"]} for row in rows)
        )
    ]
    shown = [row for place, row in enumerate(rows) if _is_shown(place, len(rows), most) or row["epoch"] == best]
    return Epochs(
        tuple((key, title) for key, title, _ in known),
        tuple(tuple(_number(row.get(key), key, kind) for key, _, kind in known) for row in shown),
        next((place for place, row in enumerate(shown) if row["epoch"] == best), None),
        len(rows) - len(shown),
        tuple(_charts(rows)) if len(rows) > 1 else (),
        next((place for place, row in enumerate(rows) if row["epoch"] == best), None),
    )


def _charts(rows: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    for title, keys in _CHARTS.items():
        known = [key for key in keys if any(row.get(key) is not None for row in rows)]
        if known:
            names = {"val": "validation", "train": "train"}
            yield title, tuple((names[key.split("_")[0]], tuple(row.get(key) for row in rows)) for key in known)


def _is_shown(place: int, count: int, most: int) -> bool:
    """Whether a row is among so many that are spread evenly, the first and the last with them."""
    return (
        count <= most
        or place == count - 1
        or place * (most - 1) // (count - 1) != (place - 1) * (most - 1) // (count - 1)
    )


def _number(value: float | None, key: str, kind: Kind) -> str:
    if value is None:
        return "-"
    return units.number(value) if key in {"learning_rate", "monitored"} else number(float(value), kind)


def _environment(row: ResultRow, run: Mapping[str, Any], attempt: Mapping[str, Any]) -> Pairs:
    # a row of a node of a cluster has the hardware of that, also where there is none
    of_node = HARDWARE_OF_NODES if row.get("node") is not None else ()
    known = {key: value for key, value in run.items() if key not in of_node}
    known |= {key: value for key, value in row.items() if value is not None}
    known.update(cores=attempt.get("cores"), attempts=attempt.get("number"), run_name=run.get("name"))
    return tuple(
        (words, _fact(name, known[name])) for name, words in _ENVIRONMENT.items() if known.get(name) not in {None, ""}
    )


def _fact(name: str, value: Any) -> str:
    if name in {"git_dirty", "resumed", "timing_valid"}:
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return units.size(value)
    if name.endswith("_utc"):
        return f"{value[:10]} {value[11:19]} UTC"
    if name.endswith("_seconds") and math.isfinite(value):
        return units.seconds(value)
    return str(value)


def _end(log: str, most: int) -> str:
    # a progress bar rewrites its line with carriage returns: only what stood there last is kept
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in log.rstrip().split("\n")]
    return "\n".join(lines[-LOG_LINES:])[-most:]
