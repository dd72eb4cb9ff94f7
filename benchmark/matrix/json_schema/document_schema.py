"""The JSON Schema of a whole matrix file, made from the table of settings and the keys of definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark import layout
from benchmark.catalog.bundled_files import FAMILIES
from benchmark.catalog.facts import OWN_ARGUMENTS, SOURCES
from benchmark.matrix.json_schema.value_schemas import (
    ARGUMENT,
    DIALECT,
    NAME,
    TEXT,
    Schema,
    either,
    reference,
    schema_of,
    some,
    table,
)
from benchmark.matrix.plan import ORDERS
from benchmark.matrix.reading.definitions import OWN_KEYS, SOURCE_FORMS, SOURCE_PATTERN, STAGE_LIMIT
from benchmark.matrix.reading.library import builtin_definitions
from benchmark.matrix.reading.plugins import KINDS
from benchmark.matrix.reading.report_keys import METRICS
from benchmark.matrix.recipes.own_arguments import COMMAND
from benchmark.matrix.settings import SETTINGS, STAGE_SETTINGS, Setting
from benchmark.matrix.values import BOOLEAN, Choice, Number

_GLOB: Schema = {"type": "string", "pattern": "[*?\\[]"}

_MEANINGS = {
    "extends": "the definition that this one begins with",
    "summary": "what it is, in a line of `bench list`",
    "label": "what it is, in words: reports show it beside the name",
    "source": f"where the images come from: {SOURCE_FORMS}",
    "classes": "labels to keep, in the order of their new numbers",
    "num_classes": "how many classes a source has that bench does not know",
    "class_names": "the names of the classes, in the order of their numbers",
    "test_fraction": "share of the images that become the test set, of a source that has none",
    "version": "a text of your own that stands for the state of the files",
    "background": "the colour that transparent pixels become",
    "labels_file": "a table of labels, relative to the folder of images",
    "multi_label": "whether an image may have several labels",
    "image_column": "the column of the images",
    "label_column": "the column of the labels",
    "architecture": "the network: its name, keras:NAME, torchvision:NAME, timm:NAME or plugin:NAME",
    "filters": "a number for each convolution, stage or group of blocks",
    "kernel_size": "height and width of the convolutions of simple_cnn",
    "dense_units": "units of the dense layer before the last; 0 for none",
    "stage_dropout": "of advanced_cnn: a number for each of `filters`",
    "command": "the program and its arguments, of a model that is a program; braces name keys and settings",
    "weights": 'where training begins: "none", "imagenet", "file:PATH", or a parent cell',
}


def matrix_schema() -> Schema:
    """The JSON Schema, draft 2020-12, of `matrix.toml`."""
    sections = {
        "matrix": _matrix(),
        "defaults": _described(table(_settings()), "defaults", "settings of every cell"),
        **{family: _family(family) for family in FAMILIES},
        "report": _report(),
        "plugins": _plugins(),
    }
    return {
        "$schema": DIALECT,
        "title": layout.MATRIX,
        "description": "What bench runs and compares. Whether names exist is left to `bench plan`.",
        **table(sections, ("matrix",)),
        "$defs": _definitions(),
    }


def schema_text() -> str:
    """The schema as `bench schema` prints it."""
    return json.dumps(matrix_schema(), indent=1, ensure_ascii=False) + "\n"


def _builtin_names(family: str) -> list[str]:
    return [definition.name for definition in builtin_definitions()[family]]


def _described(schema: Schema, title: str, description: str) -> Schema:
    return {"title": title, "description": description, **schema}


def _definitions() -> dict[str, Schema]:
    """What is written once and pointed to: each setting alone, as an axis and in a condition, and names."""
    argument = either({"type": ["boolean", "number", "string"]}, {"type": "array", "items": reference(ARGUMENT)})
    definitions = {ARGUMENT: argument, "stage": table({name: reference(name) for name in sorted(STAGE_SETTINGS)})}
    for family in FAMILIES:
        # those of bench are offered by editors; any other may be one of the file's own
        names = either({"enum": _builtin_names(family)}, {"type": "string"})
        definitions[family] = _described(names, family, f"the name of a {family}, of bench or of this file")
    definitions |= {name: _setting(setting) for name, setting in SETTINGS.items()}
    for name in (*FAMILIES, *SETTINGS):
        about: Schema = {key: definitions[name][key] for key in ("title", "description") if key in definitions[name]}
        definitions[f"{name}.axis"] = {**about, **some(reference(name))}
        definitions[f"{name}.when"] = {**about, **some(either(reference(name), _GLOB))}
    return definitions


def _setting(setting: Setting) -> Schema:
    default = setting.shown_default or _default_text(setting.default)
    return _described(
        schema_of(setting.kind), setting.name, f"{setting.doc}. Values: {setting.kind.expected}. Default: {default}."
    )


def _default_text(default: Any) -> str:
    return "false" if default in (None, ()) else str(default).lower() if isinstance(default, bool) else str(default)


def _settings() -> dict[str, Schema]:
    return {name: reference(name) for name in SETTINGS}


def _axes(form: str) -> dict[str, Schema]:
    return {name: reference(f"{name}{form}") for name in (*FAMILIES, *SETTINGS)}


def _matrix() -> Schema:
    lists = {name: {"type": "array", "minItems": 1, "items": reference(name)} for name in (*FAMILIES, *SETTINGS)}
    override = table({"when": table(_axes(".when")), "set": table(_settings(), minProperties=1)}, ("set",))
    rules = {
        "exclude": (table(_axes(".when"), minProperties=1), "leave out the cells that match every key"),
        "include": (table(_axes(".axis"), minProperties=1), "rows outside the product of the axes"),
        "zip": (table(lists, minProperties=1), "axes that move together: lists of the same length"),
        "override": (override, "settings of the cells that match `when`, applied in order"),
    }
    words = {
        "name": _described(dict(NAME), "name", "recorded with each run"),
        "on_invalid": _described(
            schema_of(Choice(("skip", "error"))), "on_invalid", "what happens to impossible combinations; default: skip"
        ),
        "order": _described(schema_of(Choice(ORDERS)), "order", "in which order cells run"),
    }
    written = {key: _described({"type": "array", "items": row}, key, doc) for key, (row, doc) in rules.items()}
    # the names may stand in rows or in a zip as well
    named = [{"required": list(FAMILIES)}, {"required": ["include"]}, {"required": ["zip"]}]
    schema = table({**words, **_axes(".axis"), **written}, anyOf=named)
    return _described(schema, "matrix", "the axes: every combination of their values is a cell")


def _family(family: str) -> Schema:
    own = {key: _own_key(key, schema_of_own(family, key)) for key in OWN_KEYS[family]}
    own["extends"] = _described(reference(family), "extends", _MEANINGS["extends"])
    if family == "dataset":
        unknown = {"allOf": [schema_of(OWN_KEYS[family]["source"]), {"pattern": f"^({SOURCE_PATTERN})$"}]}
        own["source"] = _described(either({"enum": sorted(SOURCES)}, unknown), "source", _MEANINGS["source"])
        one = table({**own, **_settings()}, anyOf=[{"required": ["extends"]}, {"required": ["source"]}])
    elif family == "model":
        one = either(*_models(own))
    else:
        stages = {"type": "array", "items": reference("stage"), "minItems": 1, "maxItems": STAGE_LIMIT}
        stages = _described(stages, "stage", "stages of training, which follow each other")
        one = table({**own, **_settings(), "stage": stages})
    names = {"propertyNames": dict(NAME), "additionalProperties": one}
    return _described({"type": "object", **names}, family, f"definitions of {family}s, by name")


def schema_of_own(family: str, key: str) -> Schema:
    """The schema of a key that only one family of definitions has."""
    return _weights() if key == "weights" else schema_of(OWN_KEYS[family][key])


def _own_key(key: str, schema: Schema) -> Schema:
    return _described(schema, key, _MEANINGS[key])


def _models(own: Mapping[str, Schema]) -> tuple[Schema, Schema]:
    """Networks of bench, whose keys are all known; and programs and users' networks, which may have any."""
    code = f"^({'|'.join(OWN_ARGUMENTS)})"
    known = table({**own, **_settings()}, anyOf=[{"required": ["extends"]}, {"required": ["architecture"]}])
    known["not"] = {"properties": {"architecture": {"pattern": code}}, "required": ["architecture"]}
    texts = {key: own[key] for key in ("extends", "summary", "architecture")}
    command = _own_key("command", schema_of(COMMAND))
    by_itself = [
        {"required": ["command"]},
        {"required": ["architecture"], "properties": {"architecture": {"pattern": code}}},
        # of a model of the same file, which may be one of these
        {"required": ["extends"], "properties": {"extends": {"not": {"enum": _builtin_names("model")}}}},
    ]
    keys = {**texts, "command": command, **_settings()}
    free = {"type": "object", "properties": keys, "additionalProperties": reference(ARGUMENT), "anyOf": by_itself}
    return {"title": "a network of bench", **known}, {"title": "a network or a program of your own", **free}


