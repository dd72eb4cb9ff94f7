"""Lists the built-in definitions, and those of a matrix, for `bench list datasets|models|strategies|presets`."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from benchmark.catalog.bundled_files import preset_names, preset_summary
from benchmark.catalog.facts import ARCHITECTURES, OWN_ARGUMENTS, PLUGIN, SCRIPT, SOURCES
from benchmark.errors import BenchError, MatrixError
from benchmark.matrix.planning.resolution import native_image_settings
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Library, MergedDefinition
from benchmark.matrix.reading.library import read_library
from benchmark.matrix.reading.plugins import entry_points
from benchmark.matrix.reading.toml import parse_toml, read_text
from benchmark.matrix.reading.user_files import declared_classes, parameters_of
from benchmark.matrix.reading.weight_origins import NO_WEIGHTS, Origin
from benchmark.matrix.settings import DEFAULTS, common_or_list, json_value

_SUMMARIES = ("summary", "label", "source", "architecture")

Row = dict[str, Any]
"""Flat and JSON-safe; `name` and `summary` first, then facts, then `extends` and `defined_in`."""


def list_definitions(family: str, matrix: str | None = None) -> list[Row]:
    """Lists what can be named of a family, one of `bundled_files.FAMILIES`.

    Of datasets: source, classes, sizes, and the images that the model gets. Of models: parameters, smallest images,
    layers that `last:N` counts, ImageNet weights; those of installed packages come last, under the name that a
    definition writes as its `architecture`. Of strategies: label, weights, and what each stage trains.

    Args:
        family: Its name.
        matrix: A matrix file whose definitions are listed too. Its mistakes are reported by `bench plan`; what is
            unknown because of them is None.
    """
    library = _library(matrix)[family]
    rows = [
        {
            "name": merged.name,
            # its own summary or what it is made of: the summary of what it extends does not describe it
            "summary": str(
                next((merged.definition.own[key] for key in _SUMMARIES if key in merged.definition.own), "")
            ),
            **_FACTS[family](merged),
            "extends": merged.definition.extends,
            "defined_in": "bench" if merged.definition.builtin else matrix,
        }
        for merged in library.values()
    ]
    return [*rows, *map(_packaged, entry_points())] if family == "model" else rows


def defined_names(family: str, matrix: str | None = None) -> list[str]:
    """Lists the names of a family alone; arguments as of `list_definitions`."""
    return list(_library(matrix)[family])


def list_presets() -> list[Row]:
    """Lists the presets of `bench init`: name and summary."""
    return [{"name": name, "summary": preset_summary(name)} for name in preset_names()]


def _library(matrix: str | None) -> Library:
    problems = Problems()
    document = parse_toml(read_text(matrix), matrix) if matrix is not None else {}
    library, _ = read_library(document, Path(matrix or "").parent.absolute(), problems)
    if problems and matrix is None:
        raise BenchError(str(MatrixError("built-in definitions", problems.located({}))))
    return library


def _packaged(point: EntryPoint) -> Row:
    name = f"{PLUGIN}{point.name}"
    facts = dict.fromkeys(("parameters", "minimum_image_size", "backbone_layers", "imagenet_weights"))
    return {
        "name": name,
        "summary": f'for architecture = "{name}" in a definition',
        "architecture": name,
        **facts,
        "extends": None,
        "defined_in": f"{point.dist.name} {point.dist.version}" if point.dist else point.value,
    }


def _dataset_facts(dataset: MergedDefinition) -> Row:
    source = dataset.own.get("source")
    facts = SOURCES.get(str(source))
    settings = {**(native_image_settings(dataset) if source else {}), **dataset.builtin[0], **dataset.user[0]}
    known = range(len(facts.class_names)) if facts else range(0)
    labels = [label for label in dataset.own.get("classes", known) if label in known]
    return {
        "source": source,
        "classes": len(labels) if facts else declared_classes(dataset.own),
        "class_names": ", ".join(facts.class_names[label] for label in labels) if facts else None,
        "train_examples": sum(facts.train_per_class[label] for label in labels) if facts else None,
        "test_examples": sum(facts.test_per_class[label] for label in labels) if facts else None,
        "image_size": settings.get("image_size"),
        "color": settings.get("color"),
    }


def _model_facts(model: MergedDefinition) -> Row:
    architecture = model.own.get("architecture")
    facts = ARCHITECTURES.get(str(architecture))
    given = {**model.own, **model.builtin[0], **model.user[0]}
    is_own = str(architecture).startswith(OWN_ARGUMENTS) or architecture == SCRIPT
    names = facts.parameters if facts else ("command", *parameters_of(model.own)) if is_own else ()
    parameters = {name: given[name] for name in (*names, "dropout") if name in given}
    whole = facts is not None and parameters.keys() == {*facts.parameters, "dropout"}
    return {
        "architecture": architecture,
        "parameters": ", ".join(
            f"{name} = {list(value) if isinstance(value, tuple) else value}" for name, value in parameters.items()
        ),
        "minimum_image_size": facts.minimum_image_size(parameters) if facts and whole else None,
        "backbone_layers": facts.backbone_layers(parameters) if facts and whole else None,
        "imagenet_weights": facts.imagenet if facts else None,
    }


def _strategy_facts(strategy: MergedDefinition) -> Row:
    stages = [{**DEFAULTS, **builtin, **user} for builtin, user in zip(strategy.builtin, strategy.user, strict=True)]
    return {
        "label": strategy.own.get("label", strategy.name),
        "weights": _weights_text(strategy.own.get("weights", NO_WEIGHTS)),
        "stages": len(stages),
        **{
            key: json_value(common_or_list(stage[key] for stage in stages))
            for key in ("train", "epochs", "learning_rate")
        },
        "sets": ", ".join(sorted({key for stage in (*strategy.builtin, *strategy.user) for key in stage})),
    }


def _weights_text(origin: Origin) -> str:
    if origin.origin == "parent":
        return "parent: " + ", ".join(f"{key} = {value}" for key, value in origin.names.items())
    return f"file:{origin.path}" if origin.path else origin.origin


_FACTS = {"dataset": _dataset_facts, "model": _model_facts, "strategy": _strategy_facts}
