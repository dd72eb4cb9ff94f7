"""Fine-tuned against from scratch: one table for each place where both stand, with the metrics as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.matrix.report_spec import TransferSpec
from benchmark.reporting.notation import number
from benchmark.reporting.rows.comparison import (
    judge_all,
    provenance_that_differs,
    remarks_on,
    settings_that_differ,
)
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.matching import on_same, partner, where
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
from benchmark.reporting.statistics import Difference, measure
from benchmark.reporting.table import Column, Footnotes, Row, Table

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
    """Two groups that are compared: one started from weights, the other, where there is one, did not."""

    fine_tuned: Group
    scratch: Group | None

    @property
    def both(self) -> tuple[Group | None, Group]:
        """In the order of a difference: what is subtracted comes first."""
        return self.scratch, self.fine_tuned


def transfer_tables(groups: Sequence[Group], specs: Sequence[TransferSpec]) -> list[Table]:
    """The tables of all comparisons asked for; verdicts in one metric are corrected for the number of tables."""
    varying = varying_settings(groups)
    pairs = transfer_pairs(groups, specs)
    judged = {metric.key: judge_all([pair.both for pair in pairs], metric) for metric in METRICS}
    rows = {row["cell_id"]: row for group in groups for row in group.completed.values()}
    return [
        _table(pair, {key: found[index] for key, found in judged.items()}, varying, rows)
        for index, pair in enumerate(pairs)
    ]


def transfer_pairs(groups: Sequence[Group], specs: Sequence[TransferSpec]) -> list[Pair]:
    """Every fine-tuned group that the comparisons ask for, with the group from scratch that it is set against."""
    varying = varying_settings(groups)
    return [Pair(fine, _scratch_for(fine, groups, spec, varying)) for spec in specs for fine in _fine(groups, spec)]


def _fine(groups: Iterable[Group], spec: TransferSpec) -> list[Group]:
    return [
        group
        for group in groups
        if group.strategy == spec.fine_tuned
        and spec.dataset in {None, group.dataset}
        and spec.model in {None, group.model}
    ]


def _scratch_for(fine: Group, groups: Sequence[Group], spec: TransferSpec, varying: Sequence[str]) -> Group | None:
    return partner(fine, on_same(fine, groups, spec.scratch), varying)


def default_transfers(groups: Sequence[Group]) -> list[TransferSpec]:
    """What is worth comparing when the matrix has no `[report]`.

    Every strategy that starts from weights, against one that starts from none on the same dataset and model: the one
    called `scratch`, else the only one whose name holds that word, else the only one there is.
    """
    found: dict[tuple[str, str], TransferSpec] = {}
    for group in groups:
        origin = group.settings.get("weights", "none")
        if origin == "none":
            continue
        scratch = _scratch_like(group, groups)
        if scratch is not None:
            found[group.strategy, scratch] = TransferSpec(group.strategy, scratch, None, None)
    return list(found.values())


def _scratch_like(group: Group, groups: Iterable[Group]) -> str | None:
    place = (group.dataset, group.model)
    names = sorted(
        {
            each.strategy
            for each in groups
            if (each.dataset, each.model) == place and each.settings and each.settings.get("weights") == "none"
        }
    )
    if "scratch" in names:
        return "scratch"
    alike = [name for name in names if "scratch" in name]
    choice = alike or names
    return choice[0] if len(choice) == 1 else None


def _table(
    pair: Pair, differences: Mapping[str, Difference | None], varying: Sequence[str], rows: Mapping[str, ResultRow]
) -> Table:
    footnotes = Footnotes()
    fine, scratch = pair.fine_tuned, pair.scratch
    n_fine, n_scratch = len(fine.completed), len(scratch.completed) if scratch else 0
    test = differences[TEST_ACCURACY.key]
    columns = (
        Column("metric", "metric", "text", identifies=True),
        Column("fine_tuned", "fine-tuned", "accuracy", n=n_fine),
        Column("scratch", "from scratch", "accuracy", n=n_scratch),
        Column("difference", "difference", "accuracy", n=test.n if test else None),
        Column("verdict", "verdict", "verdict"),
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
    cells = {
        "metric": metric.title,
        "fine_tuned": measure(fine.values(metric).values()),
        "scratch": measure(scratch.values(metric).values()) if scratch else None,
        "difference": difference,
        "verdict": difference.verdict if difference else None,
    }
    return Row(cells, {"difference": footnotes.mark(*texts)} if texts else {}, metric.kind, "; ".join(texts))


def _notes(pair: Pair, rows: Mapping[str, ResultRow]) -> tuple[str, ...]:
    fine, scratch = pair.fine_tuned, pair.scratch
    notes = [f"Fine-tuned is {_named(fine)}; from scratch is {_named(scratch) if scratch else 'not in this database'}."]
    notes += [f"{group.strategy}: {text}." for group in (fine, scratch) if group for text in reasons(group)]
    if scratch is not None:
        notes += _what_else_differs(scratch, fine)
    return (*notes, *_note_on_parents(fine, rows))


def _named(group: Group) -> str:
    return group.strategy if group.label == group.strategy else f'{group.strategy} ("{group.label}")'


def _what_else_differs(scratch: Group, fine: Group) -> list[str]:
    """Said with the fine-tuned value first, as the columns stand."""
    settings = [text for text in settings_that_differ(fine, scratch) if not text.startswith("weights ")]
    found = settings + provenance_that_differs(fine, scratch)
    return (
        [f"Besides the weights they start from, these differ (fine-tuned first): {'; '.join(found)}."] if found else []
    )


def _note_on_parents(fine: Group, rows: Mapping[str, ResultRow]) -> list[str]:
    """Fine-tuning looks cheap when the training that it builds on is not counted: say what that took."""
    spent = [_ancestors_seconds(row, rows) for row in fine.completed.values()]
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
