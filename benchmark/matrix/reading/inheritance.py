"""Merges definitions with what they `extends`, and checks that each is complete, whether it is used or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark.catalog.bundled_files import FAMILIES
from benchmark.catalog.facts import ARCHITECTURES, OWN_ARGUMENTS, SCRIPT, SOURCES
from benchmark.catalog.keras_applications import canonical
from benchmark.catalog.torch_models import TORCHVISION, TORCHVISION_MODELS
from benchmark.matrix.problems import KeyPath, Problems, nearest_hint
from benchmark.matrix.reading.definitions import (
    CHAIN_LIMIT,
    LISTINGS,
    SOURCE_FORMS,
    SOURCE_PATTERN,
    Definition,
    Library,
    MergedDefinition,
)
from benchmark.matrix.reading.user_files import (
    FILE_KINDS,
    IMAGE_FACTS,
    LOCATION,
    ROW_KINDS,
    ImageFacts,
    declared_classes,
    image_facts,
    parameters_of,
)
from benchmark.matrix.reading.weight_origins import NO_WEIGHTS, PARENT_NAMES
from benchmark.matrix.script_command import keys_in
from benchmark.matrix.settings import SETTINGS

_FILES_ONLY = {
    "class_names": (*FILE_KINDS, "hf", "plugin", "tfds"),
    "version": FILE_KINDS,
    "background": ("folder", *ROW_KINDS),
    "labels_file": ("folder",),
    "image_column": ROW_KINDS,
    "label_column": ROW_KINDS,
}
"""Keys of a dataset that only these kinds of users' files have."""
_NOT_INHERITED = {"extends", "summary", "label"}

Definitions = Mapping[str, Sequence[Definition]]


def merge_library(builtin: Definitions, user: Definitions, problems: Problems) -> Library:
    """Merges every definition with what it extends; a user's definition replaces a built-in one of the same name.

    Built-in definitions extend built-in ones, whatever names the user defines. A user's definition that extends its own
    name extends the built-in one.
    """
    merged: dict[str, dict[str, MergedDefinition]] = {family: {} for family in FAMILIES}
    for family in FAMILIES:
        own = {definition.name: definition for definition in user[family]}
        ours = {definition.name: definition for definition in builtin[family]}
        for definition in {**ours, **own}.values():
            chain, whole = _ancestry(definition, ours, own, problems)
            result = _COMPLETED[family](_merged(chain))
            merged[family][definition.name] = result
            if whole and family in _CHECKS:
                _CHECKS[family](result, problems)
    _check_parents(merged, problems)
    return merged


def _ancestry(
    definition: Definition, builtin: Mapping[str, Definition], user: Mapping[str, Definition], problems: Problems
) -> tuple[list[Definition], bool]:
    """The chain from the first ancestor down to the definition, and whether it is unbroken."""
    chain = [definition]
    while chain[-1].extends is not None:
        current, where = chain[-1], (*chain[-1].path, "extends")
        name = str(current.extends)
        above = builtin if current.builtin or name == current.name else {**builtin, **user}
        parent = above.get(name)
        if parent is None:
            hint = nearest_hint(current.extends, {*builtin, *user} - {current.name}, LISTINGS[current.family])
            problems.add(where, f"the name of another {current.family}", current.extends, hint)
            return chain[::-1], False
        if any(parent is seen for seen in chain):
            circle = " → ".join([*(d.name for d in chain[chain.index(parent) :]), parent.name])
            problems.add(where, "definitions that do not extend each other in a circle", circle)
            return chain[::-1], False
        if len(chain) == CHAIN_LIMIT:
            problems.add(where, f"at most {CHAIN_LIMIT} definitions in a chain")
            return chain[::-1], False
        chain.append(parent)
    return chain[::-1], True


