"""Tables of progressions: versions that each add one change, and what each gained over the version before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmark.reporting.notation import written
from benchmark.reporting.rows.differences import judge_all, provenance_that_differs, remarks_on, settings_that_differ
from benchmark.reporting.rows.groups import Group, partner, varying_settings, where
from benchmark.reporting.rows.metrics import TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics.intervals import ALPHA, measure
from benchmark.reporting.statistics.mean_difference import BETTER, Difference, compare
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value

METRICS = (TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY)


def progression_tables(groups: Sequence[Group], versions: Sequence[str]) -> list[Table]:
    """A table for each dataset, model and other setting that at least two of the versions have groups for."""
    varying = varying_settings(groups)
    tables = []
    for place in dict.fromkeys((group.dataset, group.model) for group in groups if group.strategy in versions):
        of_versions = {name: [group for group in groups if group.names == (*place, name)] for name in versions}
        # the groups of the version with most groups each get a table
        for anchor in max(of_versions.values(), key=len):
            chain = [
                anchor if name == anchor.strategy else partner(anchor, of_versions[name], varying) for name in versions
            ]
            if sum(group is not None for group in chain) > 1:
                tables.append(_table(chain, versions, varying))
    return tables


def _table(chain: Sequence[Group | None], versions: Sequence[str], varying: Sequence[str]) -> Table:
    footnotes = Footnotes()
    steps = [None, *judge_all(list(pairwise(chain)), TEST_ACCURACY)]
    before = [None, *chain[:-1]]
    rows = [
        _row(version, group, previous, step, footnotes)
        for version, group, previous, step in zip(versions, chain, before, steps, strict=True)
    ]
    known = next(group for group in chain if group is not None)
    columns = (
        TableColumn("version", "version", "text", identifies=True),
        TableColumn("n", "n", "count", identifies=True),
        TableColumn("label", "what it is", "text"),
        *(TableColumn(metric.key, metric.title, metric.kind) for metric in METRICS),
        TableColumn("change", "change in test accuracy", "accuracy"),
        TableColumn("verdict", "verdict", "verdict"),
    )
    return Table(
        name="progression",
        title=f"Progression: {where(known, varying)}",
        columns=columns,
        rows=tuple(rows),
        about={"dataset": known.dataset, "model": known.model},
        footnotes=footnotes.texts,
        notes=(*_greatest_return(chain, versions, steps), *_changes(chain)),
    )


def _row(
    version: str, group: Group | None, previous: Group | None, step: Difference | None, footnotes: Footnotes
) -> Row:
    missing = ["no such cell in this database"] if group is None else reasons(group)
    remarks = remarks_on(step, previous, group, TEST_ACCURACY)
    cells: dict[str, Value] = {
        "version": version,
        "label": group.label if group else None,
        "n": Tally(len(group.completed), group.planned) if group else None,
        **{metric.key: measure(group.values(metric).values()) if group else None for metric in METRICS},
        "change": step,
        "verdict": step.verdict if step else None,
    }
    return Row(cells, footnotes.marks(n=missing, change=remarks), remark="; ".join([*missing, *remarks]))


def _greatest_return(
    chain: Sequence[Group | None], versions: Sequence[str], steps: Sequence[Difference | None]
) -> list[str]:
    """A note on the step that gained most: is the gain resolved, and is its lead over the second best."""
    measured = sorted(
        ((step.mean, index) for index, step in enumerate(steps) if step is not None), key=lambda each: -each[0]
    )
    if not measured:
        return ["Which step gave the greatest return? No two neighbouring versions have results yet."]
    best = measured[0][1]
    step = steps[best]
    assert step is not None
    name = f"{versions[best - 1]} to {versions[best]}"
    gain = written(step, "accuracy", known_n=step.n)
    if step.mean <= 0:
        return ["Which step gave the greatest return? None: no step measured a gain in test accuracy."]
    if step.verdict != BETTER:
        return [
            (
                f"Which step gave the greatest return? Not resolved: the largest change measured is {name} ({gain}), "
                f"which may be chance at n={step.n}."
            )
        ]
    return [f"Which step gave the greatest return? {name} ({gain}, n={step.n}){_lead(chain, versions, measured)}."]


def _lead(chain: Sequence[Group | None], versions: Sequence[str], measured: Sequence[tuple[float, int]]) -> str:
    if len(measured) < 2:
        return ""
    first, second = measured[0][1], measured[1][1]
    lead = compare(_step_values(chain, second), _step_values(chain, first))
    resolved = lead is not None and lead.p is not None and lead.p < ALPHA
    rival = f"{versions[second - 1]} to {versions[second]}"
    return f"; its lead over the next, {rival}, is {'resolved too' if resolved else 'not resolved'}"


def _step_values(chain: Sequence[Group | None], index: int) -> dict[int, float]:
    before, after = chain[index - 1], chain[index]
    assert before is not None
    assert after is not None
    earlier, later = before.values(TEST_ACCURACY), after.values(TEST_ACCURACY)
    return {seed: later[seed] - earlier[seed] for seed in earlier.keys() & later.keys()}


def _changes(chain: Sequence[Group | None]) -> list[str]:
    """Notes on the settings, versions and hardware that each step changed, read from the cells, not their labels."""
    notes = []
    for before, after in pairwise(chain):
        if before is None or after is None:
            continue
        texts = settings_that_differ(before, after) + provenance_that_differs(before, after)
        if texts:
            changed = "; ".join(text.replace(" against ", " to ") for text in texts)
            notes.append(f"{before.strategy} to {after.strategy} changes {changed}.")
    return notes
