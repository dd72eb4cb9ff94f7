"""The summary: one row for each dataset, model, strategy and whatever other setting varies."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.reporting.groups import Group, varying_settings
from benchmark.reporting.incidents import note_on_incomplete, note_on_timings, reasons
from benchmark.reporting.metrics import (
    BEST_EPOCH,
    EPOCHS,
    FIT_SECONDS,
    PARAMETERS,
    PEAK_MEMORY,
    RATE,
    TEST_ACCURACY,
    TEST_LOSS,
    TRAIN_ACCURACY,
    VAL_ACCURACY,
)
from benchmark.reporting.settings import describe
from benchmark.reporting.statistics import measure
from benchmark.reporting.tables import Column, Footnotes, Row, Table, Tally, Value

METRICS = (
    TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY, TEST_LOSS, EPOCHS, BEST_EPOCH,
    PARAMETERS, FIT_SECONDS, RATE, PEAK_MEMORY,
)  # fmt: skip


def summary_table(groups: Sequence[Group]) -> Table:
    """All groups, those without any result too, with the means of their seeds."""
    groups = _by_place(groups)
    varying = varying_settings(groups)
    footnotes = Footnotes()
    rows = tuple(_row(group, varying, footnotes) for group in groups)
    columns = (
        Column("dataset", "dataset", "text", identifies=True, heads=True),
        Column("model", "model", "text", identifies=True, heads=True),
        Column("strategy", "strategy", "text", identifies=True),
        *(Column(_setting_key(name), name.replace("_", " "), "text", identifies=True) for name in varying),
        Column("n", "n", "count", identifies=True),
        *(Column(metric.key, metric.title, metric.kind, metric.unit) for metric in METRICS),
    )
    return Table("summary", "Summary", columns, rows, footnotes=footnotes.texts, notes=_notes(groups))


def _by_place(groups: Sequence[Group]) -> list[Group]:
    """What can be compared stands together: groups of one dataset and model, each such place where it first came up."""
    places = {place: index for index, place in enumerate(dict.fromkeys((each.dataset, each.model) for each in groups))}
    return sorted(groups, key=lambda each: places[each.dataset, each.model])


def _setting_key(name: str) -> str:
    """A setting may be called like one of the fixed columns: planned epochs and epochs trained are two things."""
    taken = {metric.key for metric in METRICS} | {"n", "dataset", "model", "strategy"}
    return f"setting_{name}" if name in taken else name


def _row(group: Group, varying: Sequence[str], footnotes: Footnotes) -> Row:
    texts = reasons(group)
    cells: dict[str, Value] = {
        "dataset": group.dataset,
        "model": group.model,
        "strategy": group.strategy,
        **{_setting_key(name): describe(group.settings.get(name)) if group.settings else None for name in varying},
        "n": Tally(len(group.completed), group.planned),
        **{metric.key: measure(group.values(metric).values()) for metric in METRICS},
    }
    marks = {"n": footnotes.mark(*texts)} if texts else {}
    return Row(cells, marks, remark="; ".join(texts))


def _notes(groups: Sequence[Group]) -> tuple[str, ...]:
    if not groups:
        return ("No results yet: `bench run` makes them.",)
    return (*note_on_incomplete(groups), *note_on_timings(groups), *note_on_choices(groups))


def note_on_choices(groups: Sequence[Group]) -> list[str]:
    """Say that a score was chosen on the set it is reported on, where the best epoch's weights were kept."""
    chosen = [group for group in groups if group.completed and group.settings.get("keep", "best") == "best"]
    if not any(group.values(VAL_ACCURACY) for group in chosen):
        return []
    return [
        (
            "Train and validation figures are of the kept epoch, which was chosen on the validation set: "
            "that makes validation accuracy optimistic. Test data took no part in any choice."
        )
    ]
