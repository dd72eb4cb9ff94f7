"""The answer that a report begins with: what was compared, what came of it, and what is not resolved.

All of it is of the tables' own values: no statistic is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from benchmark import units
from benchmark.reporting.comparing.verdict_sentences import (
    OpenQuestion,
    figure,
    listed,
    needs_seeds,
    open_points,
    sentence,
    verdict_sentence,
)
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group, where
from benchmark.reporting.rows.metrics import VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import incomplete, name_seeds
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.table import Advised
from benchmark.reporting.tables.shown import Shown

Pairs: TypeAlias = Mapping[str, Sequence[tuple[Group | None, Group | None]]]
"""The pairs of groups that tables judge, by the name of the table, the subtracted group first."""

_MOST_NAMED = 5
_NOT_JUDGED = "no row is judged against another"


def answer(shown: Shown, pairs: Pairs, machine: str | None, further: Sequence[str] = ()) -> tuple[str, ...]:
    """At most three sentences: what was compared, the verdict with its number, and what is not resolved.

    Args:
        shown: What the tables are made from.
        pairs: What they judge.
        machine: Whose results these are.
        further: What else is to be said of what is not resolved, as parts of a sentence.

    Returns:
        The sentences; none where nothing is shown.
    """
    groups, metric = _groups(shown, pairs), shown.comparisons.judging.main
    if not groups:
        return ()
    questions = _questions(shown, pairs)
    verdict = verdict_sentence(questions, metric) or _measured(groups, metric, shown.varying)
    points = [*open_points(questions, metric), *further, *incomplete(groups)]
    if not questions and len(groups) > 1:
        points.insert(0, _NOT_JUDGED)
    last = sentence("; ".join(points))
    advice = _advice(questions, groups)
    return tuple(
        filter(None, [_scope(groups, shown, machine), sentence(verdict), Advised(last, advice) if advice else last])
    )


def _groups(shown: Shown, pairs: Pairs) -> list[Group]:
    """Those that the report is about: all of them, unless its tables show nothing but what they judge."""
    judged = {group for several in pairs.values() for pair in several for group in pair if group}
    if judged and all(pairs.values()) and "summary" not in pairs:
        return [group for group in shown.groups if group in judged]
    return list(shown.groups)


def _scope(groups: Sequence[Group], shown: Shown, machine: str | None) -> str:
    """What the report is about: how many cells of what, measured where."""
    cells = sum(group.planned for group in groups)
    names = [_named(kind, [getattr(group, kind) for group in groups]) for kind in ("dataset", "model", "strategy")]
    names += [_named(name, [describe(group.settings.get(name)) for group in groups]) for name in shown.varying]
    names.append(_seeds(groups))
    measured = f" measured on machine {machine}" if machine else ""
    budget = f", by {shown.options.budget}" if shown.options.budget else ""
    return f"{units.plural(cells, 'cell')}{measured}{budget}: {'; '.join(names)}."


def _named(kind: str, names: Iterable[str]) -> str:
    """`dataset digits`, `models a, b and c`, `7 strategies`."""
    distinct = list(dict.fromkeys(names))
    several = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    if len(distinct) > _MOST_NAMED:
        return f"{len(distinct)} {several}"
    return f"{several if len(distinct) > 1 else kind} {listed(distinct)}".replace("_", " ", kind.count("_"))


def _seeds(groups: Sequence[Group]) -> str:
    kinds = {group.repetitions.of for group in groups}
    seeds = {seed for group in groups for seed in [*group.completed, *(each.seed for each in group.missing)]}
    return name_seeds(seeds, kinds.pop() if len(kinds) == 1 else "seed")


def _questions(shown: Shown, pairs: Pairs) -> list[OpenQuestion]:
    """What the tables ask, in the order in which they stand."""
    makers = {"summary": _of_baseline, "transfer": _of_transfers, "progression": _of_steps}
    made = [makers[name](shown, several) for name, several in pairs.items() if name in makers]
    return [each for each in made if each.pairs]


def _of_baseline(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    names = {group.strategy for _, group in pairs if group}
    named = [(f"{second.strategy} on {where(second, shown.varying)}", pair) for pair in pairs if (second := pair[1])]
    return _question(shown, named, names.pop() if len(names) == 1 else "a strategy", f"the baseline {shown.baseline}")


def _of_transfers(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    sides = [{group.strategy for group in side if group} for side in zip(*pairs, strict=True)] or [set(), set()]
    scratch, fine = (f" ({side.pop()})" if len(side) == 1 else "" for side in sides)
    named = [(where(second, shown.varying), pair) for pair in pairs if (second := pair[1])]
    return _question(shown, named, f"fine-tuning{fine}", f"training from scratch{scratch}")


def _of_steps(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    whole = [(first, second) for first, second in pairs if first and second]
    if len(whole) == 1:
        first, second = whole[0]
        return _question(shown, [(where(second, shown.varying), whole[0])], second.strategy, first.strategy)
    places = {where(second, shown.varying) for _, second in whole}
    named = [
        (
            f"{first.strategy} to {second.strategy}"
            + (f" on {where(second, shown.varying)}" if len(places) > 1 else ""),
            (first, second),
        )
        for first, second in whole
    ]
    return _question(shown, named, "a version", "the one before it", "step")


def _question(
    shown: Shown,
    named: Sequence[tuple[str, tuple[Group | None, Group | None]]],
    subject: str,
    reference: str,
    noun: str = "comparison",
) -> OpenQuestion:
    metric = shown.comparisons.judging.main
    differences = [(name, shown.comparisons.between(*pair, metric)) for name, pair in named]
    if len(differences) == 1 and len({group.names[:2] for group in shown.groups}) == 1:
        # there is one place alone, which the first sentence names
        differences = [("", differences[0][1])]
    return OpenQuestion(subject, reference, tuple(differences), noun)


def _measured(groups: Sequence[Group], metric: Metric, varying: Sequence[str]) -> str:
    """What was measured, where nothing is judged: of several groups the least and the greatest mean."""
    known = _values(groups, metric)
    if not known and (other := _values(groups, VAL_ACCURACY)):
        return f"No cell has a value of {metric.title}; {_range(groups, other, VAL_ACCURACY, varying)}"
    return _range(groups, known, metric, varying) if known else f"No cell has a valid {metric.title} yet"


def _values(groups: Sequence[Group], metric: Metric) -> list[tuple[Group, Measurement]]:
    measured = [(group, *group.measured(metric)) for group in groups]
    return [(group, value) for group, value, invalid in measured if value is not None and not invalid]


def _range(
    groups: Sequence[Group], known: Sequence[tuple[Group, Measurement]], metric: Metric, varying: Sequence[str]
) -> str:
    ordered = sorted(known, key=lambda pair: pair[1].mean)
    texts = [f"{figure(value, metric)} ({group.strategy} on {where(group, varying)})" for group, value in ordered]
    if len(groups) == 1:
        alone = ordered[0][1]
        without = ", so without an interval" if alone.half_width is None else ""
        return f"{metric.title} is {figure(alone, metric)}{without}"
    if len(texts) == 1:
        return f"{metric.title} is {texts[0]}, and of the other rows not known"
    return f"mean {metric.title} is from {texts[0]} to {texts[-1]}"


def _advice(questions: Sequence[OpenQuestion], groups: Sequence[Group]) -> str:
    """What can be typed to resolve more."""
    if needs_seeds(questions):
        return "`bench run --resolve A,B` adds seeds until a comparison is decided."
    if not questions and len(groups) > 1:
        return "`bench compare A B` judges two of them, `bench report --baseline STRATEGY` all against one."
    return ""
