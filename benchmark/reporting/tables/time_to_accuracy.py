"""Tables of the time to a given validation accuracy, and of where the learning curves of two groups cross."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import has_valid_timing
from benchmark.reporting.rows.training_budget import Epochs
from benchmark.reporting.statistics.curve_crossing import Curve, crossing
from benchmark.reporting.statistics.mean_difference import FEW_PAIRS
from benchmark.reporting.statistics.survival import median_time
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Value
from benchmark.reporting.tables.place_columns import place_cells, place_columns
from benchmark.reporting.tables.shown import Part, Shown
from benchmark.units import fraction, plural

MOST_CROSSINGS = 15
"""Of more pairs of groups on one dataset and model than this, crossings are left out: nobody reads so many."""


def time_to_accuracy(shown: Shown) -> Part:
    """For each dataset when its groups reach the target, as survival: who never did is censored, never dropped."""
    begun = {group: _begun(group) for group in shown.groups}
    epochs = shown.epochs([row["execution_id"] for rows in begun.values() for _, row in rows])
    tables: list[Table] = []
    notes: list[str] = []
    for dataset in dict.fromkeys(group.dataset for group in shown.groups):
        groups = {
            group: [(seed, row, _validated(epochs.get(row["execution_id"], ()))) for seed, row in rows]
            for group, rows in begun.items()
            if group.dataset == dataset and rows
        }
        target = shown.options.target or _default_target(groups)
        if target is None:
            notes.append(f"Time to accuracy on {dataset}: no epoch with a validation accuracy is recorded.")
            continue
        tables.append(_table(dataset, groups, target, shown.varying))
        tables += _crossings(dataset, groups, shown.varying)
    return tables, notes


def _begun(group: Group) -> list[tuple[int, ResultRow]]:
    """The rows of all executions of a group, with their seeds: those without a result too."""
    done = [(seed, row) for seed in group.completed for row in group.cells_of(seed)]
    return done + [(each.seed, each.row) for each in group.missing if each.row and each.row.get("started_utc", True)]


def _validated(epochs: Epochs) -> Curve:
    """Seconds since the beginning and validation accuracy of each epoch that has both."""
    return [
        (epoch["elapsed_seconds"], epoch["val_accuracy"])
        for epoch in epochs
        if epoch["elapsed_seconds"] is not None and epoch["val_accuracy"] is not None
    ]


_Curves = Mapping[Group, Sequence[tuple[int, ResultRow, Curve]]]


def _default_target(groups: _Curves) -> float | None:
    """The least of the groups' best mean validation accuracies, over the epochs that all finished seeds have."""
    best = []
    for group, begun in groups.items():
        done = {row["execution_id"] for row in group.cells}
        curves = [curve for _, row, curve in begun if row["execution_id"] in done and curve]
        # of a group whose seeds all failed, those
        curves = curves or [curve for _, _, curve in begun if curve]
        if curves:
            epochs = zip(*curves, strict=False)
            best.append(max(math.fsum(value for _, value in epoch) / len(curves) for epoch in epochs))
    return min((each for each in best if math.isfinite(each)), default=None)


def _table(dataset: str, groups: _Curves, target: float, varying: Sequence[str]) -> Table:
    footnotes = Footnotes()
    rows = [_row(group, begun, target, varying, footnotes) for group, begun in groups.items()]
    columns = (
        *place_columns(varying),
        TableColumn("n", "n", "count", identifies=True),
        TableColumn("reached", "reached", "count"),
        TableColumn("censored", "censored", "count"),
        TableColumn("median", "median seconds", "seconds", "s"),
        TableColumn("low", "low", "seconds", "s"),
        TableColumn("high", "high", "seconds", "s"),
    )
    note = (
        f"Seconds until a cell's validation accuracy first reaches {fraction(target)}, without loading; the median is Kaplan and "
        "Meier's estimate with its 95 % interval. A cell that does not reach it is censored at its last epoch, whatever ended "
        "it. `-` is a median that fewer than half reached, or a bound that the data do not determine."
    )
    few = [f"Fewer than {FEW_PAIRS} cells: the interval covers less than 95 %."]
    notes = (note, *(few if any(1 < len(begun) < FEW_PAIRS for begun in groups.values()) else []))
    title = f"Time to a validation accuracy of {fraction(target)} on {dataset}"
    reached = [(row.cells["reached"], row.cells["n"]) for row in rows]
    told = (
        f"a validation accuracy of {fraction(target)} is reached on {dataset} by "
        f"{sum(int(str(count)) for count, _ in reached)} of {plural(sum(int(str(n)) for _, n in reached), 'cell')}"
    )
    return Table("time", title, columns, tuple(rows), {"target": f"{target:.6g}"}, footnotes.texts, notes, answer=told)


