"""Tables of progressions: versions that each add one change, and what each gained over the version before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmark.reporting.comparing.difference_remarks import verdict_cell
from benchmark.reporting.notation import span, written
from benchmark.reporting.rows.groups import Group, partners, where
from benchmark.reporting.rows.metrics import TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.statistics.families import holm, simultaneous_half_width
from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.mean_difference import Difference, compare
from benchmark.reporting.table import Footnotes, Row, Table, TableColumn, Tally, Value, without_empty
from benchmark.reporting.tables.shown import Part, Shown

METRICS = (TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY)


def progressions(shown: Shown) -> Part:
    """A table for each progression of `[report]` and each place that has it, and a note on each that has none."""
    tables: list[Table] = []
    notes: list[str] = []
    for versions in shown.spec.progression:
        chains = _chains(shown, versions)
        more, empty = without_empty(_table(chain, versions, shown) for chain in chains)
        tables, notes = tables + more, notes + empty
        if not chains:
            notes.append(f"Progression {', '.join(versions)}: fewer than two of them in what is shown here.")
    return tables, notes


def judged_steps(shown: Shown) -> list[tuple[Group | None, Group | None]]:
    """Every step of every progression: a version, and the one after it."""
    return [
        step for versions in shown.spec.progression for chain in _chains(shown, versions) for step in pairwise(chain)
    ]


def _chains(shown: Shown, versions: Sequence[str]) -> list[list[Group | None]]:
    """The groups of the versions for each dataset, model and other setting that at least two of them have."""
    places: dict[tuple[str, str], dict[str, list[Group]]] = {}
    for group in shown.groups:
        if group.strategy in versions:
            of_versions = places.setdefault(group.names[:2], {name: [] for name in versions})
            of_versions[group.strategy].append(group)
    chains: list[list[Group | None]] = []
    for of_versions in places.values():
        find = {name: partners(several, shown.varying) for name, several in of_versions.items()}
        # the groups of the version with most groups each get a table
        chains += [
            [anchor if name == anchor.strategy else find[name](anchor) for name in versions]
            for anchor in max(of_versions.values(), key=len)
        ]
    return [chain for chain in chains if sum(group is not None for group in chain) > 1]


def _table(chain: Sequence[Group | None], versions: Sequence[str], shown: Shown) -> Table:
    footnotes, main = Footnotes(), shown.comparisons.judging.main
    metrics = METRICS if main in METRICS else (*METRICS, main)
    steps = [None, *(shown.comparisons.between(*step, main) for step in pairwise(chain))]
    best = shown.comparisons.resolved_best([group for group in chain if group is not None], main)
    rows = [
        _row(version, group, step, metrics, main, footnotes, is_best=group is not None and group is best)
        for version, group, step in zip(versions, chain, steps, strict=True)
    ]
    known = next(group for group in chain if group is not None)
    columns = (
        TableColumn("version", "version", "text", identifies=True),
        TableColumn("n", "n", "count", identifies=True),
        TableColumn("label", "what it is", "text"),
        *(
            TableColumn(
                metric.key, metric.title, metric.kind, rank=(metric is not main) * (2 - (metric is VAL_ACCURACY))
            )
            for metric in metrics
        ),
        TableColumn("change", f"change in {main.title}", main.kind),
        TableColumn("verdict", "verdict", "verdict"),
    )
    return Table(
        name="progression",
        title=f"Progression: {where(known, shown.varying)}",
        columns=columns,
        rows=tuple(rows),
        about={"dataset": known.dataset, "model": known.model},
        footnotes=footnotes.texts,
        notes=(*_greatest_return(chain, versions, steps, main), *_changes(chain, shown)),
    )


def _row(
    version: str,
    group: Group | None,
    step: Difference | None,
    metrics: Sequence[Metric],
    main: Metric,
    footnotes: Footnotes,
    *,
    is_best: bool,
) -> Row:
    missing = ["no such cell in this database"] if group is None else reasons(group)
    cells: dict[str, Value] = {
        "version": version,
        "label": group.label if group else None,
        "n": Tally(len(group.completed), group.planned) if group else None,
        **{metric.key: group.measured(metric)[0] if group else None for metric in metrics},
        "change": step,
        "verdict": verdict_cell(step, main),
    }
    marks = footnotes.marks(n=missing, change=step.remarks if step else ())
    remark = "; ".join(filter(None, [*missing, step.remark if step else ""]))
    return Row(cells, marks, remark=remark, best=frozenset([main.key] if is_best else ()))


def _greatest_return(
    chain: Sequence[Group | None], versions: Sequence[str], steps: Sequence[Difference | None], metric: Metric
) -> list[str]:
    """A note on the step that gained most: how much, whether that is resolved, and which others may be as good.

    Its interval holds for whichever step is named because of its value: see `families.simultaneous_half_width`.
    """
    sign = 1 if metric.higher_is_better else -1
    measured = {index: step for index, step in enumerate(steps) if step is not None}
    question = "Which step gave the greatest return?"
    if not measured:
        return [f"{question} No two neighbouring versions have results."]
    best = max(measured, key=lambda index: sign * measured[index].mean)
    step, names = measured[best], {index: f"{versions[index - 1]} to {versions[index]}" for index in measured}
    if sign * step.mean <= 0:
        return [f"{question} None: no step measured a gain in {metric.title}."]
    half_width = simultaneous_half_width(step, len(measured))
    if half_width is None:
        gain = f"{written(step, metric.kind, known_n=step.n)}, n={step.n}"
        return [f"{question} Not resolved: {names[best]} measured most ({gain}), which may be chance."]
    interval = span(step.mean, half_width, metric.kind)
    scope = f"95 % interval that holds for the named one of {len(measured)} steps, n={step.n}"
    is_resolved = step.adjusted_p is not None and step.adjusted_p < ALPHA
    resolved = "resolved" if is_resolved else "not resolved: it may be chance"
    return [
        f"{question} {names[best]} ({interval}, {scope}), {resolved}{_rivals(chain, measured, best, metric, names)}."
    ]


def _rivals(
    chain: Sequence[Group | None],
    measured: Mapping[int, Difference],
    best: int,
    metric: Metric,
    names: Mapping[int, str],
) -> str:
    """Which steps may be as good as the best: those over which its lead is not resolved, corrected for their number."""
    others = [index for index in measured if index != best]
    if not others:
        return ""
    leads = [compare(_step_values(chain, index, metric), _step_values(chain, best, metric)) for index in others]
    adjusted = holm([None if lead is None else lead.p for lead in leads])
    rivals = [names[index] for index, p in zip(others, adjusted, strict=True) if p is None or p >= ALPHA]
    if not rivals:
        return "; its lead over every other step is resolved too"
    return f"; its lead over {' and over '.join(rivals)} is not resolved"


def _step_values(chain: Sequence[Group | None], index: int, metric: Metric) -> dict[int, float]:
    before, after = chain[index - 1], chain[index]
    assert before is not None
    assert after is not None
    earlier, later = before.values(metric), after.values(metric)
    return {seed: later[seed] - earlier[seed] for seed in earlier.keys() & later.keys()}


def _changes(chain: Sequence[Group | None], shown: Shown) -> list[str]:
    """Notes on the settings, versions and hardware that each step changed, read from the cells, not their labels."""
    notes = []
    for before, after in pairwise(chain):
        if before is None or after is None:
            continue
        differs = shown.comparisons.audit(before, after)
        texts = [*differs.settings, *differs.prevents, *differs.marks]
        if texts:
            changed = "; ".join(text.replace(" against ", " to ") for text in texts)
            notes.append(f"{before.strategy} to {after.strategy} changes {changed}.")
    return notes
