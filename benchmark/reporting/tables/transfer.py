"""Tables of fine-tuning against training from scratch, a table for each pair of groups, with the metrics as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.matrix.report_spec import ReportSpec, TransferSpec
from benchmark.reporting.comparing.difference_remarks import better_side, verdict_cell
from benchmark.reporting.rows.groups import Group, partners, varying_settings, where
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
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, without_empty
from benchmark.reporting.tables.lineage import note_on_lineage, users_of
from benchmark.reporting.tables.shown import Part, Shown

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
class TransferPair:
    """Two groups to compare: `fine_tuned` started from weights; `scratch`, where there is such a group, did not."""

    fine_tuned: Group
    scratch: Group | None

    @property
    def both(self) -> tuple[Group | None, Group]:
        """Both groups in the order of `differences.difference`: the subtracted one first."""
        return self.scratch, self.fine_tuned


def transfers(shown: Shown) -> Part:
    """A table for each pair of groups, and a note on each comparison of `[report]` without any."""
    users = users_of(shown.executions)
    tables, notes = without_empty(_table(pair, shown, users) for pair in shown_transfers(shown.groups, shown.spec))
    missing = [
        f"Transfer of {each.fine_tuned} against {each.scratch}: no cell of {each.fine_tuned} in what is shown here."
        for each in shown.spec.transfer
        if not any(_is_fine_tuned(group, each) for group in shown.groups)
    ]
    return tables, missing + notes


def judged_transfers(shown: Shown) -> list[tuple[Group | None, Group]]:
    """The pairs of groups that are judged, the one from scratch first."""
    return [pair.both for pair in shown_transfers(shown.groups, shown.spec)]


def shown_transfers(groups: Sequence[Group], report_spec: ReportSpec | None) -> list[TransferPair]:
    """The comparisons of a report: those of `[report]` where it names any, else `default_transfers`."""
    if report_spec is not None and (report_spec.transfer or report_spec.progression):
        return transfer_pairs(groups, report_spec.transfer)
    return transfer_pairs(groups, default_transfers(groups))


def transfer_pairs(groups: Sequence[Group], specs: Sequence[TransferSpec]) -> list[TransferPair]:
    """Every fine-tuned group of the comparisons, each with the group from scratch that it is compared with."""
    varying = varying_settings(groups)
    by_names: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        by_names.setdefault(group.names, []).append(group)
    partner_in = {names: partners(several, varying) for names, several in by_names.items()}

    def scratch_of(group: Group, spec: TransferSpec) -> Group | None:
        find = partner_in.get((group.dataset, group.model, spec.scratch))
        return find and find(group)

    return [
        TransferPair(group, scratch_of(group, spec))
        for spec in specs
        for group in groups
        if _is_fine_tuned(group, spec)
    ]


def _is_fine_tuned(group: Group, spec: TransferSpec) -> bool:
    return (
        group.strategy == spec.fine_tuned
        and spec.dataset in {None, group.dataset}
        and spec.model in {None, group.model}
    )


def default_transfers(groups: Sequence[Group]) -> list[TransferSpec]:
    """The comparisons of a matrix without `[report]`.

    Every strategy that starts from weights, against a strategy without weights on the same dataset and model: that
    named `scratch`, else the only one with this word in its name, else the only one at all.
    """
    specs: dict[tuple[str, str], TransferSpec] = {}
    from_scratch: dict[tuple[str, str], set[str]] = {}
    for group in groups:
        if group.settings.get("weights") == "none":
            from_scratch.setdefault(group.names[:2], set()).add(group.strategy)
    for group in groups:
        if group.settings.get("weights", "none") == "none":
            continue
        scratch = _scratch_strategy(from_scratch.get(group.names[:2], set()))
        if scratch is not None:
            specs[group.strategy, scratch] = TransferSpec(group.strategy, scratch, None, None)
    return list(specs.values())


def _scratch_strategy(names: set[str]) -> str | None:
    if "scratch" in names:
        return "scratch"
    candidates = {name for name in names if "scratch" in name} or names
    return candidates.pop() if len(candidates) == 1 else None


def _table(pair: TransferPair, shown: Shown, users: Mapping[str, int]) -> Table:
    metrics = [
        *METRICS,
        *(each for each in shown.comparisons.judging.metrics if each.key not in {m.key for m in METRICS}),
    ]
    differences = [shown.comparisons.between(*pair.both, metric) for metric in metrics]
    footnotes = Footnotes()
    fine, scratch = pair.fine_tuned, pair.scratch
    n_fine, n_scratch = len(fine.completed), len(scratch.completed) if scratch else 0
    test = differences[metrics.index(TEST_ACCURACY)]
    columns = (
        TableColumn("metric", "metric", "text", identifies=True),
        TableColumn("fine_tuned", "fine-tuned", "accuracy", n=n_fine),
        TableColumn("scratch", "from scratch", "accuracy", n=n_scratch),
        TableColumn("difference", "difference", "accuracy", n=test.n if test else None),
        TableColumn("verdict", "verdict", "verdict"),
    )
    return Table(
        name="transfer",
        title=f"Transfer: {where(fine, shown.varying)}",
        columns=columns,
        rows=tuple(
            _row(metric, pair, difference, footnotes) for metric, difference in zip(metrics, differences, strict=True)
        ),
        about={
            "dataset": fine.dataset,
            "model": fine.model,
            "fine_tuned_strategy": fine.strategy,
            "scratch_strategy": scratch.strategy if scratch else "",
        },
        footnotes=footnotes.texts,
        notes=_notes(pair, shown, users),
    )


def _row(metric: Metric, pair: TransferPair, difference: Difference | None, footnotes: Footnotes) -> Row:
    fine, scratch = pair.fine_tuned, pair.scratch
    marks = {"difference": list(difference.remarks) if difference else []}
    sides: dict[str, Measurement | None] = {}
    for key, group in (("fine_tuned", fine), ("scratch", scratch)):
        sides[key], invalid = group.measured(metric) if group else (None, "")
        marks[key] = [f"no valid timing: {invalid}"] if invalid else []
    cells = {
        "metric": metric.title,
        **sides,
        "difference": difference,
        "verdict": verdict_cell(difference, metric),
    }
    footnoted = footnotes.marks(**marks)
    marks["difference"] = [difference.remark] if difference and difference.remark else []
    remark = "; ".join(dict.fromkeys(text for each in marks.values() for text in each))
    return Row(cells, footnoted, metric.kind, remark, better_side(difference, "scratch", "fine_tuned"))


def _notes(pair: TransferPair, shown: Shown, users: Mapping[str, int]) -> tuple[str, ...]:
    fine, scratch = pair.fine_tuned, pair.scratch
    notes = [f"Fine-tuned is {_named(fine)}; from scratch is {_named(scratch) if scratch else 'not in this database'}."]
    notes += [f"{group.strategy}: {text}." for group in (fine, scratch) if group for text in reasons(group)]
    if scratch is not None:
        # fine-tuned first, as the columns are
        differs = shown.comparisons.audit(fine, scratch)
        settings = [text for text in differs.settings if not text.startswith("weights ")]
        other = [*settings, *differs.prevents, *differs.marks]
        if other:
            text = "Besides the weights they start from, these differ (fine-tuned first)"
            notes.append(f"{text}: {'; '.join(other)}.")
    return (*notes, *note_on_lineage(fine, shown.executions, users))


def _named(group: Group) -> str:
    return group.strategy if group.label == group.strategy else f'{group.strategy} ("{group.label}")'
