"""Compares two selections of cells, group by group and paired by seed, for `bench compare A B`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import NotFoundError
from benchmark.reporting.rows.differences import (
    difference,
    judge_all,
    note_on_few_seeds,
    provenance_that_differs,
    remarks_on,
    settings_that_differ,
)
from benchmark.reporting.rows.groups import Group, group_cells, partner, varying_settings
from benchmark.reporting.rows.latest import ResultRow, choose_machine, latest_executions
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, TEST_LOSS, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics.families import judge
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.statistics.mean_difference import NOT_RESOLVED, Difference, compare
from benchmark.reporting.table import Footnotes, Report, Row, Table, TableColumn, Value

METRICS = (TEST_ACCURACY, VAL_ACCURACY, TEST_LOSS, FIT_SECONDS)
NAMES = ("dataset", "model", "strategy")
_COLUMNS = (
    TableColumn("metric", "metric", "text", identifies=True),
    TableColumn("a_cells", "A", "text", identifies=True),
    TableColumn("b_cells", "B", "text", identifies=True),
    TableColumn("a", "mean of A", "accuracy"),
    TableColumn("b", "mean of B", "accuracy"),
    TableColumn("difference", "B - A", "accuracy"),
    TableColumn("p", "p", "p"),
    TableColumn("verdict", "B is", "verdict"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The report, and its verdict on the test accuracy of B: `better`, `worse` or `not resolved`."""

    report: Report
    verdict: str


def compare_selections(
    first: Sequence[ResultRow], second: Sequence[ResultRow], *, machine: str | None = None
) -> Comparison:
    """Compare selection B with selection A; differences are B minus A.

    A dimension (dataset, model, strategy) in which the selections share a name must be equal in a matched pair; one in
    which they share none is what is compared. Among the candidates a group is matched with the one that agrees in most
    settings. With several matched pairs the verdict is that of their average, one number for each seed that all have.

    Args:
        first: Rows of A, as for `report.build_report`.
        second: Rows of B.
        machine: Whose results; None takes that of A's newest run, for B too if it has results there.

    Raises:
        NotFoundError: A selection matches nothing, or nothing in A can be matched with anything in B.
    """
    groups_a, machine_a = _groups("A", first, machine)
    is_common = any(row.get("machine") == machine_a for row in second)
    groups_b, machine_b = _groups("B", second, machine or (machine_a if is_common else None))
    pairs = _match(groups_a, groups_b)
    if not pairs:
        raise NotFoundError(
            "compare: expected cells in A and B that agree in all but what is compared (dataset, model or strategy); "
            f"found {len(groups_a)} groups in A and {len(groups_b)} in B that share none; widen a selection"
        )
    footnotes = Footnotes()
    parts = {metric.key: _rows(metric, pairs, footnotes) for metric in METRICS}
    rows = [row for metric_rows, _ in parts.values() for row in metric_rows]
    overall = parts[TEST_ACCURACY.key][1]
    verdict = (overall and overall.verdict) or NOT_RESOLVED
    table = Table("compare", "B against A", _COLUMNS, tuple(rows), footnotes=footnotes.texts, notes=_notes(pairs))
    notes = [] if machine_a == machine_b else [f"A was measured on machine {machine_a}, B on {machine_b}."]
    return Comparison(Report((table,), tuple(notes), machine_a), verdict)


def _groups(side: str, rows: Sequence[ResultRow], machine: str | None) -> tuple[list[Group], str | None]:
    chosen = choose_machine(rows, machine, None)
    groups = group_cells(latest_executions([row for row in rows if row.get("machine") == chosen]))
    if not groups:
        where = f" on machine {chosen}" if chosen else ""
        raise NotFoundError(
            f"compare: selection {side} matches no result{where}; `bench list cells` shows what there is"
        )
    return groups, chosen


def _match(first: Sequence[Group], second: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Each group of the first side with its partner; a group of the second side has at most one."""
    equal = [
        name for name in NAMES if {getattr(each, name) for each in first} & {getattr(each, name) for each in second}
    ]
    varying = varying_settings([*first, *second])
    unmatched = list(second)
    pairs = []
    for group in first:
        candidates = [each for each in unmatched if all(getattr(each, name) == getattr(group, name) for name in equal)]
        best = partner(group, candidates, varying)
        if best is not None:
            unmatched.remove(best)
            pairs.append((group, best))
    return pairs


def _rows(
    metric: Metric, pairs: Sequence[tuple[Group, Group]], footnotes: Footnotes
) -> tuple[list[Row], Difference | None]:
    def row(
        names: Sequence[str], values: Sequence[Mapping[int, float]], result: Difference | None, remarks: Sequence[str]
    ) -> Row:
        cells: dict[str, Value] = {
            "metric": metric.title,
            "a_cells": names[0],
            "b_cells": names[1],
            "a": measure(values[0].values()),
            "b": measure(values[1].values()),
            "difference": result,
            "p": result.adjusted_p if result else None,
            "verdict": result.verdict if result else None,
        }
        return Row(cells, footnotes.marks(difference=remarks), metric.kind, "; ".join(remarks))

    judged = judge_all(pairs, metric)
    values = [[group.values(metric) for group in pair] for pair in pairs]
    rows = [
        row([", ".join(group.names) for group in pair], each, result, remarks_on(result, *pair, metric))
        for pair, each, result in zip(pairs, values, judged, strict=True)
    ]
    if len(pairs) == 1:
        return rows, judged[0]
    # for each seed that all groups of a side have, the mean of the groups
    means = [
        {seed: sum(each[seed] for each in side) / len(side) for seed in sorted(set.intersection(*map(set, side)))}
        for side in zip(*values, strict=True)
    ]
    overall = judge([compare(*means)], higher_is_better=metric.higher_is_better)[0]
    return [*rows, row([f"all {len(pairs)}"] * 2, means, overall, ())], overall


def _notes(pairs: Sequence[tuple[Group, Group]]) -> tuple[str, ...]:
    notes: list[str] = []
    for a, b in pairs:
        other = settings_that_differ(a, b) + provenance_that_differs(a, b)
        if other:
            notes.append(f"{', '.join(a.names)} and {', '.join(b.names)} differ in {'; '.join(other)}.")
        for group in (a, b):
            notes += [f"{', '.join(group.names)}: {text}." for text in reasons(group)]
    shared = {cell for a, _ in pairs for cell in a.cell_ids} & {cell for _, b in pairs for cell in b.cell_ids}
    if shared:
        notes.append(f"A and B share {len(shared)} cells, which cannot differ from themselves.")
    differences = [difference(a, b, TEST_ACCURACY) for a, b in pairs]
    return (*dict.fromkeys(notes), *note_on_few_seeds(differences))
