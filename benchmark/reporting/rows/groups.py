"""Groups of cells that differ in seeds and folds alone; most rows of tables show one group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from benchmark.reporting.rows.flat_settings import CODES, agree, describe, value_key
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import Metric, invalid_timing, value_of
from benchmark.reporting.rows.repetitions import Missing, Repetitions, seeds_of, with_streams
from benchmark.reporting.statistics.intervals import Measurement, mean_of, measure, widened


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Cells that differ in seeds and folds alone; a group is equal to itself alone.

    Attributes:
        dataset, model, strategy: The names.
        label: The strategy's description in reports.
        settings: All other settings (`flat_settings.settings_of`); empty for combinations that were left out.
        completed: A row for each repetition with a result, by seed (`repetitions.Repetitions`).
        missing: The seeds without a result.
        repetitions: What takes the part of the seed where that is the same in all cells, and what is averaged.
        last_run: The highest run id among its rows.
    """

    dataset: str
    model: str
    strategy: str
    label: str
    settings: Mapping[str, Any]
    completed: Mapping[int, ResultRow]
    missing: tuple[Missing, ...]
    repetitions: Repetitions
    last_run: int = 0
    _measured: dict[tuple[str, float], tuple[Measurement | None, str]] = field(default_factory=dict, init=False)
    """What was asked before: several tables show the same."""

    @property
    def names(self) -> tuple[str, str, str]:
        return self.dataset, self.model, self.strategy

    @property
    def planned(self) -> int:
        return len(self.completed) + len(self.missing)

    @property
    def cells(self) -> list[ResultRow]:
        """The rows of all cells of the completed repetitions, in the order of the seeds."""
        if not self.repetitions.several:
            return list(self.completed.values())
        return [row for seed in self.completed for row in self.cells_of(seed)]

    def cells_of(self, seed: int) -> Sequence[ResultRow]:
        """The rows whose mean is the row of a completed repetition; mostly that row itself."""
        return self.repetitions.several.get(seed) or (self.completed[seed],)

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Of the cells with a result, in the order of the seeds."""
        return tuple(row["cell_id"] for row in self.cells)

    @property
    def execution_ids(self) -> list[int]:
        """Of the cells with a result, in the order of the seeds."""
        return [row["execution_id"] for row in self.cells]

    def describe(self, varying: Sequence[str]) -> list[str]:
        """The settings of these names that the group has, in words, `threads 2`; of codes those that there are."""
        return [f"{name} {describe(self.settings[name])}" for name in varying if self._has(name)]

    def _has(self, name: str) -> bool:
        return name in self.settings and bool(name not in CODES or self.settings[name])

    def values(self, metric: Metric) -> dict[int, float]:
        """The metric by seed, of the seeds that completed and have it."""
        if metric.is_timing:
            return {seed: value for seed, row in self.completed.items() if (value := value_of(row, metric)) is not None}
        # the same, and faster
        known = {seed: row.get(metric.key) for seed, row in self.completed.items()}
        return {seed: float(value) for seed, value in known.items() if value is not None}

    def marked_values(self, metric: Metric) -> tuple[dict[int, float], str]:
        """The metric by seed; of a timing that is valid for no seed those that are not, and why they are not, in words."""
        values = self.values(metric)
        if values or not metric.is_timing:
            return values, ""
        rows = {seed: row for seed, row in self.completed.items() if row.get(metric.key) is not None}
        reasons = dict.fromkeys(invalid_timing(row) for row in rows.values())
        return {seed: float(row[metric.key]) for seed, row in rows.items()}, "; ".join(reasons)

    def measured(self, metric: Metric, *, unit: float = 1.0) -> tuple[Measurement | None, str]:
        """Mean and interval of the metric, and why its timings are not valid, where none is; see `marked_values`.

        Args:
            metric: Which one.
            unit: By what every value is multiplied, such as 100 for percent.
        """
        if (known := self._measured.get((metric.key, unit))) is not None:
            return known
        values, invalid = self.marked_values(metric)
        step, bounds = unit * resolution([self], metric), tuple(unit * bound for bound in metric.bounds)
        of_streams = values_by_stream([self], metric) if self.repetitions.averaged else {}
        measured, *more = (
            measure([unit * value for value in part.values()], step=step, bounds=(bounds[0], bounds[1]))
            for part in (values, *of_streams.values())
        )
        result = (widened(measured, filter(None, more)) if measured and more else measured), invalid
        self._measured[metric.key, unit] = result
        return result


def apart(first: Group, second: Group) -> tuple[Group, Group]:
    """The groups without the repetitions that are the same executions on both sides: they cannot differ from themselves."""

    def executions(group: Group, seed: int) -> set[tuple[Any, Any]]:
        return {(row["cell_id"], row["execution_id"]) for row in group.cells_of(seed)}

    # a cell has one name
    common = first.completed.keys() & second.completed.keys() if first.names == second.names else set()
    shared = {seed for seed in common if executions(first, seed) == executions(second, seed)}
    if not shared:
        return first, second
    a, b = (
        replace(group, completed={seed: row for seed, row in group.completed.items() if seed not in shared})
        for group in (first, second)
    )
    return a, b


def values_by_stream(groups: Sequence[Group], metric: Metric) -> dict[str, dict[int, float]]:
    """For each stream over which repetitions are means the metric by its seeds: the mean of all cells of a seed.

    Of several groups the means of the groups that have the stream, for the seeds that all of these have.
    """
    of_streams: dict[str, list[dict[int, float]]] = {}
    for group in groups:
        for stream in group.repetitions.crossed:
            found: dict[int, list[float]] = {}
            for row in group.cells:
                if (value := value_of(row, metric)) is not None:
                    found.setdefault(with_streams(seeds_of(row))[stream], []).append(value)
            of_streams.setdefault(stream, []).append({seed: mean_of(values) for seed, values in found.items()})
    return {
        stream: {seed: mean_of([each[seed] for each in several]) for seed in set.intersection(*map(set, several))}
        for stream, several in of_streams.items()
    }


def resolution(groups: Iterable[Group], metric: Metric) -> float:
    """How much a single image changes a metric; 0 for those that are not counted, and where the images are unknown."""
    if not metric.counted_on:
        return 0.0
    counts = {row.get(metric.counted_on) or 0 for group in groups for row in group.cells} - {0}
    return 1.0 / min(counts) if counts else 0.0


def run_ids(groups: Iterable[Group]) -> tuple[int, ...]:
    """Ids of the runs in which the results of groups ended, ascending."""
    known = {row.get("run_id") for group in groups for row in group.repetitions.results}
    return tuple(sorted(number for number in known if number is not None))


_NAMED_BY = {
    "data_code": ("source",),
    "model_code": ("architecture", "command"),
    "loss_code": ("loss",),
    "callback_codes": ("callbacks",),
    "metric_codes": ("monitor", "early_stopping", "reduce_learning_rate"),
}
"""The settings that name what codes of the user's own are of: what differs in name has other code without saying."""


