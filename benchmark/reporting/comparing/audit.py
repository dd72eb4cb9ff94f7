"""Audits two groups: in which of the audited fields they differ, so that nothing is compared in silence."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from benchmark.matrix.settings import CELL_SETTINGS, DATA_SETTINGS, STAGE_SETTINGS
from benchmark.reporting.rows.audited_fields import AUDITED
from benchmark.reporting.rows.flat_settings import agree, describe, differing
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.statistics.mean_difference import pairs_by_seed

UNKNOWN = "unknown"
_PREPARATION = ("image_size", "color", "resize")
"""Settings that change the prepared images, and with them the fingerprint, of the very same data."""

_MOST_VALUES = 3
_PLACES = ("threads", "precision", "backend", "device_kind", "deterministic")
"""Settings that say where a cell ran rather than what was trained."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The audited fields in which two groups differ, each in words: `cpu_cores 4 against 8`.

    Attributes:
        prevents: Those that make them not comparable.
        marks: Those that only mark the row.
        timings: Those that mark rows of timings.
        settings: The settings that differ.
        unasked: Those of the settings, by name, that are not a part of what the names of the two stand for.
    """

    prevents: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    timings: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    unasked: Mapping[str, str] = field(default_factory=dict)

    def suspects(self, named: Collection[str] = ()) -> tuple[str, ...]:
        """What nobody asked to compare; settings that selections have `named` are asked for."""
        unasked = (text for name, text in self.unasked.items() if name not in named)
        return (*self.prevents, *self.marks, *unasked)


_NAMES = tuple(column.name for column in AUDITED)

Facts: TypeAlias = Mapping[str, list[str]]
"""The distinct values of a group's results in each audited column."""


def facts_of(group: Group) -> Facts:
    """What the results of a group have in the audited columns."""
    # mostly a single one: the results of a group were made alike
    kinds = {tuple(map(row.get, _NAMES)) for row in group.cells}
    columns = zip(*kinds, strict=True) if kinds else [()] * len(_NAMES)
    return {name: _texts(values, name) for name, values in zip(_NAMES, columns, strict=True)}


def audit_pairs(pairs: Iterable[tuple[Group, Group]]) -> dict[tuple[Group, Group], Audit]:
    """What the groups of each pair differ in; each group is looked at once."""
    pairs = list(pairs)
    facts = {group: facts_of(group) for group in dict.fromkeys(itertools.chain(*pairs))}
    varying = varying_settings(facts)
    return {(first, second): _audit(first, second, facts[first], facts[second], varying) for first, second in pairs}


def audit(first: Group, second: Group) -> Audit:
    """What two groups with results differ in, beside their results; the first's value is named first."""
    return _audit(first, second, facts_of(first), facts_of(second))


def _audit(first: Group, second: Group, facts: Facts, other_facts: Facts, varying: Collection[str] = ()) -> Audit:
    texts: dict[str, list[str]] = {"prevents": [], "marks": [], "marks timings": []}
    for column in AUDITED:
        values, others = facts[column.name], other_facts[column.name]
        if values == others and (column.effect != "prevents" or len(values) == 1):
            continue
        if not values or not others or _is_explained(column.name, first, second):
            continue
        effect = column.effect
        if effect == "prevents" and not _are_mismatched(column.name, first, second):
            if UNKNOWN not in {*values} ^ {*others}:
                continue
            # it may be equal
            effect = "marks"
        texts[effect].append(f"{column.name} {_listed(values)} against {_listed(others)}")
    names = differing(first.settings, second.settings) if first.settings and second.settings else []
    settings = {
        name: f"{name} {describe(first.settings.get(name))} against {describe(second.settings.get(name))}"
        for name in names
    }
    if (a := first.repetitions.of) != (b := second.repetitions.of):
        settings["repetitions"] = f"what is repeated, {a} against {b}: pairs have no seed in common"
    unasked = {name: settings[name] for name in names if name in varying or not _is_of_names(name, first, second)}
    return Audit(
        tuple(texts["prevents"]),
        tuple(texts["marks"]),
        tuple(texts["marks timings"]),
        tuple(settings.values()),
        unasked,
    )


