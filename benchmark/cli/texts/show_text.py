"""A cell as text: what `bench show` prints for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import units
from benchmark.catalog.facts import SCRIPT
from benchmark.cli.cell_names import short_id
from benchmark.cli.terminal import output, streams
from benchmark.cli.terminal.output import Column
from benchmark.cli.texts.sparkline import sparkline
from benchmark.matrix.script_command import typed
from benchmark.status import with_cause
from benchmark.text import headline, printable

RESULTS = (
    "epochs", "best_epoch", "train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy", "test_loss",
    "tta_accuracy", "tta_loss", "plain_test_accuracy", "plain_test_loss", "parameters", "trainable_parameters",
    "train_examples", "validation_examples", "test_examples", "compute_dtype",
    "setup_seconds", "first_epoch_seconds", "fit_seconds", "features", "features_seconds",
    "features_alone_seconds", "shared_epochs", "shared_seconds", "evaluate_seconds", "total_seconds",
    "images_per_second",
    "peak_rss_bytes", "peak_device_bytes", "timing_valid", "resumed", "started_utc", "finished_utc",
    "data_fingerprint", "weights_sha256", "digest",
)  # fmt: skip

CURVES = ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "learning_rate")

EPOCH_COLUMNS = (
    Column("epoch", right=True),
    Column("stage", right=True),
    Column("train_accuracy", "train acc", show=units.fraction, right=True),
    Column("train_loss", show=units.number, right=True),
    Column("val_accuracy", "val acc", show=units.fraction, right=True),
    Column("val_loss", show=units.number, right=True),
    Column("learning_rate", "rate", show=units.number, right=True),
    Column("seconds", "s", show=lambda value: f"{value:.2f}", right=True),
    Column("images_per_second", "img/s", show=lambda value: f"{value:.0f}", right=True),
    Column("remark"),
)

PAIR = (Column("name", ""), Column("value", ""))

CONFUSION_CLASSES = 20
"""With more classes the matrix is wider than a terminal; `bench report --table confusion` folds it."""

CLASS_COLUMNS = (
    Column("name", "class"),
    Column("precision", show=units.fraction, right=True),
    Column("recall", show=units.fraction, right=True),
    Column("f1", "F1", show=units.fraction, right=True),
    Column("support", "images", right=True),
)

ATTEMPT_COLUMNS = (
    Column("number", "attempt", right=True),
    Column("run_id", "run", right=True),
    Column("node"),
    Column("state"),
    Column("detail"),
    Column("resumed_from_epoch", "resumed from", right=True),
    Column("last_epoch", "last epoch", right=True),
    Column("exit_code", "exit", right=True),
    Column("signal", show=lambda value: str(value) if value else "", right=True),
    Column("cores"),
    Column("neighbours", right=True),
    Column("peak_rss_bytes", "memory", show=units.size, right=True),
    Column("total_seconds", "time", show=units.seconds, right=True),
)

EXECUTION_COLUMNS = (
    Column("execution_id", "execution", right=True),
    Column("machine"),
    Column("run_id", "run", right=True),
    Column("status"),
    Column("cause"),
    Column("test_accuracy", "test acc", show=units.fraction, right=True),
    Column("total_seconds", "time", show=units.seconds, right=True),
)


def print_cell(record: Mapping[str, Any], database: str) -> None:
    """Print everything about a cell, a record as `--format json` has it, on stdout, section by section."""
    from benchmark.reporting.rows.phases import bottleneck, in_words

    cell, execution = record["cell"], record["execution"]
    title = f"{cell['cell_id']}  {cell['dataset']} {cell['model']} {cell['strategy']} seed {cell['seed']}"
    output.write_line(title, "bold")
    if execution is None:
        output.write_line("not run yet")
    else:
        output.write_line(_outcome(execution))
    _pairs("settings", record["settings"])
    # one value each, whereas a list among settings has one for each stage
    _pairs("model", {name: _joined(name, value) for name, value in record["model"].items()})
    _pairs("code", record["code"])
    if cell.get("parent_cell_id"):
        output.write_line(f"  starts from cell {short_id(cell['parent_cell_id'])}")
    if execution is not None:
        _pairs("results", {key: execution.get(key) for key in RESULTS})
        is_command = cell["framework"] == SCRIPT
        if record["phases"]:
            _section("where the time went")
            output.write_line(f"  {in_words(record['phases'])}")
            output.write_line(f"  bottleneck: {bottleneck(record['phases'])}")
        _epochs(record["epochs"], execution, "with the start" if is_command else "traced")
        _classes(record["classes"], record["confusion"])
        _section("attempts")
        output.write_table(record["attempts"], ATTEMPT_COLUMNS)
        _pairs("environment", record["environment"])
        _artifacts(record["artifacts"], database)
        _list("figures", [(row["kind"], row["path"]) for row in record["figures"]])
        _log_and_traceback(record["attempts"])
    if len(record["executions"]) > 1:
        _section("all executions")
        output.write_table(record["executions"], EXECUTION_COLUMNS)


def _outcome(execution: Mapping[str, Any]) -> str:
    status = with_cause(execution["status"], execution["cause"])
    detail = f": {headline(execution['detail'])}" if execution.get("detail") else ""
    forgotten = "; forgotten: reports leave it out" if execution.get("forgotten") else ""
    return f"{status} in run {execution['run_id']} on {execution['machine']}{detail}{forgotten}"


def _lines(text: str) -> None:
    """Foreign text of several lines, indented: none of them can be taken for one of ours."""
    lines = (f"  {line}".rstrip() for line in printable(text).split("\n"))
    streams.out().print("\n".join(lines), soft_wrap=True)


def _section(title: str) -> None:
    output.write_line()
    output.write_line(title, "bold")


def _pairs(title: str, values: Mapping[str, Any]) -> None:
    """Names and values; what is not known is left out."""
    _list(title, [(key, _readable(key, value)) for key, value in values.items() if value is not None])


def _joined(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return typed(value) if name == "command" else ", ".join(_readable(name, each) for each in value)


def _list(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        output.write_line()
        output.write_table(
            [{"section": title, "name": key, "value": value} for key, value in pairs], PAIR, under="section"
        )


def _readable(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_bytes"):
        return units.size(value)
    if key.endswith("_seconds"):
        return units.seconds(value)
    if key.endswith("_accuracy"):
        return units.fraction(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_readable(name, item)}" for name, item in value.items())
    if isinstance(value, list):
        return " then ".join(_readable(key, item) if item is not None else "none" for item in value)
    return units.number(value)


def _epochs(epochs: Sequence[Mapping[str, Any]], execution: Mapping[str, Any], first: str) -> None:
    if not epochs:
        return
    curves = []
    for name in CURVES:
        values = [row[name] for row in epochs]
        if len({value for value in values if value is not None}) > 1:
            known = None not in {values[0], values[-1]}
            ends = f"{units.number(values[0])} to {units.number(values[-1])}" if known else ""
            curves.append((name, f"{sparkline(values, min(40, output.width() // 2))}  {ends}"))
    _list("epochs", curves)
    if curves:
        output.write_line()
    else:
        _section("epochs")
    rows = []
    for row in epochs:
        is_shared = row["epoch"] <= (execution.get("shared_epochs") or 0)
        remarks = {"kept": row["epoch"] == execution["best_epoch"], "shared": is_shared, first: row["traced"]}
        rows.append({**row, "remark": ", ".join(remark for remark, holds in remarks.items() if holds)})
    output.write_table(rows, EPOCH_COLUMNS)


def _classes(classes: Sequence[Mapping[str, Any]], confusion: Sequence[Sequence[int]]) -> None:
    """The scores of each class on the test images, and the confusion matrix or, of many classes, what stands out."""
    if not classes:
        return
    _section("classes, on the test images")
    output.write_table(classes, CLASS_COLUMNS)
    names = [scores["name"] for scores in classes]
    if len(names) <= CONFUSION_CLASSES:
        _section("confusion, true classes as rows and predicted ones as columns")
        columns = [Column(str(index), name, right=True, stays=True) for index, name in enumerate(names)]
        rows = [
            {"true": name, **{str(index): count or None for index, count in enumerate(row)}}
            for name, row in zip(names, confusion, strict=True)
        ]
        output.write_table(rows, [Column("true", "true class", style="bold"), *columns])


def _artifacts(artifacts: Sequence[Mapping[str, Any]], database: str) -> None:
    from benchmark.results.artifacts.artifact_place import place_of

    place = place_of(database)
    _list(
        "artifacts",
        [(row["kind"], f"{place.shown(row['path'])}  {units.size(row['size_bytes'])}") for row in artifacts],
    )


def _log_and_traceback(attempts: Sequence[Mapping[str, Any]]) -> None:
    """The log and traceback of the newest attempt."""
    if not attempts:
        return
    newest = max(attempts, key=lambda row: row["attempt_id"])
    if newest["log_tail"] and newest["log_tail"].strip():
        _section("log, its end")
        _lines(_as_lines(newest["log_tail"]))
    if newest["traceback"]:
        _section("traceback")
        _lines(newest["traceback"].rstrip())


def _as_lines(log: str) -> str:
    # a progress bar rewrites its line with carriage returns: only what stood there last is kept
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in log.strip("\n").split("\n"))