def _merged(chain: Sequence[Definition]) -> MergedDefinition:
    own: dict[str, Any] = {}
    for definition in chain:
        own.update({key: value for key, value in definition.own.items() if key not in _NOT_INHERITED})
    last = chain[-1]
    own.update({key: value for key, value in last.own.items() if key in _NOT_INHERITED})
    # the stages of the nearest definition that lists any; its ancestors' stages are replaced as a whole
    staged = next((definition for definition in reversed(chain) if definition.stages), None)
    count = len(staged.stages) if staged and staged.stages else 1
    return MergedDefinition(
        tuple(chain),
        own,
        tuple(_layer(chain, staged, number, builtin=True) for number in range(count)),
        tuple(_layer(chain, staged, number, builtin=False) for number in range(count)),
    )


def _with_defaults(model: MergedDefinition) -> MergedDefinition:
    """The model with the canonical name of its architecture, and with the defaults of its parameters."""
    name = canonical(str(model.own.get("architecture")))
    facts = ARCHITECTURES.get(name)
    if facts is None:
        return model
    defaults = {key: value for key, value in facts.defaults.items() if key not in SETTINGS}
    settings = {key: value for key, value in facts.defaults.items() if key in SETTINGS}
    builtin = tuple({**settings, **layer} for layer in model.builtin)
    return replace(model, own={**defaults, **model.own, "architecture": name}, builtin=builtin)


def _with_facts(dataset: MergedDefinition) -> MergedDefinition:
    """The dataset with what is known of its files."""
    return replace(dataset, own={**dataset.own, IMAGE_FACTS: image_facts(dataset.own)})


def _layer(chain: Sequence[Definition], staged: Definition | None, number: int, *, builtin: bool) -> dict[str, Any]:
    """Settings of one stage: child over parent, and within a definition the stage's table over the settings above it."""
    values: dict[str, Any] = {}
    for definition in chain:
        if definition.builtin == builtin:
            values.update(definition.settings)
            if definition is staged and definition.stages:
                values.update(definition.stages[number])
    return values


def _place(merged: MergedDefinition, key: str, *others: str) -> KeyPath:
    """The path to report a mistake about `key` at: in the nearest definition that has the key, or one of `others`.

    Not in a built-in definition: what is inherited from it can only be wrong together with a key of the user's.
    """
    for definition in reversed(merged.chain):
        if definition.own.keys() & {key, *others} and (not definition.builtin or merged.definition.builtin):
            return (*definition.path, key)
    return (*merged.definition.path, key)


def _check_dataset(dataset: MergedDefinition, problems: Problems) -> None:
    source, place = dataset.own.get("source"), _place(dataset, "source")
    if source is None:
        hint = 'extend a dataset, such as extends = "digits"'
        problems.add(_place(dataset, "source"), "a data source; it is missing", hint=hint)
        return
    facts = SOURCES.get(source)
    if facts is None and not re.fullmatch(SOURCE_PATTERN, source):
        problems.add(place, SOURCE_FORMS, source, nearest_hint(source, SOURCES))
        return
    _check_users_keys(dataset, known=facts is not None, problems=problems)
    declared = dataset.own.get("num_classes")
    if facts is None:
        _check_unknown_source(dataset, problems)
    elif declared not in (None, len(facts.class_names)):
        problems.add(_place(dataset, "num_classes", "source"), f"{len(facts.class_names)}, as {source} has", declared)
    _check_classes(dataset, len(facts.class_names) if facts else declared_classes(dataset.own), problems)


def _check_users_keys(dataset: MergedDefinition, *, known: bool, problems: Problems) -> None:
    """Checks the keys that are only for a user's files, or only for sources that bench does not know."""
    own = dataset.own
    for key, kinds in _FILES_ONLY.items():
        if key in own and str(own["source"]).partition(":")[0] not in kinds:
            homes = " and ".join(f"{kind}:{'NAME' if kind in {'plugin', 'tfds'} else 'PATH'}" for kind in kinds)
            problems.add(_place(dataset, key, "source"), f"no `{key}`, which is for {homes}")
    if known and "test_fraction" in own:
        problems.add(_place(dataset, "test_fraction"), f"no `test_fraction`: {own['source']} has a test set")
    if known and "class_names" in own and str(own["source"]).startswith("tfds:"):
        problems.add(_place(dataset, "class_names"), f"no `class_names`: {own['source']} has names of its own")
    names, count = own.get("class_names"), own.get("num_classes")
    if names and (len(names) < 2 or len(set(names)) < len(names)):
        problems.add(_place(dataset, "class_names"), "at least two names, each once", names)
    elif names and count not in (None, len(names)):
        problems.add(_place(dataset, "num_classes", "class_names"), f"{len(names)}, as there are class_names", count)


