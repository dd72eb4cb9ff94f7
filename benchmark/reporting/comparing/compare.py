"""Compares two selections of cells, group by group and paired by seed, for `bench compare A B`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from benchmark import units
from benchmark.reporting.comparing.comparison_answer import comparison_answer, pair_names
from benchmark.reporting.comparing.difference_remarks import better_side, on_reach, on_robust, verdict_cell
from benchmark.reporting.comparing.differences import Judging, difference_of, judge_pairs, note_on_families, suspects
from benchmark.reporting.comparing.look_remarks import LOOKED, note_on_looks
from benchmark.reporting.comparing.matching import Matched, are_the_same, match_selections, named, notes_on
from benchmark.reporting.comparing.timed_turns import runs_of
from benchmark.reporting.predictions.further_metrics import with_further_metrics
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.forgotten import without_forgotten
from benchmark.reporting.rows.groups import Pair, apart, resolution, run_ids
from benchmark.reporting.rows.latest import ResultRow, note_on_other_machines
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, TEST_LOSS, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import lost
from benchmark.reporting.shared_notes import common_remarks, notes_on_verdicts
from benchmark.reporting.statistics.families import judge
from benchmark.reporting.statistics.intervals import Measurement, measure
from benchmark.reporting.statistics.mean_difference import NOT_COMPARABLE, NOT_RESOLVED, Difference
from benchmark.reporting.statistics.timings import compare_timings
from benchmark.reporting.table import Footnotes, Report, Row, Table, TableColumn, Value
from benchmark.results.records import LookRow

METRICS = (TEST_ACCURACY, VAL_ACCURACY, TEST_LOSS, FIT_SECONDS)
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
_PEOPLE = (
    TableColumn("metric", "metric", "text", identifies=True, heads=True),
    TableColumn("pair", "pair", "text", identifies=True),
    TableColumn("a_mean", "mean of A", "accuracy"),
    TableColumn("b_mean", "mean of B", "accuracy"),
    TableColumn("difference", "B - A", "accuracy"),
    TableColumn("verdict", "B is", "verdict"),
)
"""What people see of it, in one table of 80 columns: A and B are named once, by the answer above it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The report of a comparison, and what a gate asks.

    Attributes:
        report: The tables.
        verdict: On B in the main metric, over all matched pairs.
        overall: The difference that it is about; None where no pair can be compared.
        pairs: The judged difference of each matched pair in the main metric.
        metric: The main metric.
        gaps: Places of A without evidence about B, in words.
        survivors: Places at which B lost more seeds than A, in words.
        executions: Those of A and of B that the verdict is about.
    """

    report: Report
    verdict: str
    overall: Difference | None = None
    pairs: tuple[Difference, ...] = ()
    metric: Metric = TEST_ACCURACY
    gaps: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()
    executions: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def compare_selections(
    first: Sequence[ResultRow],
    second: Sequence[ResultRow],
    *,
    machine: str | None = None,
    judging: Judging | None = None,
    predictions: LoadPredictions = lambda _: {},
    looks: Sequence[LookRow] = (),
    parents: Collection[str] = (),
    named: Collection[str] = (),
    selections: tuple[str, str] | None = None,
) -> Comparison:
    """Compare selection B with selection A; differences are B minus A.

    A dimension (dataset, model, strategy) in which the selections share a name must be equal in a matched pair; one in
    which they share none is what is compared. Among the candidates a group is matched with the one that agrees in most
    settings. With several matched pairs the verdict is that of their average, one number for each seed that all have.

    Args:
        first: Rows of A, as for `report.build_report`.
        second: Rows of B.
        machine: Whose results; None takes that of A's newest run, for B too if it has results there.
        judging: What gets verdicts; by default test accuracy.
        predictions: Reads stored predictions.
        looks: Those of `bench run --resolve`, oldest first.
        parents: Ids of cells that others start from: where A has nothing else, no counterpart in B is expected.
        named: The keys of the two selections: settings among them are meant to differ.
        selections: Those of A and B, as they were typed.

    Raises:
        NotFoundError: A selection matches nothing, or nothing in A can be matched with anything in B.
    """
    judging = judging or Judging()
    first, second = (with_further_metrics(side, judging.metrics, predictions) for side in (first, second))
    matched = match_selections(first, second, machine)
    machine_a, machine_b = matched.machines
    matched = replace(matched, comparisons=judge_pairs(matched.pairs, judging, predictions))
    footnotes, rows = Footnotes(), []
    common = common_remarks(matched.comparisons.judged.values())
    overall: Difference | None = None
    for metric in dict.fromkeys((*METRICS, *judging.metrics)):
        pair_rows, result = _rows(metric, matched, footnotes, common)
        rows += pair_rows
        overall = result if metric == judging.main else overall
    table = Table(
        "compare", "B against A", _COLUMNS, tuple(rows), footnotes=footnotes.texts, notes=notes_on(matched),
        people=_for_people(rows),
    )  # fmt: skip
    notes = [] if machine_a == machine_b else [f"A was measured on machine {machine_a}, B on {machine_b}."]
    elsewhere = [
        note_on_other_machines(without_forgotten(selected), chosen)
        for selected, chosen in ((first, machine_a), (second, machine_b))
    ]
    sides = [("A and B", elsewhere[0])] if elsewhere[0] == elsewhere[1] else zip("AB", elsewhere, strict=True)
    notes += [text.behind(f"{side}: ") for side, texts in sides for text in texts]
    notes += [*notes_on_verdicts(common), *note_on_families(matched.comparisons)]
    executions = _executions(matched.comparable or matched.pairs)
    looked = note_on_looks([number for side in executions for number in side], looks)
    notes += looked
    answer = comparison_answer(matched, overall, judging.main, selections, [LOOKED] if looked else ())
    judged = [matched.comparisons.between(*pair, judging.main) for pair in matched.pairs]
    verdict = (overall and overall.verdict) or (NOT_RESOLVED if matched.comparable else NOT_COMPARABLE)
    return Comparison(
        Report(
            (table,), tuple(notes), machine_a, answer=answer, suspects=suspects(matched.comparisons, named),
            runs=run_ids(group for pair in matched.pairs for group in pair),
        ),
        verdict, overall, tuple(filter(None, judged)), judging.main, _gaps(matched, judging.main, parents),
        _survivors(matched), executions,
    )  # fmt: skip


def _for_people(rows: Sequence[Row]) -> tuple[TableColumn, ...]:
    """Their columns, with the n that all differences share; of a single pair without its name, which stands above."""
    counts = {value.n for row in rows if isinstance(value := row.cells["difference"], Difference)}
    n = counts.pop() if len(counts) == 1 else None
    columns = [replace(each, n=n) if each.key == "difference" else each for each in _PEOPLE]
    if any(row.cells["pair"] for row in rows):
        return tuple(columns)
    return tuple(replace(each, heads=False) for each in columns if each.key != "pair")


def _executions(pairs: Sequence[Pair]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    a, b = (tuple(sorted({number for pair in pairs for number in pair[side].execution_ids})) for side in (0, 1))
    return a, b


def _rows(
    metric: Metric, matched: Matched, footnotes: Footnotes, common: Collection[str]
) -> tuple[list[Row], Difference | None]:
    """A row for each pair and one for all together, and the difference that the verdict is about.

    Remarks that all differences have in `common` get no footnotes.
    """
    judged = [matched.comparisons.between(*pair, metric) for pair in matched.pairs]
    rows = []
    names = pair_names(matched.pairs)
    for pair, name, result in zip(matched.pairs, names, judged, strict=True):
        measured = [group.measured(metric) for group in pair]
        sides = dict(zip("ab", (value for value, _ in measured), strict=True))
        invalid = {key: f"no valid timing: {why}" for key, (_, why) in zip("ab", measured, strict=True) if why}
        rows.append(
            _row(metric, [*(named(group) for group in pair), name], sides, result, (footnotes, common), invalid)
        )
    if len(judged) == 1:
        return rows, judged[0]
    comparable = matched.comparable
    values = [[group.values(metric) for group in apart(*pair)] for pair in comparable]
    # for each seed that all groups of a side have, the mean of the groups
    means: list[Mapping[int, float]] = [
        {seed: sum(each[seed] for each in side) / len(side) for seed in sorted(set.intersection(*map(set, side)))}
        for side in zip(*values, strict=True)
    ] or [{}, {}]
    overall = _overall(metric, matched, means, judged)
    count = f"all {len(matched.pairs)}" + ("" if len(comparable) == len(judged) else f", {len(comparable)} comparable")
    step = resolution([group for pair in comparable for group in pair], metric) / max(len(comparable), 1)
    sides = {
        key: measure(side.values(), step=step, bounds=metric.bounds) for key, side in zip("ab", means, strict=True)
    }
    return [*rows, _row(metric, [count] * 3, sides, overall, (footnotes, common))], overall


def _overall(
    metric: Metric, matched: Matched, means: Sequence[Mapping[int, float]], judged: Sequence[Difference | None]
) -> Difference | None:
    """The judged difference of the averages; it has a verdict where its pairs have one."""
    groups = [pair[0] for pair in matched.comparable], [pair[1] for pair in matched.comparable]
    difference = difference_of(means[0], means[1], groups, metric) if matched.comparable else None
    if metric.is_timing and matched.comparable:
        difference = compare_timings(means[0], means[1], runs_of(matched.comparable[0][0])) or difference
    if difference is None:
        return None
    judging = matched.comparisons.judging
    comparable = [each for each in judged if each and each.verdict != NOT_COMPARABLE]
    is_judged = metric in judging.metrics and bool(comparable) and all(each.verdict for each in comparable)
    way = metric.higher_is_better if is_judged else None
    result = judge([difference], higher_is_better=way, margin=judging.margin if is_judged else None)[0]
    assert result is not None
    survivors = [text for each in judged if each for text in each.remarks if text.startswith("of the survivors")]
    return replace(result, remarks=(*dict.fromkeys(survivors), *on_reach(result, metric), *on_robust(result)))


def _row(
    metric: Metric,
    names: Sequence[str],
    sides: Mapping[str, Value],
    result: Difference | None,
    noted: tuple[Footnotes, Collection[str]],
    invalid: Mapping[str, str] = MappingProxyType({}),
) -> Row:
    cells: dict[str, Value] = {
        "metric": metric.title,
        "a_cells": names[0],
        "b_cells": names[1],
        "pair": names[2],
        **sides,
        **{f"{key}_mean": side.mean for key, side in sides.items() if isinstance(side, Measurement)},
        "difference": result,
        "p": result.adjusted_p if result else None,
        "verdict": verdict_cell(result, metric),
    }
    unsure = {f"{key}{ending}": [text] for key, text in invalid.items() for ending in ("", "_mean")}
    footnotes, common = noted
    remarks = [text for text in (result.remarks if result else ()) if text not in common]
    marks = footnotes.marks(**unsure, difference=["; ".join(remarks)] if remarks else ())
    remark = "; ".join(filter(None, [*dict.fromkeys(invalid.values()), result.remark if result else ""]))
    best = better_side(result, "a", "b") | better_side(result, "a_mean", "b_mean")
    return Row(cells, marks, metric.kind, remark, best)


def _gaps(matched: Matched, metric: Metric, parents: Collection[str]) -> tuple[str, ...]:
    """The places of A at which nothing is known about B, each with the reason."""
    alone = [group for group in matched.alone_a if not group.cells or not {*group.cell_ids} <= {*parents}]
    gaps = [f"{named(group)}: B has no counterpart" for group in alone]
    for a, b in matched.pairs:
        result = matched.comparisons.between(a, b, metric)
        if result is None:
            lacking = f"{'B' if a.values(metric) else 'A'} has no result"
            gaps.append(f"{named(a)}: {'A and B are the same results' if are_the_same(a, b) else lacking}")
        elif result.verdict == NOT_COMPARABLE:
            gaps.append(f"{named(a)}: not comparable, other {'; '.join(matched.comparisons.audit(a, b).prevents)}")
        elif result.half_width is None:
            gaps.append(f"{named(a)}: fewer than two pairs of seeds")
        elif result.verdict is None:
            gaps.append(f"{named(a)}: {result.remarks[0]}")
    return tuple(gaps)


def _survivors(matched: Matched) -> tuple[str, ...]:
    """The places at which B lost more seeds than A, so that what is left of B may flatter it."""
    return tuple(
        f"{named(b)}: B lost {units.plural(lost(b), 'seed')}, A {lost(a) or 'none'}"
        for a, b in matched.pairs
        if lost(b) > lost(a)
    )
