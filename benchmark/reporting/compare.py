"""Two selections of cells side by side, paired wherever they meet: what `bench compare A B` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import NotFoundError
from benchmark.reporting.rows.comparison import (
    difference,
    note_on_few_seeds,
    provenance_that_differs,
    remarks_on,
    settings_that_differ,
)
from benchmark.reporting.rows.groups import Group, group_cells, varying_settings
from benchmark.reporting.rows.latest import ResultRow, choose_machine, latest_executions
from benchmark.reporting.rows.matching import agreement
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, TEST_LOSS, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics import Difference, compare, judge, measure
from benchmark.reporting.table import Column, Footnotes, Report, Row, Table

METRICS = (TEST_ACCURACY, VAL_ACCURACY, TEST_LOSS, FIT_SECONDS)
NAMES = ("dataset", "model", "strategy")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The report, and its verdict on test accuracy: is B `better`, `worse`, or `not resolved`."""

    report: Report
    verdict: str


def compare_selections(
    first: Sequence[ResultRow], second: Sequence[ResultRow], *, machine: str | None = None
) -> Comparison:
    """Compare selection B with selection A; differences are B minus A.

    Names (dataset, model, strategy) that both selections share are held equal; those in which they have nothing in
    common are what is compared. Within that, groups are matched by the most equal settings and paired by seed. With
    several matched pairs the verdict comes from their average: for each seed that all pairs have, one number.

    Args:
        first: Rows of A, as for `report.build_report`.
        second: Rows of B.
        machine: Whose results; None takes the machine on which A moved last, for B too if it has results there.

    Raises:
        NotFoundError: A selection matches nothing, or nothing in A can be matched with anything in B.
    """
    groups_a, machine_a = _groups("A", first, machine)
    there = any(row.get("machine") == machine_a for row in second)
    groups_b, machine_b = _groups("B", second, machine or (machine_a if there else None))
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
        made, found = _rows(metric, pairs, footnotes)
        rows += made
        if metric is TEST_ACCURACY and found is not None:
            verdict = found.verdict or verdict
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
    held = [
        name for name in NAMES if {getattr(each, name) for each in first} & {getattr(each, name) for each in second}
    ]
    varying = varying_settings([*first, *second])
    free = list(second)
    pairs = []
    for group in first:
        meets = [each for each in free if all(getattr(each, name) == getattr(group, name) for name in held)]
        if meets:
            best = max(meets, key=lambda each: (agreement(group, each, varying), each.last_run))
            free.remove(best)
            pairs.append((group, best))
    return pairs


def _columns() -> tuple[Column, ...]:
    return (
        Column("metric", "metric", "text", identifies=True),
        Column("a_cells", "A", "text", identifies=True),
        Column("b_cells", "B", "text", identifies=True),
        Column("a", "mean of A", "accuracy"),
        Column("b", "mean of B", "accuracy"),
        Column("difference", "B - A", "accuracy"),
        Column("p", "p", "p"),
        Column("verdict", "B is", "verdict"),
    )


def _rows(
    metric: Metric, pairs: Sequence[tuple[Group, Group]], footnotes: Footnotes
) -> tuple[list[Row], Difference | None]:
    judged = judge([difference(a, b, metric) for a, b in pairs], higher_is_better=metric.higher_is_better)
    rows = []
    for (a, b), found in zip(pairs, judged, strict=True):
        texts = remarks_on(found, a, b, metric)
        names = ", ".join(a.names), ", ".join(b.names)
        rows.append(_row(metric, names, a.values(metric), b.values(metric), found, footnotes, texts))
    if len(pairs) == 1:
        return rows, judged[0]
    one, two = (_averages([pair[side].values(metric) for pair in pairs]) for side in (0, 1))
    overall = judge([compare(one, two)], higher_is_better=metric.higher_is_better)[0]
    names = (f"all {len(pairs)}", f"all {len(pairs)}")
    return [*rows, _row(metric, names, one, two, overall, footnotes, [])], overall


def _averages(values: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """For each seed that all groups have, the mean of the groups."""
    seeds = set.intersection(*(set(each) for each in values))
    return {seed: sum(each[seed] for each in values) / len(values) for seed in sorted(seeds)}


def _row(
    metric: Metric,
    names: tuple[str, str],
    one: Mapping[int, float],
    two: Mapping[int, float],
    found: Difference | None,
    footnotes: Footnotes,
    texts: Sequence[str],
) -> Row:
    cells = {
        "metric": metric.title,
        "a_cells": names[0],
        "b_cells": names[1],
        "a": measure(one.values()),
        "b": measure(two.values()),
        "difference": found,
        "p": found.adjusted_p if found else None,
        "verdict": found.verdict if found else None,
    }
    marks = {"difference": footnotes.mark(*texts)} if texts else {}
    return Row(cells, marks, metric.kind, "; ".join(texts))


def _notes(pairs: Sequence[tuple[Group, Group]]) -> tuple[str, ...]:
    notes: list[str] = []
    for a, b in pairs:
        found = settings_that_differ(a, b) + provenance_that_differs(a, b)
        if found:
            notes.append(f"{', '.join(a.names)} and {', '.join(b.names)} differ in {'; '.join(found)}.")
        for group in (a, b):
            notes += [f"{', '.join(group.names)}: {text}." for text in reasons(group)]
    shared = {row["cell_id"] for a, _ in pairs for row in a.completed.values()}
    shared &= {row["cell_id"] for _, b in pairs for row in b.completed.values()}
    if shared:
        notes.append(f"A and B share {len(shared)} cells, which cannot differ from themselves.")
    differences = [difference(a, b, TEST_ACCURACY) for a, b in pairs]
    return (*dict.fromkeys(notes), *note_on_few_seeds(differences))
