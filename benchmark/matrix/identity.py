"""Computes the id of a cell: a hash of everything that determines its results, and of nothing else.

Names, labels and the order of keys are not part of it; of the device only its kind is. A parent's id is part of its
children's, so that whatever changes a parent changes them too. A setting that was added after the first cells were
recorded is part of it only where it differs from its default, so that a new setting leaves every recorded id as it is.
Some of these do not change the training, but the files of a finished cell (`tta`, `save`) or its timings
(`share_stages`): a result without them is never reused for a cell with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture, Cell, Data, EarlyStopping, ReduceLearningRate, Stage, Weights, is_table

TRAINING_VERSION = 1
"""Increased when the same cell would give other results than before."""

ID_DIGITS = 20
"""Hexadecimal digits of a cell id."""
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

NEVER = frozenset(
    {"cell_id", "dataset", "model", "strategy", "strategy_label", "device", "location", "file", "folder", "loss_file"}
    | {"metric_files", "callback_files"}
)
"""Fields that do not determine results: names, the device as asked for, paths of files and folders."""

ALWAYS: Mapping[type, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        Cell: "seed data architecture weights stages keep monitor labels threads precision backend device_kind "
        "deterministic",
        Data: "source classes num_classes image_size color train_examples test_examples validation_fraction",
        Architecture: "name parameters",
        Weights: "origin path parent_cell_id",
        Stage: "train epochs batch_size optimizer learning_rate momentum weight_decay label_smoothing augment "
        "early_stopping reduce_learning_rate",
        EarlyStopping: "monitor patience min_delta",
        ReduceLearningRate: "monitor factor patience min_learning_rate",
    }.items()
}
"""Fields that are part of the identity whatever their value, because they were when the first cells were recorded.

Nothing may be added or removed: either would give cells other ids than they were recorded with.
"""


def canonical_json(value: Any) -> str:
    """Encodes a value as canonical JSON: sorted keys, no spaces, ASCII, shortest exact floats.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON cannot represent.
    """
    return _ENCODER.encode(value)


def identity_value(value: Any) -> Any:
    """Reduces a cell, a part of it, or a value in it to what determines results, as JSON-safe values.

    Paths of files are replaced: by the path as the matrix has it or the `version` for a user's source, by the code for
    a plug-in.
    """
    if isinstance(value, tuple):
        return [identity_value(item) for item in value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    omitted = _omitted_values(value.__class__)
    record = {
        name: identity_value(asked) for name, default in omitted.items() if (asked := getattr(value, name)) != default
    }
    if record.get("version") and isinstance(value, Data):
        record["source"] = value.source.partition(":")[0]
    return record


@cache
def _omitted_values(kind: type) -> dict[str, Any]:
    """For each field that may be part of the identity the value at which it is omitted; a unique object for none."""
    always = ALWAYS.get(kind, frozenset())
    return {
        field.name: object() if field.name in always else field.default
        for field in fields(kind)
        if field.name not in NEVER
    }


def identity_parts(cell: Cell) -> dict[str, Any]:
    """Returns everything in a cell that determines its results, as a record to compare with another cell's."""
    return {**identity_value(cell), "training_version": TRAINING_VERSION}


def cell_id_of(cell: Cell) -> str:
    """Computes a cell's id: the first 20 hexadecimal digits of the SHA-256 of the canonical JSON of `identity_parts`."""
    return assembled_id(part_texts({field.name: getattr(cell, field.name) for field in fields(Cell)}))


def part_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Encodes those fields of a cell that are part of its identity as canonical JSON.

    Args:
        values: Any fields of a cell, by name.
    """
    omitted = _omitted_values(Cell)
    return {
        name: canonical_json(identity_value(value))
        for name, value in values.items()
        if value != omitted.get(name, value)
    }


def assembled_id(texts: Mapping[str, str]) -> str:
    """Computes an id from all its `part_texts`. Cells of one matrix share most of these, so each is encoded once."""
    whole = {**texts, "training_version": str(TRAINING_VERSION)}
    text = "{" + ",".join(f'"{name}":{whole[name]}' for name in sorted(whole)) + "}"
    return sha256_of(text.encode("ascii"))[:ID_DIGITS]


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lists the dotted keys under which two nested records differ, such as `stages[1].epochs`; sorted."""
    return sorted(_differences(old, new, ""))


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    old, new = _as_table(old), _as_table(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            where = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                yield from _differences(old[key], new[key], where)
            else:
                yield where
    elif (
        isinstance(old, list | tuple)
        and isinstance(new, list | tuple)
        and len(old) == len(new)
        and all(isinstance(item, Mapping) for item in [*old, *new])
    ):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{path}[{number}]")
    elif with_lists(old) != with_lists(new):
        yield path


def _as_table(value: Any) -> Any:
    """Sorted pairs, such as the parameters of an architecture, are a table."""
    return dict(value) if is_table(value) else value


def with_lists(value: Any) -> Any:
    """The value with lists in the place of tuples, as JSON would give it back."""
    return [with_lists(item) for item in value] if isinstance(value, list | tuple) else value