def _weights() -> Schema:
    parent = table({**dict.fromkeys(FAMILIES, TEXT), **_settings()}, ("strategy",))
    return either({"enum": ["none", "imagenet"]}, {"type": "string", "pattern": "^file:."}, parent)


def _report() -> Schema:
    names = {family: reference(family) for family in FAMILIES}
    strategy = names["strategy"]
    columns = table(
        {"metric": schema_of(Choice(METRICS)), "title": NAME, "percent": schema_of(BOOLEAN)}, ("metric", "title")
    )
    figures = {"type": "array", "minItems": 1, "items": either(schema_of(Number(0)), {"const": ""}, NAME)}
    labels = {"type": "array", "minItems": 1, "items": NAME}
    row = {"label": labels, "figures": figures, **names}
    published = {
        "title": NAME,
        "source": NAME,
        "headings": labels,
        "columns": {"type": "array", "minItems": 1, "items": columns},
        "rows": {"type": "array", "minItems": 1, "items": table(row, row)},
        "metrics_as_rows": schema_of(BOOLEAN),
    }
    margin = either(
        {"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^[0-9.eE+_\\s-]+(pp)?\\s*$"}
    )
    parts = {
        "baseline": (strategy, "the strategy that the summary compares all others with"),
        "margin": (margin, 'what counts as equivalent, in the unit of the metric, or in points such as "0.5pp"'),
        "metrics": (some(TEXT), "the columns of results that get verdicts; default: test_accuracy"),
        "transfer": (
            _list(table({"fine_tuned": strategy, "scratch": strategy, **_only(names, "dataset", "model")},
                        ("fine_tuned", "scratch"))),
            "comparisons of a strategy that starts from weights with one from scratch",
        ),
        "progression": (
            _list({"type": "array", "items": strategy, "minItems": 2}),
            "strategies in a row, each compared with the one before",
        ),
        "ensemble": (
            _list(table({"cells": some(TEXT), "label": NAME}, ("cells",))), "cells whose predictions are averaged",
        ),
        "published": (
            _list(table(published, ("title", "source", "headings", "columns", "rows"))),
            "published figures, shown beside those that were measured",
        ),
    }  # fmt: skip
    schema = table({key: _described(part, key, doc) for key, (part, doc) in parts.items()})
    return _described(schema, "report", "what `bench report` compares")


def _only(names: Mapping[str, Schema], *kept: str) -> dict[str, Schema]:
    return {key: names[key] for key in kept}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _plugins() -> Schema:
    files = {
        key: _described(either(TEXT, _list(TEXT)), key, f"Python files, each with {doc}") for key, doc in KINDS.items()
    }
    return _described(table(files), "plugins", "Python files of your own")