def _check_unknown_source(dataset: MergedDefinition, problems: Problems) -> None:
    """Checks that what bench must know before any image is opened is given, or known from the files."""
    own, facts = dataset.own, dataset.own.get(IMAGE_FACTS) if dataset.own.get(LOCATION) else None
    settings = {**dataset.builtin[0], **dataset.user[0]}
    seen = facts or ImageFacts()
    count = declared_classes(own)
    needed = {
        "num_classes": count,
        "image_size": settings.get("image_size", seen.image_size),
        "color": settings.get("color", seen.color),
    }
    missing = [key for key, value in needed.items() if value is None]
    if seen.mistake:
        problems.add(_place(dataset, "labels_file", "source"), "a table of labels that can be read", hint=seen.mistake)
        return
    if seen.problem and missing:
        kind = "a folder of class folders" if own["source"].startswith("folder:") else "an archive of images"
        kind = f"a table of labels {own['labels_file']} of the images" if "labels_file" in own else kind
        hint = f"{seen.problem}; or state {', '.join(missing)} to plan without it"
        problems.add(_place(dataset, "source"), f"{kind} at {own[LOCATION]}", own["source"], hint)
        missing = []
    unknown = f"{own['source']} is not a source that bench knows"
    reason = unknown if facts is None else f"nothing can be told from {own[LOCATION]} alone"
    for key in missing:
        problems.add(_place(dataset, key, "source"), f"`{key}`, because {reason}")
    what = "classes in the table of labels" if "labels_file" in own else "class folders"
    what = "columns of labels" if own["source"].startswith("npz:") else what
    if seen.classes is not None and seen.classes < 2:
        problems.add(_place(dataset, "source"), f"at least two {what} in {own[LOCATION]}", seen.classes)
    elif seen.classes not in (None, count):
        problems.add(
            _place(dataset, "num_classes", "class_names", "source"),
            f"{seen.classes}, the {what} of {own[LOCATION]}",
            count,
        )


def _check_classes(dataset: MergedDefinition, available: int | None, problems: Problems) -> None:
    classes, place = dataset.own.get("classes"), _place(dataset, "classes", "source")
    if classes is None:
        return
    if len(classes) < 2 or len(set(classes)) < len(classes):
        problems.add(place, "at least two labels, each once", classes)
    if available is not None and max(classes) >= available:
        problems.add(place, f"labels from 0 to {available - 1}, as {dataset.own['source']} has", classes)


def _check_model(model: MergedDefinition, problems: Problems) -> None:
    name = model.own.get("architecture")
    if "command" in model.own:
        _check_command(model, problems)
        return
    if name is None:
        hint = 'extend a model, such as extends = "simple_cnn"'
        problems.add(_place(model, "architecture"), "an architecture; it is missing", hint=hint)
        return
    if name.startswith(TORCHVISION) and name not in TORCHVISION_MODELS:
        hint = nearest_hint(name, TORCHVISION_MODELS)
        problems.add(_place(model, "architecture"), "a classifier of torchvision", name, hint)
    if name.startswith(OWN_ARGUMENTS):
        return  # the arguments of its function are unknown; `plugins.py` has checked that it exists
    facts = ARCHITECTURES.get(name)
    if facts is None:
        hint = nearest_hint(name, ARCHITECTURES)
        problems.add(_place(model, "architecture"), "the name of an architecture", name, hint)
        return
    given = parameters_of(model.own).keys()
    for key in sorted(given - set(facts.parameters)):
        allowed = ", ".join([*facts.parameters, "dropout"])
        problems.add(_place(model, key, "architecture"), f"a parameter of {name}: {allowed}", model.own[key])
    missing = [key for key in facts.parameters if key not in given]
    if "dropout" not in {**model.builtin[0], **model.user[0]}:
        missing.append("dropout")
    for key in missing:
        problems.add(
            _place(model, key, "architecture"), f"`{key}` of {name}; it is missing", hint=f'or extends = "{name}"'
        )
    if not missing:
        _check_lengths(model, facts.blocks, problems)


