"""The summary table: a row for each dataset, model, strategy and other varying setting, then for ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.errors import NotFoundError
from benchmark.reporting.comparing.difference_remarks import verdict_cell
from benchmark.reporting.comparing.differences import Comparisons, Judging
from benchmark.reporting.predictions.ensembles import Ensemble, requested_ensembles, seed_ensembles
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group, Pair, partners
from benchmark.reporting.rows.metrics import (
    EPOCHS,
    FIT_SECONDS,
    PARAMETERS,
    RATE,
    SUMMARY_METRICS,
    TEST_ACCURACY,
    TEST_LOSS,
    TTA_ACCURACY,
    TTA_LOSS,
    VAL_ACCURACY,
    Metric,
)
from benchmark.reporting.rows.missing_results import (
    lost,
    note_on_incomplete,
    note_on_repetitions,
    note_on_timings,
    reasons,
    success,
)
from benchmark.reporting.rows.phases import note_on_phases
from benchmark.reporting.statistics.intervals import Measurement, measure
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value
from benchmark.reporting.tables.largest_class import LargestClass, largest_classes, no_better, notes_on_largest_classes
from benchmark.reporting.tables.place_columns import place_cells, place_columns
from benchmark.reporting.tables.shown import Part, Shown

_IN_PAPERS = (TEST_ACCURACY, PARAMETERS, FIT_SECONDS, TEST_LOSS, TTA_ACCURACY, TTA_LOSS, VAL_ACCURACY, EPOCHS)
"""The metrics that stay the longest where a page is too narrow for all."""


def summary(shown: Shown) -> Part:
    """The summary, and notes on ensembles that cannot be computed."""
    ensembles, notes = requested_ensembles(shown.groups, shown.spec.ensemble, shown.load)
    if shown.options.ensembles:
        ensembles += seed_ensembles(shown.groups, shown.load)
    if shown.groups and shown.baseline is not None and shown.baseline not in {each.strategy for each in shown.groups}:
        notes.append(f"Baseline {shown.baseline}: no cell of it in what is shown here.")
    return [summary_table(shown, ensembles)], notes


def baseline_pairs(shown: Shown) -> list[Pair]:
    """Each group with the one of the baseline's strategy on the same dataset and model, which comes first.

    Raises:
        NotFoundError: No group has the strategy that was asked for on the command line.
    """
    return [(base, group) for group, base in _baselines(shown).items()]


def _baselines(shown: Shown) -> dict[Group, Group]:
    """The baseline of each group that has one."""
    if shown.baseline is None:
        return {}
    of_places: dict[tuple[str, str], list[Group]] = {}
    for group in shown.groups:
        if group.strategy == shown.baseline:
            of_places.setdefault(group.names[:2], []).append(group)
    partner_in = {place: partners(groups, shown.varying) for place, groups in of_places.items()}
    if not of_places and shown.groups and shown.options.baseline:
        names = ", ".join(dict.fromkeys(group.strategy for group in shown.groups))
        raise NotFoundError(f"baseline: expected a strategy that is shown ({names}), got {shown.baseline!r}")
    bases = {
        group: partner_in[group.names[:2]](group)
        for group in shown.groups
        if group.strategy != shown.baseline and group.names[:2] in partner_in
    }
    return {group: base for group, base in bases.items() if base is not None}


def summary_table(shown: Shown, ensembles: Sequence[Ensemble] = ()) -> Table:
    """All groups, also those without a result, with the means of their seeds; then the ensembles."""
    groups, baselines, main = shown.groups, _baselines(shown), shown.comparisons.judging.main
    # groups of the same dataset and model next to each other, otherwise in their order
    order: dict[tuple[str, str], int] = {}
    for group in groups:
        order.setdefault(group.names[:2], len(order))
    groups = sorted(groups, key=lambda group: order[group.names[:2]])
    has_views = any(group.values(TTA_ACCURACY) for group in groups)
    metrics = [metric for metric in SUMMARY_METRICS if has_views or metric not in {TTA_ACCURACY, TTA_LOSS}]
    metrics += [metric for metric in shown.comparisons.judging.metrics if metric not in metrics]
    footnotes = Footnotes()
    largest = largest_classes(shown.tested)
    best = _best(groups, shown.comparisons)
    rows = [
        replace(
            _row(group, shown.varying, metrics, footnotes, main, difference, largest.get(group.dataset)),
            best=frozenset(best.get(group, ())),
        )
        for group in groups
        for difference in [shown.comparisons.between(baselines.get(group), group, main)]
    ]
    rows += [_ensemble_row(ensemble, metrics) for ensemble in ensembles]
    notes = [
        *note_on_repetitions(groups),
        *note_on_incomplete(groups),
        *note_on_timings(groups),
        *_note_on_choices(groups),
        *notes_on_largest_classes(largest),
        *note_on_phases(groups),
    ]
    if has_views:
        notes.append(
            "TTA is the average over an image and randomly flipped and rotated views of it, on the same test images."
        )
    notes += _note_on_ensembles(ensembles)
    columns = _columns(shown, metrics)
    return Table("summary", "Summary", columns, tuple(rows), footnotes=footnotes.texts, notes=tuple(notes))


def _columns(shown: Shown, metrics: Sequence[Metric]) -> tuple[TableColumn, ...]:
    judging = shown.comparisons.judging
    columns = (
        *place_columns(shown.varying),
        TableColumn("n", "n", "count", identifies=True),
        *(TableColumn(each.key, each.title, each.kind, each.unit, rank=_rank(each, judging)) for each in metrics),
    )
    if shown.baseline is None:
        return columns
    title = f"{judging.main.title} minus that of {shown.baseline}"
    difference = TableColumn("difference", title, judging.main.kind, judging.main.unit)
    return (*columns, difference, TableColumn("verdict", "verdict", "verdict"))


def _rank(metric: Metric, judging: Judging) -> int:
    if metric in {TEST_ACCURACY, *judging.metrics}:
        return 0
    return _IN_PAPERS.index(metric) if metric in _IN_PAPERS else len(_IN_PAPERS) + SUMMARY_METRICS.index(metric)


def _best(groups: Sequence[Group], comparisons: Comparisons) -> dict[Group, list[str]]:
    """The judged metrics, by the group that is resolved to be the best of its dataset and model in them."""
    places: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        places.setdefault(group.names[:2], []).append(group)
    found: dict[Group, list[str]] = {}
    for of_place in places.values():
        for metric in comparisons.judging.metrics:
            best = comparisons.resolved_best(of_place, metric)
            if best is not None:
                found.setdefault(best, []).append(metric.key)
    return found


def _row(
    group: Group,
    varying: Sequence[str],
    metrics: Sequence[Metric],
    footnotes: Footnotes,
    main: Metric,
    difference: Difference | None,
    largest: LargestClass | None,
) -> Row:
    missing = reasons(group)
    if lost(group):
        missing[-1] += f"; success in {success(group)}"
    texts = {"n": missing, "difference": list(difference.remarks) if difference else []}
    values: dict[str, Measurement | None] = {}
    for metric in metrics:
        values[metric.key], invalid = group.measured(metric)
        texts[metric.key] = [f"no valid timing: {invalid}"] if invalid else []
    if TEST_ACCURACY.key in values:
        texts[TEST_ACCURACY.key] += no_better(values[TEST_ACCURACY.key], largest)
    if values.get(RATE.key) and (trained := _partly_trained(group)):
        texts[RATE.key].append(f"trains {trained} alone: not the speed of training the whole network")
    cells: dict[str, Value] = {
        **place_cells(group, varying),
        "n": Tally(len(group.completed), group.planned),
        **values,
        "difference": difference,
        "verdict": verdict_cell(difference, main),
    }
    marks = footnotes.marks(**texts)
    texts["difference"] = [difference.remark] if difference and difference.remark else []
    remark = "; ".join(dict.fromkeys(text for each in texts.values() for text in each))
    return Row(cells, marks, remark=remark)


def _partly_trained(group: Group) -> str:
    """Which layers are trained where that is not all of them in each stage: `head`, `head then last:4`; else nothing."""
    train = group.settings.get("train") or "all"
    return "" if train == "all" else describe(train)


def _ensemble_row(ensemble: Ensemble, metrics: Sequence[Metric]) -> Row:
    averages = max((len(values) for values in ensemble.values.values()), default=0)
    cells: dict[str, Value] = {
        "dataset": ", ".join(ensemble.datasets),
        "model": " + ".join(ensemble.models),
        "strategy": ensemble.label,
        "n": Tally(averages, averages),
        **{metric.key: measure(ensemble.values.get(metric.key, ()), bounds=metric.bounds) for metric in metrics},
    }
    return Row(cells)


def _note_on_ensembles(ensembles: Sequence[Ensemble]) -> list[str]:
    """A note on the members of each ensemble."""
    if not ensembles:
        return []
    listed = "; ".join(
        f"{each.label} ({' + '.join(each.models)}): {each.members} cells"
        + (f" for each of {len(each.values['parameters'])} seeds" if len(each.values["parameters"]) > 1 else "")
        for each in ensembles
    )
    remarks = dict.fromkeys(note for each in ensembles for note in each.notes)
    return [
        f"Ensembles average the stored test predictions of several cells; nothing was trained for them. {listed}.",
        *remarks,
    ]


def _note_on_choices(groups: Sequence[Group]) -> list[str]:
    """A note that validation accuracy is optimistic where it chose the kept epoch."""
    chosen = [group for group in groups if group.completed and group.settings.get("keep", "best") == "best"]
    if not any(group.values(VAL_ACCURACY) for group in chosen):
        return []
    return [
        (
            "Train and validation figures are of the kept epoch, which was chosen on the validation set: "
            "that makes validation accuracy optimistic. Test data took no part in any choice."
        )
    ]
