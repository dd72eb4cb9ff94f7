"""Differences between two groups, judged as one family: intervals and verdicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.matrix.recipes.loss import CROSS_ENTROPY
from benchmark.reporting.comparing.audit import Audit, audit, audit_pairs
from benchmark.reporting.comparing.difference_remarks import with_remarks
from benchmark.reporting.comparing.timed_turns import is_interleaved, runs_of, timed_together
from benchmark.reporting.predictions.image_outcomes import image_evidence
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group, Pair, apart, resolution, values_by_stream
from benchmark.reporting.rows.metrics import FURTHER_METRICS, TEST_ACCURACY, Metric
from benchmark.reporting.statistics.families import judge
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.statistics.mean_difference import (
    BETTER,
    NOT_COMPARABLE,
    WORSE,
    Difference,
    compare,
    widened_difference,
)
from benchmark.reporting.statistics.timings import compare_timings


@dataclass(frozen=True, slots=True)
class Judging:
    """What is judged, and how.

    Attributes:
        metrics: Those that get verdicts; the first is the one that single columns show.
        margin: What counts as equivalent, in the unit of the metrics; None judges no equivalence.
    """

    metrics: tuple[Metric, ...] = (TEST_ACCURACY,)
    margin: float | None = None

    @property
    def main(self) -> Metric:
        return self.metrics[0]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The judged differences of a report: one family for each metric that is judged.

    Attributes:
        judging: What was judged.
        judged: By pair and key of the metric.
        audits: What else differs, by pair.
    """

    judging: Judging = field(default_factory=Judging)
    judged: Mapping[tuple[Pair, str], Difference] = field(default_factory=dict)
    audits: Mapping[Pair, Audit] = field(default_factory=dict)

    def between(self, first: Group | None, second: Group | None, metric: Metric) -> Difference | None:
        """Second minus first; without a verdict in a metric that is not judged. None where a side has no value."""
        if first is None or second is None:
            return None
        pair = first, second
        judged = self.judged.get((pair, metric.key))
        return judged or with_remarks(difference(*pair, metric), pair, metric, self.audit(*pair))

    def audit(self, first: Group, second: Group) -> Audit:
        """What the two differ in beside their results."""
        return self.audits.get((first, second)) or audit(first, second)

    def resolved_best(self, groups: Sequence[Group], metric: Metric) -> Group | None:
        """The one of several groups that is better than each other, by verdicts on the two or on groups between them."""
        for group in groups if len(groups) > 1 else ():
            beaten, newest = {group}, {group}
            while newest:
                newest = {other for each in newest for other in self._worse_than(each, metric)} - beaten
                beaten |= newest
            if beaten.issuperset(groups):
                return group
        return None

    def _worse_than(self, group: Group, metric: Metric) -> Iterable[Group]:
        for ((first, second), key), each in self.judged.items():
            if key == metric.key and group in {first, second}:
                better = {BETTER: second, WORSE: first}.get(each.verdict or "")
                if better is group:
                    yield first if better is second else second


def difference(first: Group | None, second: Group | None, metric: Metric) -> Difference | None:
    """Second minus first in a metric; not judged."""
    if first is None or second is None:
        return None
    first, second = apart(first, second)
    sides = first.values(metric), second.values(metric)
    if metric.is_timing:
        runs = runs_of(first)
        together = timed_together((first, second))
        paired = [{seed: side[seed] for seed in side if not together or seed in together} for side in sides]
        if timed := compare_timings(paired[0], paired[1], runs):
            return timed
    return difference_of(*sides, ([first], [second]), metric)


def difference_of(
    first: Mapping[int, float],
    second: Mapping[int, float],
    groups: tuple[Sequence[Group], Sequence[Group]],
    metric: Metric,
) -> Difference | None:
    """Second minus first, not judged, with what the streams change over which the groups' repetitions are means.

    Args:
        first: Values by seed.
        second: Likewise.
        groups: What either side is the mean of.
        metric: Which one it is.
    """
    step = resolution([*groups[0], *groups[1]], metric) / max(map(len, groups))
    result = compare(first, second, step=step)
    if result is None:
        return None
    a, b = (values_by_stream(side, metric) for side in groups)
    errors = [_error(a.get(stream), b.get(stream), step) for stream in {**a, **b}]
    return widened_difference(result, filter(None, errors))