def _row(
    group: Group,
    begun: Sequence[tuple[int, ResultRow, Curve]],
    target: float,
    varying: Sequence[str],
    footnotes: Footnotes,
) -> Row:
    arrivals = [next((seconds for seconds, value in curve if value >= target), None) for _, _, curve in begun]
    last = [curve[-1][0] if curve else 0.0 for _, _, curve in begun]
    result = median_time(
        [at for at in arrivals if at is not None],
        [end for at, end in zip(arrivals, last, strict=True) if at is None],
    )
    untimely = sum(not has_valid_timing(row) for _, row, _ in begun if row in group.cells)
    remarks = [f"timings of {plural(untimely, 'cell')} are not valid: resumed or disturbed"] if untimely else []
    cells: dict[str, Value] = {
        **place_cells(group, varying),
        "n": len(begun),
        **{name: getattr(result, name) for name in ("reached", "censored", "median", "low", "high")},
    }
    return Row(cells, footnotes.marks(n=remarks), remark="; ".join(remarks))


_CROSSINGS = (
    TableColumn("model", "model", "text", identifies=True, heads=True),
    TableColumn("first", "first", "text", identifies=True),
    TableColumn("second", "second", "text", identifies=True),
    TableColumn("n", "n", "count", identifies=True),
    TableColumn("crossing", "crossing", "seconds", "s"),
    TableColumn("low", "low", "seconds", "s"),
    TableColumn("high", "high", "seconds", "s"),
    TableColumn("leads", "then leads", "text"),
)
_ON_CROSSINGS = (
    "The last time at which the mean validation accuracies of two groups are equal, interpolated between epochs, and all times "
    "at which a test at 5 % cannot tell them apart. `-` is no crossing while all cells of both were running, or an open end."
)


def _crossings(dataset: str, groups: _Curves, varying: Sequence[str]) -> list[Table]:
    """A table of where the mean learning curves of each two groups of a model cross; none where no model has two."""
    rows: list[Row] = []
    for model in dict.fromkeys(group.model for group in groups):
        curves = {
            group: {seed: curve for seed, row, curve in begun if row in group.cells and len(curve) > 1}
            for group, begun in groups.items()
            if group.model == model
        }
        pairs = list(combinations([group for group, known in curves.items() if known], 2))
        if len(pairs) <= MOST_CROSSINGS:
            rows += [row for pair in pairs if (row := _crossing_row(*pair, curves, varying)) is not None]
    if not rows:
        return []
    title = f"Crossings of learning curves on {dataset}"
    return [Table("time", title, _CROSSINGS, tuple(rows), {"dataset": dataset}, notes=(_ON_CROSSINGS,))]


def _crossing_row(
    first: Group, second: Group, curves: Mapping[Group, Mapping[int, Curve]], varying: Sequence[str]
) -> Row | None:
    result = crossing(curves[first], curves[second])
    if result is None:
        return None
    names = [", ".join([group.strategy, *group.describe(varying)]) for group in (first, second)]
    cells: dict[str, Value] = {
        "model": first.model,
        "first": names[0],
        "second": names[1],
        "n": result.n,
        "crossing": result.time,
        "low": result.low,
        "high": result.high,
        "leads": names[result.second_leads],
    }
    return Row(cells)
