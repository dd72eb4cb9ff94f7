"""The summary table: a row for each dataset, model, strategy and other varying setting, then for ensembles."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.reporting.rows.ensembles import Ensemble
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.metrics import RATE, SUMMARY_METRICS, TTA_ACCURACY, TTA_LOSS, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import note_on_incomplete, note_on_repetitions, note_on_timings, reasons
from benchmark.reporting.rows.phases import note_on_phases
from benchmark.reporting.statistics.intervals import Measurement, measure
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value


def summary_table(groups: Sequence[Group], ensembles: Sequence[Ensemble] = ()) -> Table:
    """All groups, also those without a result, with the means of their seeds; then the ensembles."""
    # groups of the same dataset and model next to each other, otherwise in their order
    order = list(dict.fromkeys((group.dataset, group.model) for group in groups))
    groups = sorted(groups, key=lambda group: order.index((group.dataset, group.model)))
    varying = varying_settings(groups)
    has_views = any(group.values(TTA_ACCURACY) for group in groups)
    metrics = [metric for metric in SUMMARY_METRICS if has_views or metric not in {TTA_ACCURACY, TTA_LOSS}]
    footnotes = Footnotes()
    rows = [_row(group, varying, metrics, footnotes) for group in groups]
    rows += [_ensemble_row(ensemble, metrics) for ensemble in ensembles]
    columns = (
        TableColumn("dataset", "dataset", "text", identifies=True, heads=True),
        TableColumn("model", "model", "text", identifies=True, heads=True),
        TableColumn("strategy", "strategy", "text", identifies=True),
        *(TableColumn(_setting_key(name), name.replace("_", " "), "text", identifies=True) for name in varying),
        TableColumn("n", "n", "count", identifies=True),
        *(TableColumn(metric.key, metric.title, metric.kind, metric.unit) for metric in metrics),
    )
    notes = [
        *note_on_repetitions(groups),
        *note_on_incomplete(groups),
        *note_on_timings(groups),
        *_note_on_choices(groups),
        *note_on_phases(groups),
    ]
    if not groups:
        notes.append("No results yet: `bench run` makes them.")
    if has_views:
        notes.append(
            "TTA is the average over an image and randomly flipped and rotated views of it, on the same test images."
        )
    notes += _note_on_ensembles(ensembles)
    return Table("summary", "Summary", columns, tuple(rows), footnotes=footnotes.texts, notes=tuple(notes))


def _setting_key(name: str) -> str:
    """The key of a setting's column; the setting `epochs` (planned) must not collide with the metric (trained)."""
    taken = {metric.key for metric in SUMMARY_METRICS} | {"n", "dataset", "model", "strategy"}
    return f"setting_{name}" if name in taken else name


def _row(group: Group, varying: Sequence[str], metrics: Sequence[Metric], footnotes: Footnotes) -> Row:
    texts = {"n": reasons(group)}
    values: dict[str, Measurement | None] = {}
    for metric in metrics:
        numbers, invalid = group.marked_values(metric)
        values[metric.key] = measure(numbers.values())
        texts[metric.key] = [f"no valid timing: {invalid}"] if invalid else []
    if values.get(RATE.key) and (trained := _partly_trained(group)):
        texts[RATE.key].append(f"trains {trained}: no speed of training the whole network")
    cells: dict[str, Value] = {
        "dataset": group.dataset,
        "model": group.model,
        "strategy": group.strategy,
        **{_setting_key(name): describe(group.settings.get(name)) if group.settings else None for name in varying},
        "n": Tally(len(group.completed), group.planned),
        **values,
    }
    remark = "; ".join(dict.fromkeys(text for each in texts.values() for text in each))
    return Row(cells, footnotes.marks(**texts), remark=remark)


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
        **{metric.key: measure(ensemble.values.get(metric.key, ())) for metric in metrics},
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
    return [f"Ensembles average the stored test predictions of several cells; nothing was trained for them. {listed}."]


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
