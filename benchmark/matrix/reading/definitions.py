"""Reads and checks the definitions of datasets, models and strategies, whether they are used or not.

Built-in definitions and the user's differ only in precedence. A `Definition` is one table of a file. A
`MergedDefinition` is that with everything it extends, split into a built-in and a user's part, because the precedence
of `[defaults]` is between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmark.catalog.bundled_files import FAMILIES
from benchmark.catalog.facts import OWN_ARGUMENTS
from benchmark.matrix.problems import INVALID, KeyPath, Problems, close_hint, name_problem, normal_name
from benchmark.matrix.reading.validation_split import check_validation_split, single_values
from benchmark.matrix.reading.weight_origins import WEIGHTS
from benchmark.matrix.recipes.own_arguments import COMMAND, CommandKey, Parameter
from benchmark.matrix.settings import PARAMETER_KINDS, SETTINGS, STAGE_SETTINGS
from benchmark.matrix.values import (
    BOOLEAN,
    COLOR,
    Integer,
    Kind,
    ListOf,
    Name,
    Number,
    printable_text,
)

SOURCE_FORMS = "digits, tfds:NAME, folder:PATH, npz:PATH, parquet:PATH, hf:PATH, webdataset:PATH or plugin:NAME"
SOURCE_PATTERN = r"tfds:[a-z0-9_]+(/[A-Za-z0-9_.-]+)?(:[0-9.]+)?|(folder|npz|plugin|parquet|hf|webdataset):[^\n]+"
"""What a data source looks like that bench does not know by its name."""
"""How the source of a dataset is written, for messages."""

_ALL_KEYS = "docs/matrix.md lists all keys"
CHAIN_LIMIT = 50
STAGE_LIMIT = 100
LISTINGS = {"dataset": "bench list datasets", "model": "bench list models", "strategy": "bench list strategies"}
"""The commands that list all names of a family."""

_TEXTS: dict[str, Kind] = {"extends": Name("the name of another definition"), "summary": Name()}
OWN_KEYS: dict[str, dict[str, Kind]] = {
    "dataset": {
        **_TEXTS,
        "source": printable_text(f"a data source: {SOURCE_FORMS}"),
        "classes": ListOf(Integer(0, 65535)),
        "num_classes": Integer(2, 65536),
        "class_names": ListOf(Name()),
        "test_fraction": Number(0, 1, above=True, below=True),
        "version": Name(),
        "background": COLOR,
        "labels_file": printable_text("the path of a table of labels, relative to the folder of images"),
        "multi_label": BOOLEAN,
        "image_column": Name("the name of a column"),
        "label_column": Name("the name of a column"),
    },
    "model": {**_TEXTS, "architecture": Name("the name of an architecture"), **PARAMETER_KINDS},
    "strategy": {**_TEXTS, "label": Name(), "weights": WEIGHTS},
}
"""The keys of each family beside training settings and, for strategies, stages."""

_PLUGIN_KEYS: dict[str, Kind] = {key: OWN_KEYS["model"][key] for key in ("extends", "summary", "architecture")}
"""The keys of a model that a plug-in builds; every other key that is no setting is an argument of its function."""

_COMMAND_KEYS: dict[str, Kind] = {**_PLUGIN_KEYS, "command": COMMAND}
"""The keys of a model with a command; every other key that is no setting can stand in its braces."""


@dataclass(frozen=True)
class Definition:
    """One table `[family.name]`.

    Attributes:
        path: Its position in the file.
        own: Keys that only this family has, such as `source` or `weights`.
        settings: Training settings, in normal form.
        stages: Settings of each stage, when it lists stages.
    """

    family: str
    name: str
    builtin: bool
    path: KeyPath
    own: Mapping[str, Any]
    settings: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...] | None

    @property
    def extends(self) -> str | None:
        return self.own.get("extends")


@dataclass(frozen=True)
class MergedDefinition:
    """A definition merged with everything that it extends, child over parent.

    Attributes:
        chain: The definitions that it is made of, from its first ancestor down to the one that it is.
        own: Keys of the family.
        builtin, user: For each stage, the settings from built-in definitions and from the user's. Datasets and
            models have one entry, which holds for every stage.
    """

    chain: tuple[Definition, ...]
    own: Mapping[str, Any]
    builtin: tuple[Mapping[str, Any], ...]
    user: tuple[Mapping[str, Any], ...]

    @property
    def definition(self) -> Definition:
        return self.chain[-1]

    @property
    def name(self) -> str:
        return self.definition.name


Library: TypeAlias = Mapping[str, Mapping[str, MergedDefinition]]
"""All definitions that a matrix can use, by family and name."""


def read_definitions(document: Mapping[str, Any], problems: Problems, *, builtin: bool) -> dict[str, list[Definition]]:
    """Reads all `[dataset.*]`, `[model.*]` and `[strategy.*]` of a document; mistakes are added to `problems`."""
    return {family: list(_read_family(family, document, problems, builtin)) for family in FAMILIES}


def _read_family(family: str, document: Mapping[str, Any], problems: Problems, builtin: bool) -> Iterable[Definition]:
    tables = document.get(family, {})
    if not isinstance(tables, dict):
        problems.add((family,), f"tables [{family}.NAME]", tables)
        return
    seen: set[str] = set()
    for key, table in tables.items():
        path, name = (family, key), normal_name(key)
        if name_problem(key):
            problems.add(path, name_problem(key))
        elif not isinstance(table, dict):
            problems.add(path, f"a table [{family}.{key}]", table)
        elif name in seen:
            problems.add(path, "names that differ by more than the way an accent is encoded")
        else:
            seen.add(name)
            kinds = (_model_keys(table, tables) if family == "model" else None) or OWN_KEYS[family]
            yield _read_definition(family, name, table, path, problems, builtin, kinds)


def _model_keys(table: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Kind] | None:
    """The keys of a model that is a command or a plug-in, by itself or by one that it extends in the same file; else None."""
    for _ in range(CHAIN_LIMIT):
        if "command" in table:
            return _COMMAND_KEYS
        if "architecture" in table:
            return _PLUGIN_KEYS if str(table["architecture"]).startswith(OWN_ARGUMENTS) else None
        parent = table.get("extends")
        above = tables.get(parent) if isinstance(parent, str) else None
        if not isinstance(above, dict) or above is table:
            return None
        table = above
    return None


def _read_definition(
    family: str,
    name: str,
    table: Mapping[str, Any],
    path: KeyPath,
    problems: Problems,
    builtin: bool,
    kinds: Mapping[str, Kind],
) -> Definition:
    own: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    stages = None
    for key, value in table.items():
        where = (*path, key)
        if key == "stage" and family == "strategy":
            stages = _read_stages(value, where, problems)
        elif key in kinds:
            _keep(own, key, kinds[key].read(value, where, problems))
        elif key in SETTINGS:
            _keep(settings, key, SETTINGS[key].kind.read(value, where, problems))
        elif kinds is _PLUGIN_KEYS or kinds is _COMMAND_KEYS:
            kind: Kind = Parameter(key) if kinds is _PLUGIN_KEYS else CommandKey(key)
            _keep(own, key, kind.read(value, where, problems))
        else:
            known = [*kinds, *SETTINGS, *(["stage"] if family == "strategy" else [])]
            others = [other for other in FAMILIES if other != family and key in OWN_KEYS[other]]
            hint = f"`{key}` belongs in [{others[0]}.NAME]" if others else close_hint(key, known) or _ALL_KEYS
            problems.add(where, f"a key of a {family}", value, hint)
    check_validation_split(single_values(settings), path, problems)
    return Definition(family, name, builtin, path, own, settings, stages)


def _keep(values: dict[str, Any], key: str, value: Any) -> None:
    if value is not INVALID:
        values[key] = value


def _read_stages(value: Any, path: KeyPath, problems: Problems) -> tuple[Mapping[str, Any], ...] | None:
    if not isinstance(value, list) or not value or len(value) > STAGE_LIMIT:
        problems.add(path, f"from 1 to {STAGE_LIMIT} tables [[{'.'.join(map(str, path))}]]", value)
        return None
    return tuple(_read_stage(entry, (*path, number), problems) for number, entry in enumerate(value))


def _read_stage(entry: Any, path: KeyPath, problems: Problems) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        problems.add(path, "a table of settings of this stage", entry)
        return {}
    settings: dict[str, Any] = {}
    for key, value in entry.items():
        if key in STAGE_SETTINGS:
            _keep(settings, key, SETTINGS[key].kind.read(value, (*path, key), problems))
        else:
            above = key in SETTINGS or key in OWN_KEYS["strategy"]
            hint = f"`{key}` holds for all stages: write it above them" if above else close_hint(key, STAGE_SETTINGS)
            problems.add((*path, key), "a setting of a stage", value, hint or _ALL_KEYS)
    return settings
