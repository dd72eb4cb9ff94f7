"""The table of the history: what each run measured for each group, where the level changed, and the commits between."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmark.reporting.rows.flat_settings import settings_by_cell, value_key
from benchmark.reporting.rows.grouping import group_cells, natural
from benchmark.reporting.rows.groups import Group, resolution, varying_settings
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.rows.scope import named
from benchmark.reporting.statistics.change_points import SHORTEST_SERIES, steps
from benchmark.reporting.statistics.intervals import mean_of
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value
from benchmark.reporting.tables.place_columns import place_cells, place_columns
from benchmark.reporting.tables.shown import Part, Shown
from benchmark.status import Status
from benchmark.units import plural

_SHOWN_DIGITS = 9
_MOST_COMMITS = 8

_Series: TypeAlias = dict[int, Group]
"""The same group in each run that measured it, by run id."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A group in one run.

    Attributes:
        group: Of the executions that ended in that run.
        is_step: Whether a new level begins here; None where its seeds are not those of the series.
        before: The same group in the run before; None in the first.
    """

    group: Group
    is_step: bool | None
    before: Group | None


def history(shown: Shown) -> Part:
    """A row for each group and each run in which it ended; of all machines, unless one was asked for; oldest run first."""
    metric = shown.comparisons.judging.main
    asked = shown.options.machine
    series = _series([row for row in shown.recorded if asked in {None, row["machine"]}])
    if not series:
        return [], ["History: no cell has a result."]
    searched = sum(len(each) >= SHORTEST_SERIES for each in series)
    levels = [level for each in series for level in _levels(each, metric, max(searched, 1))]
    varying = varying_settings(list({id(each): next(iter(each.values())) for each in series}.values()))
    footnotes = Footnotes()
    columns = (
        *place_columns(varying),
        TableColumn("machine", "machine", "text", identifies=True),
        TableColumn("run_id", "run", "count", identifies=True),
        TableColumn("run_name", "name", "text"),
        TableColumn("started_utc", "began", "text"),
        TableColumn("package_version", "version", "text"),
        TableColumn("git_commit", "commit", "text"),
        TableColumn("n", "n", "count"),
        TableColumn(metric.key, metric.title, metric.kind, metric.unit),
        TableColumn("step", "step", "text"),
        TableColumn("commits", "commits", "text"),
    )
    rows = [_row(level, metric, varying, shown, footnotes) for level in levels]
    machines = dict.fromkeys(str(row.cells["machine"]) for row in rows)
    notes = _notes(metric, searched)
    of_all = (f"The history has the results of {named('machine', machines)}.",) if len(machines) > 1 else ()
    steps_found = sum(bool(level.is_step) for level in levels)
    told = f"{metric.title} has {plural(steps_found, 'step')} in {searched} series" if searched else notes[0]
    return [
        Table("history", "History", columns, tuple(rows), footnotes=footnotes.texts, notes=notes + of_all, answer=told)
    ], []


def _notes(metric: Metric, searched: int) -> tuple[str, ...]:
    if not searched:
        return (f"Steps are searched for in groups of at least {SHORTEST_SERIES} runs.",)
    return (
        (
            f"A step is the first run of a new level of {metric.title}: the largest t over all ways to split the runs of a group in two, "
            f"against its distribution without a step. At most 5 % of reports show a false one ({searched} series together)."
        ),
    )


def _series(rows: Sequence[ResultRow]) -> list[_Series]:
    """The results of each group on each machine, run by run; those of `bench reproduce` are no results."""
    done = [row for row in rows if row["status"] == Status.COMPLETED and not row.get("is_reproduction")]
    settings = settings_by_cell(done)
    parts: dict[tuple[object, ...], dict[int, list[ResultRow]]] = {}
    for row in sorted(done, key=lambda row: (*map(natural, _names(row)), row.get("execution_id") or 0)):
        key = (*_names(row), value_key(settings[row["cell_id"]]))
        parts.setdefault(key, {}).setdefault(row["run_id"], []).append(row)
    return [
        {run_id: group_cells(_newest(members))[0] for run_id, members in sorted(runs.items())}
        for runs in parts.values()
    ]


def _names(row: ResultRow) -> tuple[str, ...]:
    return row["dataset"], row["model"], row["strategy"], row["machine"]


def _newest(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Of each seed the newest execution: a cell counts once in a run."""
    return list({row["cell_id"]: row for row in rows}.values())


def _levels(series: _Series, metric: Metric, searched: int) -> list[_Level]:
    values = {run_id: group.values(metric) for run_id, group in series.items()}
    usual = _usual_seeds(list(values.values()))
    compared = {
        run_id: mean_of([own[seed] for seed in sorted(usual)])
        for run_id, own in values.items()
        if usual and usual <= own.keys()
    }
    rounding = resolution(series.values(), metric) / math.sqrt(12 * max(len(usual), 1))
    step_positions = steps(list(compared.values()), least_deviation=rounding, series=searched)
    begins = {list(compared)[position] for position in step_positions}
    before = [None, *series.values()]
    return [
        _Level(group, run_id in begins if run_id in compared else None, earlier)
        for (run_id, group), earlier in zip(series.items(), before, strict=False)
    ]


def _usual_seeds(values: Sequence[Mapping[int, float]]) -> frozenset[int]:
    """The seeds that most runs have; of equally frequent ones the most."""
    counts = Counter(frozenset(seed for seed, value in own.items() if math.isfinite(value)) for own in values)
    return max(counts, key=lambda seeds: (counts[seeds], len(seeds)), default=frozenset())


def _row(level: _Level, metric: Metric, varying: Sequence[str], shown: Shown, footnotes: Footnotes) -> Row:
    group = level.group
    row = group.cells[-1]
    cells: dict[str, Value] = {
        **place_cells(group, varying),
        **{name: row.get(name) for name in ("machine", "run_id", "run_name", "package_version")},
        "started_utc": (row.get("started_utc") or "")[:16] or None,
        "git_commit": (row.get("git_commit") or "")[:_SHOWN_DIGITS] or None,
        "n": Tally(len(group.completed), len(group.completed)),
        metric.key: group.measured(metric)[0],
        "step": bool(level.is_step),
    }
    remarks = ["other seeds than most runs: not searched for steps"] if level.is_step is None else []
    cells["commits"], listed = _commits(level, shown)
    return Row(cells, footnotes.marks(step=remarks, commits=listed), remark="; ".join([*remarks, *listed]))


def _commits(level: _Level, shown: Shown) -> tuple[str | None, list[str]]:
    """The commits since the run before, as git writes their range, and at a step what they say, where git knows them."""
    if level.before is None:
        return None, []
    first, last = (group.cells[-1].get("git_commit") for group in (level.before, level.group))
    if not first or not last or first == last:
        return None, []
    subjects = shown.commits(first, last) if level.is_step else []
    more = f"; and {len(subjects) - _MOST_COMMITS} more" if len(subjects) > _MOST_COMMITS else ""
    listed = [f"{plural(len(subjects), 'commit')}: {'; '.join(subjects[:_MOST_COMMITS])}{more}"] if subjects else []
    return f"{first[:_SHOWN_DIGITS]}..{last[:_SHOWN_DIGITS]}", listed