def _error(
    first: Mapping[int, float] | None, second: Mapping[int, float] | None, step: float
) -> tuple[float, float] | None:
    """Standard error and degrees of freedom of what a stream changes in a difference; None where they are not known."""
    if first and second:
        result = compare(first, second, step=step)
        return (
            (result.error, result.freedom)
            if result and result.error is not None and result.freedom is not None
            else None
        )
    alone = measure((first or second or {}).values(), step=step)
    return (alone.error, alone.n - 1) if alone and alone.error is not None else None


def judge_pairs(
    pairs: Iterable[tuple[Group | None, Group | None]], judging: Judging, load: LoadPredictions = lambda _: {}
) -> Comparisons:
    """The verdicts of all pairs together: those in one metric are one family.

    Args:
        pairs: The subtracted group first; a pair that lacks a side is left out, one that is named twice counts once.
        judging: What is judged.
        load: Reads stored predictions, for their labels and for the interval over test images.
    """
    whole = [(a, b) for a, b in dict.fromkeys(pairs) if a is not None and b is not None and a.completed and b.completed]
    audits = audit_pairs(whole)
    evidence = dict(image_evidence(whole, load))
    for pair, images in evidence.items():
        if images.problem:
            audits[pair] = replace(audits[pair], prevents=(*audits[pair].prevents, images.problem))
    judged: dict[tuple[Pair, str], Difference] = {}
    for metric in judging.metrics:
        for pair, result in zip(whole, _judged(whole, metric, judging.margin, audits), strict=True):
            remarked = with_remarks(result, pair, metric, audits[pair], evidence[pair])
            if remarked is not None:
                judged[pair, metric.key] = remarked
    return Comparisons(judging, judged, audits)


def _judged(
    pairs: Sequence[Pair], metric: Metric, margin: float | None, audits: Mapping[Pair, Audit]
) -> list[Difference | None]:
    differences = [difference(*pair, metric) for pair in pairs]
    can_be_judged = [
        not audits[pair].prevents and not _other_losses(pair, metric) and is_interleaved(pair, metric) for pair in pairs
    ]
    family = [each if fit else None for each, fit in zip(differences, can_be_judged, strict=True)]
    verdicts = judge(family, higher_is_better=metric.higher_is_better, margin=margin)
    return [
        judged or (each and _unjudged(each, audits[pair], _other_losses(pair, metric)))
        for judged, each, pair in zip(verdicts, differences, pairs, strict=True)
    ]


def _other_losses(pair: Pair, metric: Metric) -> str:
    """The losses of two groups, in words, where values of the metric are losses of two kinds; else empty."""
    if metric.kind != "loss" or metric in FURTHER_METRICS:
        return ""
    first, second = (_loss_of(group.settings) for group in pair)
    return "" if first == second else f"loss {first} against {second}"


def _loss_of(settings: Mapping[str, Any]) -> str:
    code = settings.get("loss_code")
    return describe(settings.get("loss", CROSS_ENTROPY)) + (f" ({describe(code)})" if code else "")


def _unjudged(each: Difference, audited: Audit, losses: str) -> Difference:
    if audited.prevents:
        return replace(each, verdict=NOT_COMPARABLE, adjusted_p=None)
    if losses:
        remark = f"not comparable: {losses}; compare test_log_loss"
        return replace(each, verdict=NOT_COMPARABLE, adjusted_p=None, remarks=(remark,))
    reason = (
        "no verdict: the two sides did not take turns in one run, so that drift of the machine would look like a difference; "
        "see `order` in the matrix"
    )
    return replace(each, adjusted_p=None, remarks=(reason,))


def suspects(comparisons: Comparisons, named: Collection[str] = ()) -> tuple[str, ...]:
    """The compared pairs that differ in what nobody asked to compare, each with the fields, for `--strict`.

    Args:
        comparisons: Of a report.
        named: The settings by which selections name what is compared.
    """
    return tuple(
        f"{' '.join(first.names)} and {' '.join(second.names)}: {'; '.join(found)}"
        for (first, second), audited in comparisons.audits.items()
        if (found := audited.suspects(named))
    )


def note_on_families(comparisons: Comparisons) -> list[str]:
    """Names the family of each judged metric with several comparisons."""
    notes = []
    for metric in comparisons.judging.metrics:
        sizes = {
            each.comparisons for (_, key), each in comparisons.judged.items() if key == metric.key and each.verdict
        }
        if sizes and max(sizes) > 1:
            notes.append(
                f"All verdicts on {metric.title} are one family, corrected together: Holm over {max(sizes)}. "
                "Intervals are not corrected."
            )
    return notes
