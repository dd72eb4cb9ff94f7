"""Reads `[matrix]`, `[defaults]` and `[report]` into a `Specification`: every value checked, nothing expanded yet."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.plan import ORDERS, Order
from benchmark.matrix.problems import INVALID, KeyPath, Problems, nearest_hint, normal_name
from benchmark.matrix.reading.definitions import LISTINGS, Library
from benchmark.matrix.reading.report_keys import read_report
from benchmark.matrix.reading.validation_split import check_validation_split, single_values
from benchmark.matrix.report_spec import ReportSpec
from benchmark.matrix.selection import NAME_KEYS, Rule, is_glob, typed
from benchmark.matrix.settings import SETTINGS
from benchmark.matrix.values import Choice, Kind, Name, items_of, read_fields

_SECTIONS = ("matrix", "defaults", "dataset", "model", "strategy", "report", "plugins")
_RULES = ("exclude", "include", "zip", "override")
_WORDS = ("name", "on_invalid", "order")
"""Keys of `[matrix]` that are neither an axis nor a rule."""


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
        order: In which order cells run; None where it is not written.
        includes: For each row of `[[matrix.include]]` the values of the keys that it names.
        defaults: Settings of `[defaults]`.
        assigned: Settings of `--set`.
        notes: Remarks for the user.
    """

    name: str | None
    on_invalid: str
    order: Order | None
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
        self._kinds: dict[str, Kind] = {
            **{family: _ExistingName(family, library[family]) for family in NAME_KEYS},
            **{name: setting.kind for name, setting in SETTINGS.items()},
        }
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
        on_invalid = Choice(("skip", "error")).read(
            matrix.get("on_invalid", "skip"), ("matrix", "on_invalid"), self._problems
        )
        order = Choice(ORDERS).read(matrix["order"], ("matrix", "order"), self._problems) if "order" in matrix else None
        return Specification(
            name=Name().read(matrix["name"], ("matrix", "name"), self._problems) if "name" in matrix else None,
            on_invalid=str(on_invalid),
            order=order,
            axes=axes,
            includes=tuple(self._includes(matrix, axes)),
            excludes=tuple(self._rule(row, path) for row, path in self._rows(matrix, "exclude")),
            overrides=tuple(self._overrides(matrix)),
            defaults=self._settings(self._table("defaults"), ("defaults",)),
            assigned=self._assigned(overrides),
            report=read_report(self._table("report"), {name: self._kinds[name] for name in NAME_KEYS}, self._problems),
            notes=tuple(self._notes),
        )

    def _table(self, key: str) -> Mapping[str, Any]:
        table = self._document.get(key, {})
        if isinstance(table, dict):
            return table
        self._problems.add((key,), f"a table [{key}]", table)
        return {}

    def _axes(self, matrix: Mapping[str, Any]) -> tuple[Axis, ...]:
        axes = []
        for key, value in matrix.items():
            if key in (*_RULES, *_WORDS):
                continue
            if key not in self._kinds:
                self._problems.add(("matrix", key), "a known key", value, _axis_hint(key))
                continue
            values = self._values(key, value, ("matrix", key))
            axes.append(Axis((key,), tuple((item,) for item in values)))
        taken = {axis.keys[0] for axis in axes}
        written = {axis.keys[0]: tuple(value for (value,) in axis.rows) for axis in axes}
        for row, path in self._rows(matrix, "zip"):
            axes.append(self._zip(row, path, taken))
            written |= dict(zip(axes[-1].keys, zip(*axes[-1].rows, strict=False), strict=False))
        check_validation_split(written, ("matrix",), self._problems)
        missing = [key for key in NAME_KEYS if key not in taken] if "matrix" in self._document else []
        if not matrix.get("include"):
            for key in missing:
                self._problems.add(("matrix", key), f"a {key} or a list of them; it is missing")
        elif 0 < len(missing) < len(NAME_KEYS):
            self._notes.append(
                f"[matrix] has no {' and no '.join(missing)}: its axes make no cells of their own, only the rows of "
                "[[matrix.include]] do"
            )
        return tuple(axes)

    def _zip(self, row: Mapping[str, Any], path: KeyPath, taken: set[str]) -> Axis:
        columns: dict[str, tuple[Any, ...]] = {}
        for key, value in row.items():
            if key not in self._kinds:
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
            described = ", ".join(f"{key}: {length}" for key, length in lengths.items())
            self._problems.add(path, "lists of the same length", described)
            return Axis((), ((),))
        if not row:
            self._problems.add(path, "at least one axis")
        return Axis(tuple(columns), tuple(dict.fromkeys(zip(*columns.values(), strict=False))) or ((),))

    def _values(self, key: str, value: Any, path: KeyPath, *, distinct: bool = True) -> tuple[Any, ...]:
        """The values of an axis, in normal form; equal ones are merged."""
        items = self._some(value, path)
        read = [self._kinds[key].read(item, place, self._problems) for item, place in items]
        return tuple(dict.fromkeys(read)) if distinct and INVALID not in read else tuple(read)

    def _some(self, value: Any, path: KeyPath) -> list[tuple[Any, KeyPath]]:
        """The values of a list, or the only one, with their paths; an empty list is a mistake."""
        items = items_of(value, path)
        if not items:
            self._problems.add(path, "at least one value", value)
        return items

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
                if key in self._kinds:
                    given[key] = self._values(key, value, (*path, key))
                else:
                    self._problems.add((*path, key), "dataset, model, strategy or a setting", hint=_axis_hint(key))
            check_validation_split(given, path, self._problems)
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
                known = {row[position] for row in axis.rows if row}
                unknown = [value for value in given[key] if value not in known] if known else []
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
            if key in self._kinds:
                terms.append((key, tuple(self._wanted(key, item, place) for item, place in self._some(value, where))))
            else:
                hint = nearest_hint(key, self._kinds)
                self._problems.add(where, "dataset, model, strategy or a setting", hint=hint)
        if not row and not may_be_empty:
            self._problems.add(path, "at least one key to match")
        return Rule(tuple(terms))

    def _wanted(self, key: str, value: Any, path: KeyPath) -> Any:
        if not is_glob(value):
            return self._kinds[key].read(value, path, self._problems)
        if key in SETTINGS:
            # a glob such as "mixed_*" is a text, whatever the type of the setting
            return value
        known, text = self._library[key], normal_name(value)
        if text in known:
            # a name that looks like a glob means itself alone
            return glob.escape(text)
        rule = Rule(((key, (text,)),))
        if not any(rule.for_names({key: name}) for name in known):
            self._notes.append(f"{'.'.join(map(str, path[:2]))}: {key} = {text!r} matches no {key} that exists")
        return text

    def _settings(self, table: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        settings = read_fields({name: self._kinds[name] for name in SETTINGS}, table, path, self._problems)
        check_validation_split(single_values(settings), path, self._problems)
        return settings

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
                assigned[key] = self._kinds[key].read(typed(value), (f"--set {key}",), self._problems)
        check_validation_split(single_values(assigned), ("--set",), self._problems)
        return assigned


@dataclass(frozen=True)
class _ExistingName:
    """The type of values that are the name of an existing dataset, model or strategy."""

    family: str
    known: Collection[str]

    @property
    def expected(self) -> str:
        return f"the name of a {self.family}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if isinstance(value, str) and normal_name(value) in self.known:
            return normal_name(value)
        hint = nearest_hint(value, self.known, LISTINGS[self.family]) if isinstance(value, str) else ""
        return problems.add(path, self.expected, value, hint)


def _section_hint(key: str) -> str:
    if key in SETTINGS:
        return f"`{key}` belongs in [defaults], or in [matrix] as an axis"
    if key in (*_RULES, *_WORDS):
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
    return nearest_hint(key, (*NAME_KEYS, *SETTINGS, *_RULES, *_WORDS))
