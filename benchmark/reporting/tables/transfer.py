"""Tables of fine-tuning against training from scratch, a table for each pair of groups, with the metrics as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.matrix.report_spec import TransferSpec
from benchmark.reporting.notation import number
from benchmark.reporting.rows.differences import judge_all, provenance_that_differs, remarks_on, settings_that_differ
from benchmark.reporting.rows.groups import Group, partner, varying_settings, where
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import (
    EPOCHS,
    FIT_SECONDS,
    TEST_ACCURACY,
    TRAIN_ACCURACY,
    TRAIN_LOSS,
    VAL_ACCURACY,
    VAL_LOSS,
    Metric,
)
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics.intervals import Measurement, measure
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn

METRICS = (
    replace(EPOCHS, title="final epoch"),
    TRAIN_ACCURACY,
    VAL_ACCURACY,
    TEST_ACCURACY,
    TRAIN_LOSS,
    VAL_LOSS,
    replace(FIT_SECONDS, title="seconds"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups to compare: `fine_tuned` started from weights; `scratch`, where there is such a group, did not."""

    fine_tuned: Group
    scratch: Group | None

    @property
    def both(self) -> tuple[Group | None, Group]:
        """Both groups in the order of `differences.difference`: the subtracted one first."""
        return self.scratch, self.fine_tuned


def transfer_tables(groups: Sequence[Group], specs: Sequence[TransferSpec]) -> list[Table]:
    """A table for each pair of groups; the verdicts in a metric are corrected for the number of pairs."""
    varying = varying_settings(groups)
    pairs = transfer_pairs(groups, specs)
    judged = {metric.key: judge_all([pair.both for pair in pairs], metric) for metric in METRICS}
    rows = {row["cell_id"]: row for group in groups for row in group.cells}
    return [
        _table(pair, {key: differences[index] for key, differences in judged.items()}, varying, rows)
        for index, pair in enumerate(pairs)
    ]


def transfer_pairs(groups: Sequence[Group], specs: Sequence[TransferSpec]) -> list[Pair]:
    """Every fine-tuned group of the comparisons, each with the group from scratch that it is compared with."""
    varying = varying_settings(groups)
    return [
        Pair(
            group, partner(group, [e for e in groups if e.names == (group.dataset, group.model, spec.scratch)], varying)
        )
        for spec in specs
        for group in groups
        if group.strategy == spec.fine_tuned
        and spec.dataset in {None, group.dataset}
        and spec.model in {None, group.model}
    ]


def default_transfers(groups: Sequence[Group]) -> list[TransferSpec]:
    """The comparisons of a matrix without `[report]`.

    Every strategy that starts from weights, against a strategy without weights on the same dataset and model: that
    named `scratch`, else the only one with this word in its name, else the only one at all.
    """
    specs: dict[tuple[str, str], TransferSpec] = {}
    for group in groups:
        if group.settings.get("weights", "none") == "none":
            continue
        scratch = _scratch_strategy(group, groups)
        if scratch is not None:
            specs[group.strategy, scratch] = TransferSpec(group.strategy, scratch, None, None)
    return list(specs.values())


def _scratch_strategy(group: Group, groups: Iterable[Group]) -> str | None:
    names = {
        each.strategy
        for each in groups
        if (each.dataset, each.model) == (group.dataset, group.model) and each.settings.get("weights") == "none"
    }
    if "scratch" in names:
        return "scratch"
    candidates = {name for name in names if "scratch" in name} or names
    return candidates.pop() if len(candidates) == 1 else None


def _table(
    pair: Pair, differences: Mapping[str, Difference | None], varying: Sequence[str], rows: Mapping[str, ResultRow]
) -> Table:
    footnotes = Footnotes()
    fine, scratch = pair.fine_tuned, pair.scratch
    n_fine, n_scratch = len(fine.completed), len(scratch.completed) if scratch else 0
    test = differences[TEST_ACCURACY.key]
    columns = (
        TableColumn("metric", "metric", "text", identifies=True),
        TableColumn("fine_tuned", "fine-tuned", "accuracy", n=n_fine),
        TableColumn("scratch", "from scratch", "accuracy", n=n_scratch),
        TableColumn("difference", "difference", "accuracy", n=test.n if test else None),
        TableColumn("verdict", "verdict", "verdict"),
    )
    return Table(
        name="transfer",
        title=f"Transfer: {where(fine, varying)}",
        columns=columns,
        rows=tuple(_row(metric, pair, differences[metric.key], footnotes) for metric in METRICS),
        about={
            "dataset": fine.dataset,
            "model": fine.model,
            "fine_tuned_strategy": fine.strategy,
            "scratch_strategy": scratch.strategy if scratch else "",
        },
        footnotes=footnotes.texts,
        notes=_notes(pair, rows),
    )


def _row(metric: Metric, pair: Pair, difference: Difference | None, footnotes: Footnotes) -> Row:
    fine, scratch = pair.fine_tuned, pair.scratch
    texts = remarks_on(difference, *pair.both, metric)
    marks = {"difference": texts}
    sides: dict[str, Measurement | None] = {}
    for key, group in (("fine_tuned", fine), ("scratch", scratch)):
        values, invalid = group.marked_values(metric) if group else ({}, "")
        sides[key] = measure(values.values())
        marks[key] = [f"no valid timing: {invalid}"] if invalid else []
    cells = {
        "metric": metric.title,
        **sides,
        "difference": difference,
        "verdict": difference.verdict if difference else None,
    }
    remark = "; ".join(dict.fromkeys(text for each in marks.values() for text in each))
    return Row(cells, footnotes.marks(**marks), metric.kind, remark)


def _notes(pair: Pair, rows: Mapping[str, ResultRow]) -> tuple[str, ...]:
    fine, scratch = pair.fine_tuned, pair.scratch
    notes = [f"Fine-tuned is {_named(fine)}; from scratch is {_named(scratch) if scratch else 'not in this database'}."]
    notes += [f"{group.strategy}: {text}." for group in (fine, scratch) if group for text in reasons(group)]
    if scratch is not None:
        # fine-tuned first, as the columns are
        settings = [text for text in settings_that_differ(fine, scratch) if not text.startswith("weights ")]
        other = settings + provenance_that_differs(fine, scratch)
        if other:
            text = "Besides the weights they start from, these differ (fine-tuned first)"
            notes.append(f"{text}: {'; '.join(other)}.")
    return (*notes, *_note_on_parents(fine, rows))


def _named(group: Group) -> str:
    return group.strategy if group.label == group.strategy else f'{group.strategy} ("{group.label}")'


def _note_on_parents(fine: Group, rows: Mapping[str, ResultRow]) -> list[str]:
    """A note on the training time of the parent cells, without which fine-tuning looks cheaper than it is."""
    spent = [_ancestors_seconds(row, rows) for row in fine.cells]
    known = [seconds for seconds in spent if seconds]
    if not known:
        return []
    mean = number(sum(known) / len(known), "seconds")
    return [f"The seconds of fine-tuning leave out the training of the cell it starts from: {mean} s more (mean)."]


def _ancestors_seconds(row: ResultRow, rows: Mapping[str, ResultRow]) -> float:
    seconds, seen = 0.0, set()
    parent = rows.get(row.get("parent_cell_id") or "")
    while parent is not None and parent["cell_id"] not in seen:
        seen.add(parent["cell_id"])
        seconds += parent.get("fit_seconds") or 0.0
        parent = rows.get(parent.get("parent_cell_id") or "")
    return seconds