def _are_mismatched(name: str, first: Group, second: Group) -> bool:
    """Whether groups with several values of a column differ in it where they are compared: pair by pair, or as a whole."""

    def known(rows: Iterable[ResultRow]) -> list[str]:
        return sorted(_text(row[name], name) for row in rows if row.get(name) is not None)

    if common := pairs_by_seed(first.completed, second.completed):
        both = [(known(first.cells_of(seed)), known(second.cells_of(seed))) for seed in common]
        return any(a != b for a, b in both if a and b)
    a, b = Counter(known(first.cells)), Counter(known(second.cells))
    return any(a[value] * b.total() != b[value] * a.total() for value in a | b)


def _is_of_names(name: str, first: Group, second: Group) -> bool:
    """Whether a setting is a part of what differs by name: strategies differ in how they train, models in their layers."""
    if name in _PLACES:
        return False
    if name in DATA_SETTINGS:
        return first.names != second.names
    if name in STAGE_SETTINGS | CELL_SETTINGS:
        return first.strategy != second.strategy
    return (first.model, first.strategy) != (second.model, second.strategy)


def _is_explained(name: str, first: Group, second: Group) -> bool:
    """Whether a difference follows from what both groups were asked to do."""
    both = first.settings, second.settings
    if name == "data_fingerprint":
        return first.dataset == second.dataset and any(not agree(*both, each) for each in _PREPARATION)
    if name == "weights_sha256":
        return "none" in (first.settings.get("weights", "none"), second.settings.get("weights", "none"))
    return name != "test_examples" and not agree(*both, name)


def _listed(values: Sequence[str]) -> str:
    return " and ".join(values) if len(values) <= _MOST_VALUES else f"{len(values)} values"


def recorded(groups: Iterable[Group], name: str) -> list[str]:
    """The distinct values of the completed rows in one audited column, sorted; `unknown` where there is none."""
    return _distinct([row for group in groups for row in group.cells], name)


def _distinct(rows: Iterable[ResultRow], name: str) -> list[str]:
    return _texts({row.get(name) for row in rows}, name)


def _texts(values: Iterable[Any], name: str) -> list[str]:
    return sorted({_text(value, name) for value in values})


def _text(value: Any, name: str) -> str:
    if value is None:
        return UNKNOWN
    return str(value)[: 10 if name in {"git_commit", "data_fingerprint", "weights_sha256"} else None]


def note_on_mixtures(groups: Sequence[Group]) -> list[str]:
    """A note that names the versions and hardware in which the results differ; none where they agree."""
    by_backend: dict[Any, list[Group]] = {}
    for group in groups:
        by_backend.setdefault(group.settings.get("backend"), []).append(group)
    mixed = []
    for column in AUDITED:
        if column.area not in {"code", "versions", "hardware"}:
            continue
        # different backends may well have different versions
        parts = by_backend.values() if column.name == "backend_version" else [groups]
        known = [[value for value in recorded(part, column.name) if value != UNKNOWN] for part in parts]
        values = sorted(value for several in known if len(several) > 1 for value in several)
        if values:
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
            mixed.append(f"{column.name} ({shown})")
    notes = (
        [f"Not all results were produced under the same conditions; they differ in {'; '.join(mixed)}."]
        if mixed
        else []
    )
    return [*notes, *_on_mixed_data(groups)]


def _on_mixed_data(groups: Sequence[Group]) -> Iterable[str]:
    """A note for each field of the data that names the groups whose mean is over several values of it."""
    for name in (column.name for column in AUDITED if column.effect == "prevents"):
        mixed = [group for group in groups if len({*recorded([group], name)} - {UNKNOWN}) > 1]
        if mixed:
            names = "; ".join(" ".join(group.names) for group in mixed[:_MOST_VALUES])
            more = f" and {len(mixed) - _MOST_VALUES} more" if len(mixed) > _MOST_VALUES else ""
            yield f"Some means are over results on different data, which differ in {name}: {names}{more}."
