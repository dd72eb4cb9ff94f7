"""Users' own metrics of test predictions, as further columns of results: computed by a process of its own, with consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalog.backends import command_backend
from benchmark.errors import BenchError, UserError
from benchmark.files import temporary_folder
from benchmark.matrix.reading.plugins import entry_point, package_code
from benchmark.matrix.report_spec import ReportSpec
from benchmark.matrix.trust import refusal, require_consent_to_metrics
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.metrics import METRICS, Metric
from benchmark.reporting.table import Advised
from benchmark.status import Status

LIMIT_SECONDS = 120.0
"""How long all metrics of a report may take."""

_COLUMN = "test_"


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows of results with the user's own metrics as columns.

    Attributes:
        metrics: Those that were computed.
        notes: Which of `[report]` are left out, and why.
    """

    rows: list[Mapping[str, Any]]
    metrics: tuple[Metric, ...] = ()
    notes: tuple[str, ...] = ()


def main_metric(spec: ReportSpec | None) -> tuple[str, ...]:
    """The column that `[report]` says decides; nothing where it says none."""
    return spec.metrics[:1] if spec else ()


def with_own_metrics(
    rows: Sequence[Mapping[str, Any]],
    asked: Sequence[str],
    spec: ReportSpec | None,
    load: LoadPredictions,
    command: str,
    *,
    allowed: bool,
) -> Measured:
    """Rows of results with the user's own metrics; unchanged where none is asked for.

    Args:
        rows: Of results.
        asked: Columns that the command line asks for, or that decide; where there are none, those of `[report]` count as
            far as they may run.
        spec: `[report]` of the matrix, and its plug-ins.
        load: Reads stored predictions.
        command: What the user typed, for messages.
        allowed: Whether the user has given `--allow-plugins`.

    Raises:
        UserError: A metric that is asked for may not run, or one cannot be loaded, or does not return a number; the
            message says where.

    Side effects:
        Starts a process, which runs the user's files.
    """
    spec = spec or ReportSpec()
    columns = [name for name in asked or spec.metrics if name not in METRICS and name.startswith(_COLUMN)]
    metrics = [each for column in dict.fromkeys(columns) if (each := _source(column, spec)) is not None]
    refused = [] if asked else [each for each in metrics if each["file"] and _refusal(each, allowed=allowed)]
    notes = [
        Advised(f"{note}.", f"{note}; to see it: {command} --allow-plugins")
        for each in refused
        if (note := f"{_COLUMN}{each['name']} of [report] is left out: {_refusal(each, allowed=allowed)}")
    ]
    metrics = [each for each in metrics if each not in refused]
    if not metrics:
        return Measured([dict(row) for row in rows], notes=tuple(notes))
    users: dict[tuple[str, str], list[str]] = {}
    for each in metrics:
        if each["file"] is not None:
            users.setdefault((each["file"], each["code"]), []).append(each["name"])
    require_consent_to_metrics(users, command, allowed=allowed)
    completed = [row["execution_id"] for row in rows if row["status"] == Status.COMPLETED and not row.get("forgotten")]
    executions, answers = _measured(metrics, completed, load, allowed=allowed)
    values = {f"{_COLUMN}{metric['name']}": answer["values"] for metric, answer in zip(metrics, answers, strict=True)}
    by_execution = {
        number: {column: each[place] for column, each in values.items()} for place, number in enumerate(executions)
    }
    own = tuple(
        Metric(
            f"{_COLUMN}{metric['name']}",
            f"test {metric['name'].replace('_', ' ')}",
            "score",
            higher_is_better=answer["higher_is_better"],
        )
        for metric, answer in zip(metrics, answers, strict=True)
    )
    return Measured([{**row, **by_execution.get(row["execution_id"], {})} for row in rows], own, tuple(notes))


def _refusal(metric: Mapping[str, Any], *, allowed: bool) -> str:
    """Why a metric may not run; empty where it may."""
    return refusal(metric["file"], [Path(metric["file"])], metric["code"], allowed=allowed)


def _source(column: str, spec: ReportSpec) -> dict[str, Any] | None:
    """Where the metric of a column comes from; None where no file or package has one of this name."""
    name = column.removeprefix(_COLUMN)
    for each in spec.metric_files:
        if each.names is None or name in each.names:
            return {"name": name, "code": each.sha256, "file": each.file}
    point = entry_point(name, "metrics")
    return None if point is None else {"name": name, "code": package_code(point), "file": None}


def _measured(
    metrics: Sequence[Mapping[str, Any]], executions: Sequence[int], load: LoadPredictions, *, allowed: bool
) -> tuple[list[int], list[dict[str, Any]]]:
    """The executions that have all their predictions, and what the process answers for these."""
    import numpy as np

    from benchmark.scheduling.processes.environment import python_command
    from benchmark.scheduling.programs.inference import ask

    with temporary_folder() as folder:
        paths: dict[int, Path] = {}
        for number in dict.fromkeys(executions):
            for stored in load([number]).values():
                if isinstance(stored.probabilities, np.ndarray):
                    paths[number] = Path(folder) / str(number)
                    with paths[number].open("wb") as file:
                        np.savez(file, labels=stored.labels, probabilities=stored.probabilities.astype(np.float64))
        request = {"metrics": list(metrics), "predictions": list(map(str, paths.values())), "allow_plugins": allowed}
        program = python_command("benchmark.training.programs.compute_metrics")
        names = ", ".join(metric["name"] for metric in metrics)
        try:
            answers = ask(program, request, command_backend(), 1, LIMIT_SECONDS)
        except BenchError as error:
            raise UserError(f"metric {names}: {error}") from error
        return list(paths), answers
