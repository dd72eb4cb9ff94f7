"""The table of accuracy against cost, with the Pareto front: the groups that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import COSTS, FIT_SECONDS, METRICS, Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.rows.scope import name_in, telling
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value
from benchmark.reporting.tables.place_columns import place_cells, place_columns
from benchmark.reporting.tables.shown import Part, Shown
from benchmark.units import plural

_MOST_NAMED = 4


def pareto(shown: Shown) -> Part:
    """All groups with their accuracy and cost; `front` is true where no group of the same dataset is better in both."""
    quality, cost = _metrics(shown)
    means, front = means_of(shown.groups, quality, cost), pareto_front(shown.groups, quality, cost)
    varying, footnotes = shown.varying, Footnotes()
    rows = []
    for group in sorted(shown.groups, key=lambda group: (_order(shown.groups)[group.dataset], _cost(means[group]))):
        missing = reasons(group)
        measured = {metric.key: group.measured(metric) for metric in (quality, cost)}
        invalid = measured[cost.key][1]
        cells: dict[str, Value] = {
            **place_cells(group, varying),
            "n": Tally(len(group.completed), group.planned),
            quality.key: measured[quality.key][0],
            cost.key: measured[cost.key][0],
            "front": None if means[group] is None else group in front,
        }
        unclear = [f"no valid timing: {invalid}"] if invalid else []
        rows.append(
            Row(cells, footnotes.marks(n=missing, **{cost.key: unclear}), remark="; ".join([*missing, *unclear]))
        )
    columns = (
        *place_columns(varying),
        TableColumn("n", "n", "count", identifies=True),
        *(TableColumn(metric.key, metric.title, metric.kind, metric.unit) for metric in (quality, cost)),
        TableColumn("front", "front", "text"),
    )
    note = (
        f"A row is on the front where no other row of its dataset has as good a {quality.title} for fewer {cost.title}, or a "
        "better one for as many. These are means: neighbours may change places by chance."
    )
    names = telling(shown.groups)
    best = [name_in(group, names, varying) for group in shown.groups if group in front]
    return [
        Table(
            "pareto", f"Pareto front: {quality.title} against {cost.title}", columns, tuple(rows),
            footnotes=footnotes.texts, notes=(note,), answer=_told(best, rows, quality, cost),
        )
    ], []  # fmt: skip


def _told(best: Sequence[str], rows: Sequence[Row], quality: Metric, cost: Metric) -> str:
    """The front in a sentence."""
    if not best:
        valid = "valid " * cost.is_timing
        return f"no row is on the front: none has both a value of {quality.title} and a {valid}value of {cost.title}"
    named = f": {'; '.join(best)}" if len(best) <= _MOST_NAMED and all(best) else ""
    return f"on the front {'is' if len(best) == 1 else 'are'} {len(best)} of {plural(len(rows), 'row')}{named}"


def _metrics(shown: Shown) -> tuple[Metric, Metric]:
    """What is gained, and what it costs: as asked for, else test accuracy and fit seconds."""
    costs = [METRICS[name] for name in shown.options.metrics if METRICS.get(name) in COSTS]
    judged = [metric for metric in shown.comparisons.judging.metrics if metric not in COSTS]
    return (judged or [shown.options.main_metric])[0], (costs or [FIT_SECONDS])[0]


def _order(groups: Sequence[Group]) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(group.dataset for group in groups))}


def means_of(groups: Sequence[Group], quality: Metric, cost: Metric) -> dict[Group, tuple[float, float] | None]:
    """Mean quality and cost of each group; None where one is missing, or no timing is valid."""
    return {group: _means(group, quality, cost) for group in groups}


def _means(group: Group, quality: Metric, cost: Metric) -> tuple[float, float] | None:
    sides = [list(group.values(metric).values()) for metric in (quality, cost)]
    if not all(sides):
        return None
    good, dear = (sum(side) / len(side) for side in sides)
    return good, dear


def _cost(means: tuple[float, float] | None) -> float:
    return float("inf") if means is None else means[1]


def pareto_front(groups: Sequence[Group], quality: Metric, cost: Metric) -> list[Group]:
    """The groups that no other of their dataset beats in both means, the cheapest of each dataset first."""
    known = {group: means for group, means in means_of(groups, quality, cost).items() if means is not None}
    sign = 1 if quality.higher_is_better else -1
    front = [
        group
        for group, own in known.items()
        if not any(
            sign * other[0] >= sign * own[0] and other[1] <= own[1] and other != own
            for rival, other in known.items()
            if rival.dataset == group.dataset
        )
    ]
    return sorted(front, key=lambda group: (_order(groups)[group.dataset], known[group][1]))
