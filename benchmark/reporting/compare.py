"""Compares two selections of cells, group by group and paired by seed, for `bench compare A B`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import NotFoundError
from benchmark.reporting.rows.differences import (
    difference,
    note_on_few_seeds,
    provenance_that_differs,
    remarks_on,
    settings_that_differ,
)
from benchmark.reporting.rows.groups import Group, group_cells, varying_settings
from benchmark.reporting.rows.latest import ResultRow, choose_machine, latest_executions
from benchmark.reporting.rows.matching import partner
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, TEST_LOSS, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics import Difference, compare, judge, measure
from benchmark.reporting.table import Footnotes, Report, Row, Table, TableColumn

METRICS = (TEST_ACCURACY, VAL_ACCURACY, TEST_LOSS, FIT_SECONDS)
NAMES = ("dataset", "model", "strategy")


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
    rows: list[Row] = []
    verdict = "not resolved"
    for metric in METRICS:
        metric_rows, overall = _rows(metric, pairs, footnotes)
        rows += metric_rows
        if metric is TEST_ACCURACY and overall is not None:
            verdict = overall.verdict or verdict
    table = Table("compare", "B against A", _columns(), tuple(rows), footnotes=footnotes.texts, notes=_notes(pairs))
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


def _columns() -> tuple[TableColumn, ...]:
    return (
        TableColumn("metric", "metric", "text", identifies=True),
        TableColumn("a_cells", "A", "text", identifies=True),
        TableColumn("b_cells", "B", "text", identifies=True),
        TableColumn("a", "mean of A", "accuracy"),
        TableColumn("b", "mean of B", "accuracy"),
        TableColumn("difference", "B - A", "accuracy"),
        TableColumn("p", "p", "p"),
        TableColumn("verdict", "B is", "verdict"),
    )


def _rows(
    metric: Metric, pairs: Sequence[tuple[Group, Group]], footnotes: Footnotes
) -> tuple[list[Row], Difference | None]:
    judged = judge([difference(a, b, metric) for a, b in pairs], higher_is_better=metric.higher_is_better)
    rows = []
    for (a, b), result in zip(pairs, judged, strict=True):
        remarks = remarks_on(result, a, b, metric)
        names = ", ".join(a.names), ", ".join(b.names)
        rows.append(_row(metric, names, a.values(metric), b.values(metric), result, footnotes.mark(*remarks), remarks))
    if len(pairs) == 1:
        return rows, judged[0]
    mean_a, mean_b = (_averages([pair[side].values(metric) for pair in pairs]) for side in (0, 1))
    overall = judge([compare(mean_a, mean_b)], higher_is_better=metric.higher_is_better)[0]
    names = (f"all {len(pairs)}", f"all {len(pairs)}")
    return [*rows, _row(metric, names, mean_a, mean_b, overall)], overall


def _averages(values: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """For each seed that all groups have, the mean of the groups."""
    seeds = set.intersection(*(set(each) for each in values))
    return {seed: sum(each[seed] for each in values) / len(values) for seed in sorted(seeds)}


def _row(
    metric: Metric,
    names: tuple[str, str],
    a: Mapping[int, float],
    b: Mapping[int, float],
    result: Difference | None,
    marks: tuple[int, ...] = (),
    remarks: Sequence[str] = (),
) -> Row:
    cells = {
        "metric": metric.title,
        "a_cells": names[0],
        "b_cells": names[1],
        "a": measure(a.values()),
        "b": measure(b.values()),
        "difference": result,
        "p": result.adjusted_p if result else None,
        "verdict": result.verdict if result else None,
    }
    return Row(cells, {"difference": marks} if marks else {}, metric.kind, "; ".join(remarks))


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
