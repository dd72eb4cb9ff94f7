"""The answer that a comparison of two selections begins with, and the names of its pairs; see also `reporting/answer.py`."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from benchmark.matrix.selection import parse_selection
from benchmark.matrix.settings import SETTINGS
from benchmark.reporting.comparing.matching import NAMES, Matched, absent
from benchmark.reporting.comparing.verdict_sentences import (
    OpenQuestion,
    all_of,
    may_resolve_with_seeds,
    open_points,
    sentence,
    verdict_sentence,
)
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group, Pair, varying_settings
from benchmark.reporting.rows.metrics import TEST_ACCURACY, Metric
from benchmark.reporting.rows.missing_results import incomplete, planned
from benchmark.reporting.rows.repetitions import REPEATED
from benchmark.reporting.rows.scope import scope
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Advised
from benchmark.units import plural


def comparison_answer(
    matched: Matched,
    overall: Difference | None,
    metric: Metric,
    selections: tuple[str, str] | None,
    further: Sequence[str],
) -> tuple[str, ...]:
    """At most three sentences: what was compared, the verdict with its number, and what is not resolved.

    Args:
        matched: The pairs, judged.
        overall: The judged difference over all pairs that can be compared.
        metric: What it is in.
        selections: Those of A and B, as they were typed.
        further: What else is to be said of what is not resolved, as parts of a sentence.
    """
    groups = [group for pair in matched.pairs for group in pair]
    pairs = [matched.comparisons.between(*pair, metric) for pair in matched.pairs]
    why = absent((pair for pair, each in zip(matched.pairs, pairs, strict=True) if each is None), metric)
    whole = OpenQuestion("B", "A", (("" if len(pairs) == 1 else _pairs(matched), overall),), over="over", absent=why)
    single = OpenQuestion("B", "A", tuple(zip(pair_names(matched.pairs), pairs, strict=True)), "pair", absent=why)
    asked = [whole, single] if len(pairs) > 1 else [whole]
    points = [*open_points([whole], metric), *further, *incomplete(groups), *_alone(matched)]
    last = sentence("; ".join(points))
    advice = ""
    # what `bench run` judges where nothing else is asked for
    is_default = metric.key == TEST_ACCURACY.key
    if (
        selections
        and _leave_seeds_open(selections)
        and is_default
        and overall is not None
        and may_resolve_with_seeds(overall)
    ):
        resolve = " ".join(f"--resolve {quote(each)}" for each in selections)
        advice = f"`bench run {resolve}` adds seeds until it is decided."
    verdict = sentence(verdict_sentence(asked, metric))
    return tuple(
        filter(None, [_scope(matched, groups, selections), verdict, Advised(last, f"{last} {advice}".rstrip())])
    )


def pair_names(pairs: Sequence[Pair]) -> list[str]:
    """A name for each pair: what differs between the pairs, of names and settings."""
    varying = varying_settings([a for a, _ in pairs])
    parts = [[*_names(pair), *(f"{name} {describe(pair[0].settings.get(name))}" for name in varying)] for pair in pairs]
    # what all have in common tells none apart
    told = [index for index, values in enumerate(zip(*parts, strict=True)) if len(set(values)) > 1]
    return [", ".join(each[index] for index in told) for each in parts]


def _names(pair: Pair) -> list[str]:
    both = [(getattr(pair[0], name), getattr(pair[1], name)) for name in NAMES]
    return [a if a == b else f"{a} against {b}" for a, b in both]


def _leave_seeds_open(selections: tuple[str, str]) -> bool:
    """Whether `bench run --resolve` takes the selections: they name what a matrix does, and no seeds."""
    return parse_selection(selections).keys <= {*NAMES, *SETTINGS} - {*REPEATED}


def _pairs(matched: Matched) -> str:
    whole, comparable = all_of(len(matched.pairs), "pair"), len(matched.comparable)
    return whole if comparable in {0, len(matched.pairs)} else f"{whole}, {comparable} comparable"


def _scope(matched: Matched, groups: Sequence[Group], selections: tuple[str, str] | None) -> str:
    a, b = (f" ({text})" for text in selections) if selections else ("", "")
    shared = [name for name in NAMES if all(getattr(x, name) == getattr(y, name) for x, y in matched.pairs)]
    machine_a, machine_b = matched.machines
    measured = f", on machine {machine_a}" if machine_a else ""
    if machine_a != machine_b:
        measured = f", B on machine {machine_b} and A on machine {machine_a}"
    b_cells, a_cells = (planned(pair[side] for pair in matched.pairs) for side in (1, 0))
    cells = f"{b_cells} against {a_cells.partition(' ')[0] if a_cells != b_cells else 'as many'}"
    where = scope(groups, (), shared)
    return f"B{b} is compared with A{a}, {cells}{measured}: {where}."


def _alone(matched: Matched) -> list[str]:
    """How many groups of either side have no counterpart."""
    counts = [(side, len(alone)) for side, alone in (("A", matched.alone_a), ("B", matched.alone_b)) if alone]
    return [
        f"{plural(count, 'group')} of {side} {'has' if count == 1 else 'have'} no counterpart" for side, count in counts
    ]