def _check_command(model: MergedDefinition, problems: Problems) -> None:
    """Checks that a command is no network as well, and that its braces name what there is."""
    networks = [each.own["architecture"] for each in model.chain if each.own.get("architecture") not in {None, SCRIPT}]
    if networks:
        hint = "a model is a command or a network: take one of them out, or extend another model"
        problems.add(_place(model, "command"), f"no command beside architecture = {networks[-1]!r}", hint=hint)
        return
    known = {*parameters_of(model.own), *SETTINGS}
    for number, argument in enumerate(model.own["command"]):
        where = (*_place(model, "command"), number)
        try:
            unknown = [key for key in keys_in(argument) if key not in known]
        except ValueError as error:
            hint = "write {{ and }} for braces that stand for themselves"
            problems.add(where, "a key of this definition or a setting in each pair of braces", str(error), hint)
            continue
        for key in unknown:
            hint = nearest_hint(key, known) or "write it as a key of this definition"
            problems.add(where, "a key of this definition or a setting in each pair of braces", f"{{{key}}}", hint)


def _check_lengths(model: MergedDefinition, blocks: int | None, problems: Problems) -> None:
    filters, dropouts = model.own.get("filters"), model.own.get("stage_dropout")
    if blocks is not None and filters is not None and len(filters) != blocks:
        problems.add(
            _place(model, "filters", "architecture"), f"{blocks} numbers, one for each group of blocks", filters
        )
    if filters is not None and len(filters) > 16:
        problems.add(_place(model, "filters"), "at most 16 numbers", filters)
    if dropouts is not None and filters is not None and len(dropouts) != len(filters):
        problems.add(
            _place(model, "stage_dropout", "filters"), f"{len(filters)} numbers, one for each of `filters`", dropouts
        )


# a strategy is always complete: every setting has a default, and `_check_parents` checks the names in `weights`
_CHECKS = {"dataset": _check_dataset, "model": _check_model}


_COMPLETED: dict[str, Callable[[MergedDefinition], MergedDefinition]] = {
    "dataset": _with_facts,
    "model": _with_defaults,
    "strategy": lambda strategy: strategy,
}


def _check_parents(library: Library, problems: Problems) -> None:
    for strategy in library["strategy"].values():
        origin = strategy.definition.own.get("weights", NO_WEIGHTS)
        place = (*strategy.definition.path, "weights")
        for family in PARENT_NAMES:
            name = origin.names.get(family)
            if isinstance(name, str) and name not in library[family]:
                hint = nearest_hint(name, library[family], LISTINGS[family])
                problems.add((*place, family), f"the name of a {family}", name, hint)
        _check_circle(strategy, library, place, problems)


def _check_circle(strategy: MergedDefinition, library: Library, place: KeyPath, problems: Problems) -> None:
    """Refuses a strategy whose weights come, through others, from itself: it could never start."""
    names = [strategy.name]
    while True:
        parent = library["strategy"].get(names[-1])
        name = parent.own.get("weights", NO_WEIGHTS).names.get("strategy") if parent else None
        if name is None:
            return
        names.append(name)
        if name == names[0] and names[0] == min(names):
            problems.add(place, "weights that do not come from the strategy itself", " → ".join(names))
        if len(names) > CHAIN_LIMIT:
            problems.add(place, f"at most {CHAIN_LIMIT} generations of parents")
        if name in names[:-1] or len(names) > CHAIN_LIMIT:
            return