def varying_settings(groups: Iterable[Group]) -> list[str]:
    """Names of the settings that differ between groups of the same dataset, model and strategy, in recorded order.

    Codes of the user's own functions are among them where functions of one name differ.
    """
    by_names: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        if group.settings:
            by_names.setdefault(group.names, []).append(group)
    several = [groups for groups in by_names.values() if len(groups) > 1]
    names = dict.fromkeys(name for groups in several for group in groups for name in group.settings)

    def varies(name: str, groups: Iterable[Group]) -> bool:
        named = [(*(value_key(group.settings.get(each)) for each in _NAMED_BY.get(name, ())),) for group in groups]
        values = [value_key(group.settings.get(name)) for group in groups]
        return len({*zip(named, values, strict=True)}) > len({*named})

    return [name for name in names if any(varies(name, groups) for groups in several)]


def partner(group: Group, candidates: Iterable[Group], varying: Sequence[str]) -> Group | None:
    """The candidate that agrees with the group in most of the varying settings; of equal ones, that of the latest run.

    Args:
        group: What is to be compared.
        candidates: Groups it may be compared with, such as those of another strategy.
        varying: Names of the settings that are axes of the matrix (`varying_settings`).
    """

    def rank(other: Group) -> tuple[int, int]:
        return sum(agree(group.settings, other.settings, name) for name in varying), other.last_run

    return max(candidates, key=rank, default=None)


def partners(candidates: Iterable[Group], varying: Sequence[str]) -> Callable[[Group], Group | None]:
    """A function that gives the `partner` of a group among candidates, fast where one agrees in all varying settings."""
    known = sorted(candidates, key=lambda each: each.last_run)
    exact = {setting_key(each, varying): each for each in known}
    return lambda group: exact.get(setting_key(group, varying)) or partner(group, known, varying)


def setting_key(group: Group, varying: Sequence[str]) -> tuple[Any, ...]:
    """The values of the varying settings, as something hashable."""
    return tuple(value_key(group.settings.get(name)) for name in varying)


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])


Pair: TypeAlias = tuple[Group, Group]
"""Two groups, the subtracted one first."""
