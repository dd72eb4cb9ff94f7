"""The identity of a cell: a hash of all that determines its numbers, and of nothing else.

Names, labels and the order of keys are not in it; neither is the device asked for, only its kind. A parent's id is
part of its children's, so that whatever changes a parent changes them too. `tta` and `save` change no training, but what
a finished cell leaves: they are part of the id where they ask for something, so that a result without it is never
taken for one with it. `reuse_features` may change numbers by rounding, and is part of the id where it is switched off,
and so is `share_stages`, which changes only what timings are made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from benchmark.matrix.cell import Cell

TRAINING_VERSION = 1
"""Raised when the same cell would give other numbers than before."""

ID_DIGITS = 20
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
WHEN_ASKED: Mapping[str, Any] = {"tta": 0, "save": (), "reuse_features": True, "share_stages": True}
"""Settings that are part of the identity unless they have this value."""

_PLACES = frozenset({"location", "file"})
_OF_USERS = frozenset({"test_fraction", "class_names", "version", "code"})
"""Facts of users' own datasets and models, which are part of the identity only of these."""

NAMED_ONLY = frozenset({"cell_id", "dataset", "model", "strategy", "strategy_label", "device"})
"""Fields of a cell that determine none of its numbers."""


def canonical_json(value: Any) -> str:
    """The one way to write a value as JSON: sorted keys, no spaces, ASCII, shortest exact floats.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON does not know.
    """
    return _ENCODER.encode(value)


def identity_parts(cell: Cell) -> dict[str, Any]:
    """What of a cell determines its numbers."""
    parts = {key: value for key, value in asdict(cell).items() if key not in NAMED_ONLY and is_asked(key, value)}
    parts |= {key: deciding(parts[key]) for key in ("data", "architecture")}
    return {**parts, "training_version": TRAINING_VERSION}


def is_asked(key: str, value: Any) -> bool:
    """Whether a part of a cell belongs to its identity: all do, but those of `WHEN_ASKED` only when set."""
    return key not in WHEN_ASKED or value != WHEN_ASKED[key]


def deciding(part: Mapping[str, Any]) -> dict[str, Any]:
    """What of the data or the architecture of a cell determines its numbers.

    Not where files lie: of a user's source its path as it is written, or its `version` instead where it has one; of a
    plug-in its code.
    """
    record = {key: value for key, value in part.items() if key not in _PLACES and (key not in _OF_USERS or value)}
    if record.get("version"):
        record["source"] = record["source"].partition(":")[0]
    return record


def cell_id_of(parts: Mapping[str, Any]) -> str:
    """The first 20 hexadecimal digits of the SHA-256 of the canonical JSON of `identity_parts`."""
    return _digest(canonical_json(parts))


def assembled_id(parts: Mapping[str, str], seed: int, weights: str) -> str:
    """`cell_id_of` for parts that are canonical JSON already, so that cells can share the work.

    Args:
        parts: Canonical JSON of every part but seed and weights.
        seed: Of the cell.
        weights: Canonical JSON of its weights.
    """
    texts = {**parts, "seed": str(seed), "weights": weights, "training_version": str(TRAINING_VERSION)}
    return _digest("{" + ",".join(f'"{key}":{texts[key]}' for key in sorted(texts)) + "}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_DIGITS]


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Dotted keys under which two nested records differ, such as `stages[1].epochs`; sorted."""
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
    elif _are_lists_of_tables(old, new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{path}[{number}]")
    elif _plain(old) != _plain(new):
        yield path


def _as_table(value: Any) -> Any:
    """Sorted pairs, such as the parameters of an architecture, are a table."""
    if not isinstance(value, list | tuple) or not value:
        return value
    pairs = all(isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in value)
    return dict(value) if pairs else value


def _are_lists_of_tables(old: Any, new: Any) -> bool:
    both = isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new)
    return both and all(isinstance(item, Mapping) for item in [*old, *new])


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
