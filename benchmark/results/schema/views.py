"""The columns of the views that users read, and the table column or expression that each comes from.

The SQL of the views is in the migrations; a test compares it with this module. Flags are 0 and 1, on servers too.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from benchmark.results.schema.reproductions import is_reproduction
from benchmark.results.schema.tables import TEST_METRICS, attempt, cell, epoch, execution, look, prediction, run


def columns_of(table: sa.Table, names: str) -> dict[str, sa.Column[Any]]:
    """Returns columns by their names, which spaces separate."""
    return {name: table.c[name] for name in names.split()}


def flag(name: str) -> sa.ColumnElement[Any]:
    """Returns a truth value of `execution` as 1 or 0."""
    return sa.cast(execution.c[name], sa.Integer)


_CELL = columns_of(cell, "dataset model strategy seed")

_newest = execution.alias("newest")
_NEWEST_ID = (
    sa.select(_newest.c.execution_id)
    .where(_newest.c.cell_id == execution.c.cell_id, _newest.c.machine == execution.c.machine)
    .where(~is_reproduction(_newest))
    .order_by(_newest.c.execution_id.desc())
    .limit(1)
    .correlate(execution)
    .scalar_subquery()
)
_NODE = (
    sa.select(attempt.c.node)
    .where(attempt.c.execution_id == execution.c.execution_id)
    .order_by(attempt.c.number.desc())
    .limit(1)
    .correlate(execution)
    .scalar_subquery()
)

RESULTS: dict[str, sa.ColumnElement[Any]] = {
    **columns_of(execution, "cell_id run_id"),
    "run_name": run.c.name,
    **columns_of(execution, "machine"),
    **_CELL,
    **columns_of(cell, "backend device threads precision"),
    **columns_of(execution, "status cause"),
    **columns_of(cell, "parent_cell_id"),
    **columns_of(
        execution, "epochs best_epoch train_accuracy train_loss val_accuracy val_loss test_accuracy test_loss"
    ),
    **columns_of(
        execution, "parameters trainable_parameters fit_seconds total_seconds images_per_second peak_rss_bytes"
    ),
    "timing_valid": flag("timing_valid"),
    **columns_of(execution, "started_utc finished_utc package_version git_commit execution_id"),
    "is_latest": sa.case((execution.c.execution_id == _NEWEST_ID, 1), else_=0),
    **columns_of(cell, "image_size color"),
    **columns_of(execution, "train_examples"),
    **columns_of(
        cell, "batch_size optimizer learning_rate weight_decay momentum dropout label_smoothing train framework"
    ),
    **columns_of(execution, "shared_epochs shared_seconds features_seconds features_alone_seconds"),
    **columns_of(execution, " ".join(TEST_METRICS)),
    "forgotten": flag("forgotten"),
    "node": _NODE,
    **columns_of(execution, "digest plain_test_accuracy plain_test_loss"),
}
"""`results`: one row for each execution of a cell."""

HISTORY: dict[str, sa.ColumnElement[Any]] = {
    **columns_of(execution, "cell_id"),
    **columns_of(epoch, "run_id"),
    **columns_of(execution, "machine"),
    **_CELL,
    **columns_of(epoch, "stage epoch stage_epoch train_accuracy train_loss val_accuracy val_loss learning_rate"),
    **columns_of(epoch, "seconds images_per_second input_seconds step_seconds validation_seconds checkpoint_seconds"),
    **columns_of(epoch, "execution_id elapsed_seconds monitored"),
}
"""`history`: one row for each epoch of an execution."""

PREDICTIONS: dict[str, sa.ColumnElement[Any]] = {
    **columns_of(execution, "execution_id cell_id machine"),
    **_CELL,
    **columns_of(prediction, "split"),
    "image": sa.Column("image", sa.BigInteger, doc="Place in the prepared test or training set, from 0."),
    "label": sa.Column("label", sa.BigInteger, doc="Number of its class, from 0."),
    "predicted": sa.Column("predicted", sa.BigInteger, doc="Number of the most probable class, from 0."),
    "confidence": sa.Column("confidence", sa.Double, doc="Probability of that class, 0..1, to four digits."),
}
"""`predictions`: one row for each image that a completed execution was validated or tested on."""

LOOKS: dict[str, sa.ColumnElement[Any]] = {
    **columns_of(look, "look_id run_id campaign a b n difference low high alpha verdict looked_utc"),
}
"""`looks`: one row for each verdict that was asked for while more seeds could still be trained."""

VIEWS = {"results": RESULTS, "history": HISTORY, "predictions": PREDICTIONS, "looks": LOOKS}

COMPUTED = {
    "is_latest": "1 for the execution begun last of its cell and machine, those of `bench reproduce` and `bench run --retime` left "
    "out; else 0.",
    **{name: f"{execution.c[name].doc} 1 or 0." for name in ("timing_valid", "forgotten")},
    "node": attempt.c.node.doc,
    # the table has the lockbox, too
    "split": "Which images: `validation` or `test`.",
}
"""The meaning of columns that are no column of a table."""

FLAGS_WITH_GAPS = frozenset({"timing_valid"})
"""Columns of 0, 1 or NULL that mean yes, no and unknown."""

FLAGS = FLAGS_WITH_GAPS | {"is_latest", "forgotten"}
"""Columns of 0 and 1 that mean no and yes."""

CATEGORIES = frozenset({
    "run_name", "machine", "dataset", "model", "strategy", "backend", "device", "precision", "status", "cause", "node",
    "color", "optimizer", "train", "framework", "split",
})  # fmt: skip
"""Columns with few different texts."""

Kind: TypeAlias = Literal["flag", "time", "category", "integer", "real", "text"]
"""What the values of a column are, for programs that have types for them."""


def kind_of(name: str, values: type) -> Kind:
    """What a column holds, by its name and the Python type of its values."""
    if name in FLAGS:
        return "flag"
    if name.endswith("_utc"):
        return "time"
    if name in CATEGORIES:
        return "category"
    if values is int:
        return "integer"
    return "real" if values is float else "text"
