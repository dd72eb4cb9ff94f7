"""The tables of where the spread comes from: split, initial weights, order, augmentation, and the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.matrix.cell import STREAMS
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.metrics import TEST_ACCURACY, Metric, metric_named, value_of
from benchmark.reporting.rows.repetitions import seeds_of, with_streams
from benchmark.reporting.statistics.intervals import mean_of
from benchmark.reporting.statistics.variance_components import REST, Decomposition, decompose
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Value
from benchmark.reporting.tables.shown import Part, Shown


def variance(shown: Shown) -> Part:
    """A table for each group in which some streams differ from cell to cell apart from each other; a note without any."""
    names = shown.options.metrics or shown.spec.metrics
    metric = metric_named(names[0]) if names else TEST_ACCURACY
    varying = varying_settings(shown.groups)
    tables = [table for group in shown.groups if (table := _table(group, metric, varying)) is not None]
    if tables:
        return tables, []
    note = (
        f"Variance: no group has several results that differ in some of {', '.join(STREAMS)} apart from the others; put "
        "two or more of them, or one beside seed, on axes of the matrix."
    )
    return [], [note]


def _table(group: Group, metric: Metric, varying: Sequence[str]) -> Table | None:
    values = _values(group, metric)
    levels: dict[str, list[int]] = {
        stream: [seeds[position] for seeds in values] for position, stream in enumerate(STREAMS)
    }
    parts = decompose(list(values.values()), levels) if len(values) > 2 else Decomposition()
    if not parts.together:
        return None
    columns = (
        TableColumn("source", "source", "text", identifies=True),
        TableColumn("share", "share", "accuracy"),
        TableColumn("low", "low", "accuracy"),
        TableColumn("high", "high", "accuracy"),
        TableColumn("sd", f"sd of {metric.title}", metric.kind, metric.unit),
        TableColumn("levels", "seeds", "count"),
    )
    footnotes = Footnotes()
    rows = [_row(source, parts, len(set(levels[source])), footnotes) for source in STREAMS]
    rows.append(_row(REST, parts, None, footnotes))
    title = ", ".join([*group.names, *group.describe(varying)])
    about = {"dataset": group.dataset, "model": group.model, "strategy": group.strategy, "metric": metric.key}
    folds = ", each the mean of its folds" if "fold" in group.repetitions.averaged else ""
    note = (
        f"Shares of the variance of {metric.title} over {len(values)} combinations of seeds{folds}, with 95 % intervals. "
        "The rest is what the sources do in combination."
    )
    if not parts.shares and not parts.confounded:
        note = f"All {len(values)} values of {metric.title} are equal: there is no variance to divide."
    return Table("variance", f"Variance: {title}", columns, tuple(rows), about, footnotes.texts, (note,))


def _values(group: Group, metric: Metric) -> Mapping[tuple[int, ...], float]:
    """The metric of all results by the seeds of the streams; of several folds their mean."""
    found: dict[tuple[int, ...], list[float]] = {}
    for row in group.repetitions.results:
        value, seeds = value_of(row, metric), with_streams(seeds_of(row))
        if value is not None and math.isfinite(value):
            found.setdefault(tuple(seeds[stream] for stream in STREAMS), []).append(value)
    most = max(map(len, found.values()), default=0)
    return {seeds: mean_of(values) for seeds, values in found.items() if len(values) == most}


def _row(source: str, found: Decomposition, levels: int | None, footnotes: Footnotes) -> Row:
    cells: dict[str, Value] = {"source": source, "levels": levels}
    for share in found.shares:
        if share.source == source:
            cells |= {"share": share.share, "low": share.low, "high": share.high, "sd": math.sqrt(share.variance)}
    note = _note(source, found, levels)
    return Row(cells, footnotes.marks(share=[note] if note else []), remark=note)


def _note(source: str, found: Decomposition, levels: int | None) -> str:
    """What a reader must know of a share, or why there is none."""
    together = found.together or {}
    first = next((name for name, others in together.items() if source in others), None)
    if levels == 1:
        return "the same in all"
    if source in found.within_rest:
        return "different in each: part of the rest"
    if first is not None:
        return f"varies with {first}: part of its share"
    if found.confounded:
        return "cannot be told apart here: cross the axes" if source in (*found.confounded, REST) else ""
    if source == REST and found.shares and all(each.source != REST for each in found.shares):
        return "part of each share; more seeds in which all differ would separate it"
    if together.get(source):
        return f"with {' and '.join(together[source])}"
    return ""
