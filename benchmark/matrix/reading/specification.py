"""Reads `[matrix]`, `[defaults]` and `[report]` into a `Specification`: every value checked, nothing expanded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.problems import KeyPath, Problems, nearest_hint, normal_name
from benchmark.matrix.reading.definitions import Library
from benchmark.matrix.reading.published import read_published
from benchmark.matrix.report_spec import EnsembleSpec, PublishedTable, ReportSpec, TransferSpec
from benchmark.matrix.selection import NAME_KEYS, Rule, is_glob, parse_selection, typed
from benchmark.matrix.settings import SETTINGS
from benchmark.matrix.values import INVALID, Choice, Name, as_list, read_fields

_SECTIONS = ("matrix", "defaults", "dataset", "model", "strategy", "report", "plugins")
_COMPARISONS = ("transfer", "progression", "ensemble", "published")
_RULES = ("exclude", "include", "zip", "override")
_LISTINGS = {"dataset": "bench list datasets", "model": "bench list models", "strategy": "bench list strategies"}


@dataclass(frozen=True)
class Axis:
    """Keys that vary together: one key of `[matrix]`, or those of a `[[matrix.zip]]`; `rows` are their values."""

    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Override:
    """One `[[matrix.override]]`: `changes` to the settings of the cells that match `when`."""

    when: Rule
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Specification:
    """The checked content of a matrix file.

    Attributes:
        on_invalid: What to do about impossible combinations: `skip` or `error`.
        includes: For each row of `[[matrix.include]]` the values of the keys that it names.
        defaults: Settings of `[defaults]`.
        assigned: Settings of `--set`.
        notes: Remarks for the user.
    """

    name: str | None
    on_invalid: str
    axes: tuple[Axis, ...]
    includes: tuple[Mapping[str, tuple[Any, ...]], ...]
    excludes: tuple[Rule, ...]
    overrides: tuple[Override, ...]
    defaults: Mapping[str, Any]
    assigned: Mapping[str, Any]
    report: ReportSpec
    notes: tuple[str, ...]


class SpecificationReader:
    """Reads one document against a library of definitions; adds mistakes to `problems`."""

    def __init__(self, document: Mapping[str, Any], library: Library, problems: Problems) -> None:
        self._document = document
        self._library = library
        self._problems = problems
        self._notes: list[str] = []

    def read(self, overrides: Sequence[str]) -> Specification:
        """Reads the document, and `overrides`, the texts of `--set`."""
        for key in self._document:
            if key not in _SECTIONS:
                self._problems.add((key,), "a known table", hint=_section_hint(key))
        if "matrix" not in self._document:
            self._problems.add(("matrix",), "a table [matrix]; it is missing")
        matrix = self._table("matrix")
        axes = self._axes(matrix)
        self._table("plugins")
        name = Name().read(matrix["name"], ("matrix", "name"), self._problems) if "name" in matrix else None
        return Specification(
            name=name,
            on_invalid=self._on_invalid(matrix),
            axes=axes,
            includes=tuple(self._includes(matrix, axes)),
            excludes=tuple(self._rule(row, path) for row, path in self._rows(matrix, "exclude")),
            overrides=tuple(self._overrides(matrix)),
            defaults=self._settings(self._table("defaults"), ("defaults",)),
            assigned=self._assigned(overrides),
            report=self._report(),
            notes=tuple(self._notes),
        )

    def _table(self, key: str) -> Mapping[str, Any]:
        table = self._document.get(key, {})
        if isinstance(table, dict):
            return table
        self._problems.add((key,), f"a table [{key}]", table)
        return {}

    def _on_invalid(self, matrix: Mapping[str, Any]) -> str:
        choice = Choice(("skip", "error"))
        return str(choice.read(matrix.get("on_invalid", "skip"), ("matrix", "on_invalid"), self._problems))

    def _axes(self, matrix: Mapping[str, Any]) -> tuple[Axis, ...]:
        axes = []
        for key, value in matrix.items():
            if key in (*_RULES, "name", "on_invalid"):
                continue
            if key not in (*NAME_KEYS, *SETTINGS):
                self._problems.add(("matrix", key), "a known key", value, _axis_hint(key))
                continue
            values = self._values(key, value, ("matrix", key))
            axes.append(Axis((key,), tuple((item,) for item in values)))
        taken = {axis.keys[0] for axis in axes}
        for row, path in self._rows(matrix, "zip"):
            axes.append(self._zip(row, path, taken))
        if not matrix.get("include"):
            for key in NAME_KEYS:
                if key not in taken and "matrix" in self._document:
                    self._problems.add(("matrix", key), f"a {key} or a list of them; it is missing")
        return tuple(axes)

    def _zip(self, row: Mapping[str, Any], path: KeyPath, taken: set[str]) -> Axis:
        columns: dict[str, tuple[Any, ...]] = {}
        for key, value in row.items():
            if key not in (*NAME_KEYS, *SETTINGS):
                self._problems.add((*path, key), "dataset, model, strategy or a setting", hint=_axis_hint(key))
            elif key in taken:
                self._problems.add((*path, key), "an axis that stands in [matrix] or in one zip, not in both")
            elif not isinstance(value, list):
                self._problems.add((*path, key), "a list, as long as the others of this zip", value)
            else:
                taken.add(key)
                columns[key] = self._values(key, value, (*path, key), distinct=False)
        lengths = {key: len(value) for key, value in row.items() if isinstance(value, list)}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key}: {length}" for key, length in lengths.items())
            self._problems.add(path, "lists of the same length", found)
            return Axis((), ((),))
        if not row:
            self._problems.add(path, "at least one axis")
        return Axis(tuple(columns), tuple(dict.fromkeys(zip(*columns.values(), strict=False))) or ((),))

    def _values(self, key: str, value: Any, path: KeyPath, *, distinct: bool = True) -> tuple[Any, ...]:
        """The values of an axis, in normal form; equal ones are merged."""
        items = as_list(value)
        if not items:
            self._problems.add(path, "at least one value", value)
        paths = [(*path, number) for number in range(len(items))] if isinstance(value, list) else [path]
        read = [self._value(key, item, place) for item, place in zip(items, paths, strict=True)]
        return tuple(dict.fromkeys(read)) if distinct and INVALID not in read else tuple(read)

    def _value(self, key: str, value: Any, path: KeyPath) -> Any:
        return self.name(key, value, path) if key in NAME_KEYS else SETTINGS[key].kind.read(value, path, self._problems)

    def name(self, family: str, value: Any, path: KeyPath) -> Any:
        """Reads the name of an existing definition into normal form; `INVALID`, and a problem, when there is none."""
        known = self._library.definitions[family]
        if isinstance(value, str) and normal_name(value) in known:
            return normal_name(value)
        hint = nearest_hint(value, known, _LISTINGS[family]) if isinstance(value, str) else ""
        self._problems.add(path, f"the name of a {family}", value, hint)
        return INVALID

    def _rows(self, matrix: Mapping[str, Any], rule: str) -> Iterator[tuple[Mapping[str, Any], KeyPath]]:
        """The tables of `[[matrix.RULE]]` with their paths."""
        rows = matrix.get(rule, [])
        if not isinstance(rows, list):
            self._problems.add(("matrix", rule), f"tables [[matrix.{rule}]]", rows)
            return
        for number, row in enumerate(rows):
            if isinstance(row, dict):
                yield row, ("matrix", rule, number)
            else:
                self._problems.add(("matrix", rule, number), f"a table [[matrix.{rule}]]", row)

    def _includes(self, matrix: Mapping[str, Any], axes: Sequence[Axis]) -> Iterator[Mapping[str, tuple[Any, ...]]]:
        on_axes = {key for axis in axes for key in axis.keys}
        for row, path in self._rows(matrix, "include"):
            given = {}
            for key, value in row.items():
                if key in (*NAME_KEYS, *SETTINGS):
                    given[key] = self._values(key, value, (*path, key))
                else:
                    self._problems.add((*path, key), "dataset, model, strategy or a setting", hint=_axis_hint(key))
            for key in NAME_KEYS:
                if key not in given and key not in on_axes:
                    self._problems.add((*path, key), f"a {key}; it is missing, and [matrix] has none")
            if not row:
                self._problems.add(path, "at least one key")
            self._check_zips(given, axes, path)
            yield given

    def _check_zips(self, given: Mapping[str, Any], axes: Sequence[Axis], path: KeyPath) -> None:
        """Checks an include row that names some keys of a zip: the zip's rows with these values give the other keys."""
        for axis in axes:
            named = [position for position, key in enumerate(axis.keys) if key in given]
            for position in named if len(named) < len(axis.keys) else ():
                key = axis.keys[position]
                unknown = [value for value in given[key] if value not in {row[position] for row in axis.rows}]
                if unknown:
                    expected = f"a value that the zip of {', '.join(axis.keys)} has, or all keys of that zip"
                    self._problems.add((*path, key), expected, unknown[0])

    def _overrides(self, matrix: Mapping[str, Any]) -> Iterator[Override]:
        for row, path in self._rows(matrix, "override"):
            for key in row:
                if key not in ("when", "set"):
                    self._problems.add((*path, key), "`when` or `set`", hint=nearest_hint(key, ("when", "set")))
            when, changes = row.get("when", {}), row.get("set", {})
            if not isinstance(when, dict):
                self._problems.add((*path, "when"), "a table of keys to match", when)
            if not isinstance(changes, dict) or not changes:
                self._problems.add((*path, "set"), "a table of settings to change", changes)
            if isinstance(when, dict) and isinstance(changes, dict):
                rule = self._rule(when, (*path, "when"), may_be_empty=True)
                yield Override(rule, self._settings(changes, (*path, "set")))

    def _rule(self, row: Mapping[str, Any], path: KeyPath, *, may_be_empty: bool = False) -> Rule:
        terms = []
        for key, value in row.items():
            where = (*path, key)
            if key not in (*NAME_KEYS, *SETTINGS):
                hint = nearest_hint(key, (*NAME_KEYS, *SETTINGS))
                self._problems.add(where, "dataset, model, strategy or a setting", hint=hint)
                continue
            items = as_list(value)
            if not items:
                self._problems.add(where, "at least one value", value)
            paths = [(*where, number) for number in range(len(items))] if isinstance(value, list) else [where]
            terms.append((key, tuple(self._wanted(key, item, at) for item, at in zip(items, paths, strict=True))))
        if not row and not may_be_empty:
            self._problems.add(path, "at least one key to match")
        return Rule(tuple(terms))

    def _wanted(self, key: str, value: Any, path: KeyPath) -> Any:
        if is_glob(value) and key in NAME_KEYS:
            return self._glob(key, normal_name(value), path)
        # a glob such as "mixed_*" is a text, whatever the type of the setting
        return value if is_glob(value) and key in SETTINGS else self._value(key, value, path)

    def _glob(self, family: str, glob: str, path: KeyPath) -> str:
        known = self._library.definitions[family]
        rule = Rule(((family, (glob,)),))
        if glob not in known and not any(rule.for_names({family: name}) for name in known):
            self._notes.append(f"{'.'.join(map(str, path[:2]))}: {family} = {glob!r} matches no {family} that exists")
        return glob

    def _settings(self, table: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        return read_fields({name: setting.kind for name, setting in SETTINGS.items()}, table, path, self._problems)

    def _assigned(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Reads `--set key=value`; the value is read as TOML where it is TOML, else as a text."""
        assigned = {}
        for text in overrides:
            key, equals, value = (part.strip() for part in text.partition("="))
            if not equals or not key or not value:
                self._problems.add(("--set",), "KEY=VALUE", text)
            elif key not in SETTINGS:
                hint = "`--select` chooses cells" if key in NAME_KEYS else nearest_hint(key, SETTINGS)
                self._problems.add((f"--set {key}",), "a training setting", hint=hint)
            else:
                read = SETTINGS[key].kind.read(typed(value), (f"--set {key}",), self._problems)
                assigned[key] = read
        return assigned

    def _report(self) -> ReportSpec:
        table, path = self._table("report"), ("report",)
        for key in table:
            if key not in _COMPARISONS:
                self._problems.add((*path, key), Choice(_COMPARISONS).expected, hint=nearest_hint(key, _COMPARISONS))
        transfer = self._items(table.get("transfer", []), (*path, "transfer"), "a list of tables", self._transfer)
        steps = self._items(table.get("progression", []), (*path, "progression"), "a list of lists", self._progression)
        ensembles = self._items(table.get("ensemble", []), (*path, "ensemble"), "a list of tables", self._ensemble)
        published = self._items(table.get("published", []), (*path, "published"), "a list of tables", self._published)
        return ReportSpec(tuple(transfer), tuple(steps), tuple(ensembles), tuple(published))

    def _items(self, value: Any, path: KeyPath, expected: str, read: Callable[[Any, KeyPath], Any]) -> list[Any]:
        if not isinstance(value, list):
            self._problems.add(path, expected, value)
            return []
        items = [read(item, (*path, number)) for number, item in enumerate(value)]
        return [item for item in items if item is not None]

    def _transfer(self, item: Any, path: KeyPath) -> TransferSpec | None:
        if not isinstance(item, dict):
            self._problems.add(path, "a table such as { fine_tuned = STRATEGY, scratch = STRATEGY }", item)
            return None
        families = {"fine_tuned": "strategy", "scratch": "strategy", "dataset": "dataset", "model": "model"}
        names: dict[str, Any] = {"dataset": None, "model": None}
        for key, value in item.items():
            if key in families:
                names[key] = self.name(families[key], value, (*path, key))
            else:
                self._problems.add(
                    (*path, key), "fine_tuned, scratch, dataset or model", hint=nearest_hint(key, families)
                )
        for key in ("fine_tuned", "scratch"):
            if key not in item:
                self._problems.add((*path, key), "the name of a strategy; it is missing")
                return None
        return TransferSpec(**names)

    def _published(self, item: Any, path: KeyPath) -> PublishedTable | None:
        families = {family: _Named(self, family) for family in NAME_KEYS}
        return read_published(item, path, self._problems, families)

    def _ensemble(self, item: Any, path: KeyPath) -> EnsembleSpec | None:
        if not isinstance(item, dict) or "cells" not in item:
            self._problems.add(path, 'a table such as { cells = "model=simple_cnn|resnet18,dataset=digits" }', item)
            return None
        for key in item.keys() - {"cells", "label"}:
            self._problems.add((*path, key), "cells or label", hint=nearest_hint(key, ("cells", "label")))
        label = Name().read(item["label"], (*path, "label"), self._problems) if "label" in item else ""
        expressions = as_list(item["cells"])
        if not expressions or not all(isinstance(expression, str) for expression in expressions):
            self._problems.add((*path, "cells"), "a selection such as model=resnet*, or a list of them", item["cells"])
            return None
        try:
            parse_selection(expressions)
        except UserError as error:
            self._problems.add((*path, "cells"), "a selection as for --select", item["cells"], str(error))
        return EnsembleSpec(tuple(expressions), str(label))

    def _progression(self, item: Any, path: KeyPath) -> tuple[str, ...] | None:
        if not isinstance(item, list) or len(item) < 2:
            self._problems.add(path, "a list of at least two strategies", item)
            return None
        return tuple(self.name("strategy", name, (*path, number)) for number, name in enumerate(item))


@dataclass(frozen=True)
class _Named:
    """The type of values that are the name of an existing dataset, model or strategy."""

    reader: SpecificationReader
    family: str

    @property
    def expected(self) -> str:
        return f"the name of a {self.family}"

    def read(self, value: Any, path: KeyPath, _problems: Problems) -> Any:
        return self.reader.name(self.family, value, path)


def _section_hint(key: str) -> str:
    if key in SETTINGS:
        return f"`{key}` belongs in [defaults], or in [matrix] as an axis"
    if key in (*_RULES, "name", "on_invalid"):
        return f"`{key}` belongs in [matrix]"
    return nearest_hint(key, _SECTIONS)


def _axis_hint(key: str) -> str:
    if key in {"filters", "kernel_size", "dense_units", "stage_dropout", "architecture"}:
        return f"`{key}` belongs in [model.NAME]"
    if key in {"weights", "label", "stage"}:
        return f"`{key}` belongs in [strategy.NAME]"
    if key in {"classes", "source", "num_classes"}:
        return f"`{key}` belongs in [dataset.NAME]"
    if key in _SECTIONS:
        return f"write [{key}] as a table of its own"
    return nearest_hint(key, (*NAME_KEYS, *SETTINGS, *_RULES, "name", "on_invalid"))
