"""The settings of a cell as one flat dictionary, so that two cells can be compared key by key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell, Data, Stage, defaults_of, is_table
from benchmark.matrix.identity import with_lists
from benchmark.matrix.script_command import typed
from benchmark.matrix.settings import SEEDS, common_or_list

CODES = ("data_code", "model_code", "loss_code", "callback_codes", "metric_codes")
"""Settings that say which version of the user's own code it is; None or empty without any."""

NOT_SETTINGS = frozenset({"cell_id", "dataset", "model", "strategy", "strategy_label", *SEEDS, "device"})
"""Keys of a cell that are not settings: names, seeds, and how the device was asked for (`device_kind` counts)."""

_DIGITS = 8
_LONGEST_COMMAND = 40
_SCALARS = (str, int, float, bool, type(None))

COLUMNS = (
    "backend", "device_kind", "threads", "precision", "image_size", "color", "batch_size", "epochs_planned",
    "learning_rate", "optimizer",
)  # fmt: skip
"""Settings that have a column of their own, for rows without the whole cell."""


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a row's cell except its seeds and its fold, by name.

    A setting of the stages is one value when all stages agree, else a list with one entry for each stage.

    Args:
        row: Its `spec` is `Cell.to_dict()`, or that as JSON text; without it the columns of `COLUMNS` are taken.
    """
    spec = row.get("spec")
    record = json.loads(spec) if isinstance(spec, str) else spec
    if not record:
        return {name: row[name] for name in COLUMNS if row.get(name) is not None}
    nested = {"data", "architecture", "weights", "stages"}
    cell, data = _whole(Cell, record), _whole(Data, record["data"])
    stages = [with_lists(_shown(_whole(Stage, stage))) for stage in record["stages"]]
    return {
        **{key: value for key, value in _shown(cell).items() if key not in NOT_SETTINGS | nested},
        **{key: value for key, value in data.items() if key not in {"num_classes", "fold", "code", "file"}},
        **({"data_code": _short(data["code"])} if data.get("code") else {}),
        "architecture": record["architecture"]["name"],
        **_program(record["architecture"]),
        **dict(with_lists(record["architecture"]["parameters"])),
        "weights": record["weights"]["path"] or record["weights"]["origin"],
        **{key: common_or_list(stage[key] for stage in stages) for key in (stages[0] if stages else ())},
    }


def _program(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Of a plug-in its code, of a command its line and the code of the files that it names; nothing of networks of bench."""
    code, command = architecture.get("code"), architecture.get("command")
    shown = {"command": _command_text(command)} if command else {}
    return {**shown, **({"model_code": _short(code)} if code else {})}


def _command_text(command: Iterable[str]) -> str:
    """A command as it is typed; of a long one the beginning, and a digest that tells it from others."""
    text = typed(command)
    if len(text) <= _LONGEST_COMMAND:
        return text
    return f"{text[: _LONGEST_COMMAND - _DIGITS - 2].rstrip()}… {sha256_of(text.encode())[:_DIGITS]}"


def _shown(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part without the paths of the user's own code; of its digests as many digits as tell one from another."""
    shown = {key: value for key, value in part.items() if key not in {"loss_file", "metric_files", "callback_files"}}
    for key in ("metric_codes", "callback_codes"):
        if key in shown:
            shown[key] = [[name, _short(code)] for name, code in shown[key]]
    return {**shown, "loss_code": _short(shown["loss_code"])} if shown.get("loss_code") else shown


def _short(code: str) -> str:
    return code if " " in code else code[:_DIGITS]


def settings_by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`settings_of` each row, by cell; cells that differ in the seed alone share one record, and are parsed once."""
    known: dict[str, dict[str, Any]] = {}
    by_cell = {}
    for row in rows:
        text = row.get("spec")
        if isinstance(text, str):
            # without ids and seed, which are no settings; what differs beside them is parsed, and found equal, later
            for identity in (row["cell_id"], row.get("parent_cell_id") or "", f'"seed": {row["seed"]},'):
                text = text.replace(identity, "") if identity else text
        else:
            text = ""
        settings = known.get(text) or settings_of(row)
        if text:
            known[text] = settings
        by_cell[row["cell_id"]] = settings
    return by_cell


def _whole(kind: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the defaults of what an older version did not know, so that it is like one of today."""
    return {**record, **{name: value for name, value in defaults_of(kind).items() if name not in record}}


def key_of(settings: Mapping[str, Any]) -> str:
    """The same text for the same settings, whatever their order."""
    return json.dumps(settings, sort_keys=True, default=str)


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The names of the settings in which two records differ; a missing setting counts as None."""
    return [name for name in dict.fromkeys([*first, *second]) if not agree(first, second, name)]


def agree(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    """Whether two records have the same value under a name; a missing one counts as None."""
    a, b = first.get(name), second.get(name)
    if a is b:
        return True
    # the same as by their keys, and faster
    return bool(a == b) if type(a) is type(b) and isinstance(a, _SCALARS) else bool(value_key(a) == value_key(b))


def value_key(value: Any) -> Any:
    """Something hashable that is equal for equal settings alone: 1 and 1.0 are two."""
    return (type(value), value) if isinstance(value, _SCALARS) else json.dumps(value, sort_keys=True, default=str)


def describe(value: Any) -> str:
    """A setting as a person would write it: `none`, `0.001 then 1e-05`, `flip=horizontal, rotation=0.05`."""
    if value is None or value in ([], {}, ()):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping) or is_table(value):
        return ", ".join(f"{key}={_within(item)}" for key, item in dict(value).items())
    if isinstance(value, list | tuple):
        return " then ".join(f"{describe(item)}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _within(value: Any) -> str:
    """A value of a table, which may be a table itself: `{layers=2, magnitude=0.3}`."""
    return f"{{{describe(value)}}}" if isinstance(value, Mapping) or is_table(value) else describe(value)
