"""The answer that a report begins with: what was compared, what came of it, and what is not resolved.

All of it is of the tables' own values: no statistic is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import TypeAlias

from benchmark.reporting.comparing.matching import absent
from benchmark.reporting.comparing.verdict_sentences import (
    OpenQuestion,
    all_of,
    figure,
    figures,
    may_resolve_with_seeds,
    open_points,
    sentence,
    verdict_sentence,
)
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import TEST_ACCURACY, VAL_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import incomplete, planned, without_any
from benchmark.reporting.rows.scope import NAMES, name_in, named, scope, telling
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.table import Advised, Table
from benchmark.reporting.tables.shown import Shown
from benchmark.units import listed

Pairs: TypeAlias = Mapping[str, Sequence[tuple[Group | None, Group | None]]]
"""The pairs of groups that tables judge, by the name of the table, the subtracted group first."""

_PLACE = ("dataset", "model")
_NOT_JUDGED = "no row is judged against another"


def answer(
    shown: Shown, pairs: Pairs, tables: Sequence[Table], machines: Sequence[str], further: Sequence[str] = ()
) -> tuple[str, ...]:
    """At most three sentences: what was compared, the verdict with its number, and what is not resolved.

    Args:
        shown: What the tables are made from.
        pairs: What they judge, by the names of all of them.
        tables: Those of the report.
        machines: Whose results these are.
        further: What else is to be said of what is not resolved, as parts of a sentence.

    Returns:
        The sentences; where no cell is shown the one that says so.
    """
    groups, metric = _groups(shown, pairs), shown.comparisons.judging.main
    if not groups:
        return (_nothing(shown),)
    questions = _questions(shown, pairs)
    verdict, points = "; ".join(filter(None, (table.answer for table in tables))), list[str]()
    missing = incomplete(groups)
    if any(each for question in questions for _, each in question.pairs):
        verdict, points = verdict_sentence(questions, metric), open_points(questions, metric)
    elif not any(group.completed for group in groups):
        verdict, missing = without_any(groups), []
    elif not verdict and (questions or any(column.key == metric.key for table in tables for column in table.columns)):
        verdict = _measured(groups, metric, shown.varying)
        points = [] if len(groups) == 1 or questions else [_NOT_JUDGED]
    last = sentence("; ".join([*points, *further, *missing]))
    advice = _advice(shown, questions) if points else ""
    sentences = [_scope(groups, shown, machines), sentence(verdict), Advised(last, f"{last} {advice}".rstrip())]
    return tuple(filter(None, sentences))


def _nothing(shown: Shown) -> str:
    if shown.executions:
        return "No result is left to show."
    return Advised("No results yet.", "No results yet: `bench run` makes them.")


def _groups(shown: Shown, pairs: Pairs) -> list[Group]:
    """Those that the report is about: all of them, unless its tables show nothing but what they judge."""
    judged = {group for several in pairs.values() for pair in several for group in pair if group}
    if judged and all(pairs.values()) and "summary" not in pairs:
        return [group for group in shown.groups if group in judged]
    return list(shown.groups)


def _scope(groups: Sequence[Group], shown: Shown, machines: Sequence[str]) -> str:
    """What the report is about: how many cells of what, measured where."""
    others = {row.get("machine") for row in shown.recorded}.difference(machines)
    measured = f" on {named('machine', machines)}{' alone' if others else ''}" if machines else ""
    budget = f", by {shown.options.budget}" if shown.options.budget else ""
    return f"{planned(groups)}{measured}{budget}: {scope(groups, shown.varying)}."


def _questions(shown: Shown, pairs: Pairs) -> list[OpenQuestion]:
    """What the tables ask, in the order in which they stand."""
    makers = {"summary": _of_baseline, "transfer": _of_transfers, "progression": _of_steps}
    made = [makers[name](shown, several) for name, several in pairs.items() if name in makers]
    return [each for each in made if each.pairs]


def _of_baseline(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    names = {group.strategy for _, group in pairs if group}
    strategy = names.pop() if len(names) == 1 else ""
    telling = _PLACE if strategy else NAMES
    return _question(shown, pairs, strategy or "a strategy", f"the baseline {shown.baseline}", telling)


def _of_transfers(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    sides = [{group.strategy for group in side if group} for side in zip(*pairs, strict=True)] or [set(), set()]
    scratch, fine = (f" ({side.pop()})" if len(side) == 1 else "" for side in sides)
    return _question(shown, pairs, f"fine-tuning{fine}", f"training from scratch{scratch}", _PLACE if fine else NAMES)


def _of_steps(shown: Shown, pairs: Sequence[tuple[Group | None, Group | None]]) -> OpenQuestion:
    whole = [(first, second) for first, second in pairs if first and second]
    if len(whole) == 1:
        return _question(shown, whole, whole[0][1].strategy, whole[0][0].strategy)
    asked = _question(shown, whole, "a version", "the one before it")
    steps = [f"{first.strategy} to {second.strategy}" for first, second in whole]
    named = [
        (f"{step} on {place}" if place else step, each) for step, (place, each) in zip(steps, asked.pairs, strict=True)
    ]
    return replace(asked, pairs=tuple(named), noun="step")


def _question(
    shown: Shown,
    pairs: Sequence[tuple[Group | None, Group | None]],
    subject: str,
    reference: str,
    names: Sequence[str] = _PLACE,
) -> OpenQuestion:
    """The question that pairs answer, each named by what tells its second group from others."""
    metric = shown.comparisons.judging.main
    # of a single pair the place is said where the report has several, else where the pairs have
    others = shown.groups if len(pairs) == 1 else [group for pair in pairs for group in pair if group]
    told = telling(others, names)
    named = tuple(
        (name_in(second, told, shown.varying), shown.comparisons.between(first, second, metric))
        for first, second in pairs
        if second
    )
    why = absent(
        (pair for pair, (_, each) in zip((p for p in pairs if p[1]), named, strict=True) if each is None), metric
    )
    return OpenQuestion(subject, reference, named, absent=why)


def _measured(groups: Sequence[Group], metric: Metric, varying: Sequence[str]) -> str:
    """What was measured, where nothing is judged: of several groups the least and the greatest mean."""
    known = _values(groups, metric)
    if not known and not metric.is_timing and (other := _values(groups, VAL_ACCURACY)):
        return f"no cell has a value of {metric.title}; {_range(groups, other, VAL_ACCURACY, varying)}"
    valid = "valid " * metric.is_timing
    return _range(groups, known, metric, varying) if known else f"no cell has a {valid}value of {metric.title}"


def _values(groups: Sequence[Group], metric: Metric) -> list[tuple[Group, Measurement]]:
    """The groups with a value of a metric, in the order of their means."""
    measured = [(group, *group.measured(metric)) for group in groups]
    known = [(group, value) for group, value, invalid in measured if value is not None and not invalid]
    return sorted(known, key=lambda pair: pair[1].mean)


def _range(
    groups: Sequence[Group], known: Sequence[tuple[Group, Measurement]], metric: Metric, varying: Sequence[str]
) -> str:
    (least, low), (_, high) = known[0], known[-1]
    names = telling(groups)
    if len(known) == 1:
        where = f" ({name_in(least, names, varying)}); no other row has a value" if len(groups) > 1 else ""
        alone = ", so without an interval" if low.half_width is None else ""
        return f"{metric.title} is {figure(low, metric)}{alone}{where}"
    if figures(low, high, metric) == figure(low, metric):
        with_one = " with a value" if len(known) < len(groups) else ""
        return f"mean {metric.title} is {figure(low, metric)}, in {all_of(len(known), 'row')}{with_one}"
    texts = [f"{figure(value, metric)} ({name_in(group, names, varying)})" for group, value in (known[0], known[-1])]
    return f"mean {metric.title} is {listed(texts) if len(known) == 2 else f'from {texts[0]} to {texts[1]}'}"


def _advice(shown: Shown, questions: Sequence[OpenQuestion]) -> str:
    """What can be typed to resolve more."""
    if not questions:
        return "`bench compare A B` judges two of them, `bench report --baseline STRATEGY` all against one."
    main = shown.comparisons.judging.main
    if main.key != TEST_ACCURACY.key:
        # what `bench run` judges where nothing else is asked for
        return ""
    named = dict.fromkeys(
        f"{first.strategy},{second.strategy}"
        for ((first, second), key), each in shown.comparisons.judged.items()
        if key == main.key and first.strategy != second.strategy and may_resolve_with_seeds(each)
    )
    if not named:
        return ""
    others = ", and so for the others" if len(named) > 1 else ""
    return f"`bench run --resolve {quote(next(iter(named)))}` adds seeds until it is decided{others}."
