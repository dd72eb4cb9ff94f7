"""Differences between two groups, judged as one family: intervals, verdicts, and what a reader must know beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmark.reporting.comparing.audit import Audit, audit, audit_pairs
from benchmark.reporting.comparing.timed_turns import is_interleaved, runs_of, timed_together
from benchmark.reporting.predictions.image_outcomes import ImageEvidence, image_evidence
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.groups import Group, Pair, apart, resolution, values_by_stream
from benchmark.reporting.rows.metrics import TEST_ACCURACY, Metric, in_words
from benchmark.reporting.rows.missing_results import note_on_losses
from benchmark.reporting.statistics.equivalence import detectable, ruled_out
from benchmark.reporting.statistics.families import judge
from benchmark.reporting.statistics.intervals import ALPHA, measure
from benchmark.reporting.statistics.mean_difference import (
    EQUIVALENT,
    FEW_PAIRS,
    NOT_COMPARABLE,
    NOT_RESOLVED,
    Difference,
    compare,
    widened_difference,
)
from benchmark.reporting.statistics.timings import compare_timings
from benchmark.reporting.table import Qualified, Value


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
    return replace(widened_difference(result, filter(None, errors)), verdict=None)


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
            told = with_remarks(result, pair, metric, audits[pair], evidence[pair])
            if told is not None:
                judged[pair, metric.key] = told
    return Comparisons(judging, judged, audits)


def _judged(
    pairs: Sequence[Pair], metric: Metric, margin: float | None, audits: Mapping[Pair, Audit]
) -> list[Difference | None]:
    differences = [difference(*pair, metric) for pair in pairs]
    can_be_judged = [not audits[pair].prevents and is_interleaved(pair, metric) for pair in pairs]
    family = [each if fit else None for each, fit in zip(differences, can_be_judged, strict=True)]
    verdicts = judge(family, higher_is_better=metric.higher_is_better, margin=margin)
    return [
        judged or (each and _unjudged(each, audits[pair]))
        for judged, each, pair in zip(verdicts, differences, pairs, strict=True)
    ]


def _unjudged(each: Difference, audited: Audit) -> Difference:
    if audited.prevents:
        return replace(each, verdict=NOT_COMPARABLE, adjusted_p=None)
    reason = (
        "no verdict: the two sides did not take turns in one run, so that a drift of the machine would count; see `order` "
        "in the matrix"
    )
    return replace(each, adjusted_p=None, remarks=(reason,))


def with_remarks(
    result: Difference | None, pair: Pair, metric: Metric, audited: Audit, images: ImageEvidence | None = None
) -> Difference | None:
    """The difference with all that a reader must know beside it."""
    if result is None:
        return None
    images = images if images and metric.key == TEST_ACCURACY.key else ImageEvidence()
    remarks = (
        *result.remarks,
        *_on_audit(audited, metric),
        *(note_on_losses(*pair) if result.verdict else ()),
        *_on_pairing(result, pair, metric),
        *on_reach(result, metric),
        *on_robust(result),
        *images.remarks,
    )
    return replace(result, remarks=remarks, other_settings=audited.settings, over_images=images.interval)


def _on_audit(audited: Audit, metric: Metric) -> Iterable[str]:
    if audited.prevents:
        yield f"not comparable: other {'; '.join(audited.prevents)}"
    if marks := [*audited.marks, *(audited.timings if metric.is_timing else ())]:
        yield f"other {'; '.join(marks)}"


def _on_pairing(result: Difference, pair: Pair, metric: Metric) -> list[str]:
    a, b = (group.values(metric) for group in apart(*pair))
    if result.half_width is None:
        return ["one pair of seeds has no interval and decides nothing"]
    if result.method == "unpaired":
        return ["not paired: the seeds of the two sides do not match (Welch's test)"]
    if metric.is_timing and (together := timed_together(pair) & a.keys() & b.keys()):
        others = ", ".join(map(str, sorted((a.keys() | b.keys()) - together)))
        return (
            [f"paired over the {result.n} seeds that both sides timed in one run; not seed {others}"] if others else []
        )
    if len(a.keys() | b.keys()) > result.n:
        alone = ", ".join(map(str, sorted(a.keys() ^ b.keys())))
        return [f"paired over the {result.n} seeds that both sides have; without a partner: seed {alone}"]
    return []


def on_reach(result: Difference, metric: Metric) -> list[str]:
    """What the verdict rests on, and what it could not have seen."""
    if result.half_width is None or result.verdict in {None, NOT_COMPARABLE}:
        return []
    remarks = []
    p = result.adjusted_p
    if result.verdict == EQUIVALENT and p is not None and p < ALPHA:
        remarks.append(f"the difference is resolved, and within ±{in_words(result.margin or 0.0, metric)}")
    if result.verdict == NOT_RESOLVED and result.comparisons > 1 and abs(result.mean) > result.half_width:
        remarks.append(
            f"its own interval leaves 0 out, but among {result.comparisons} comparisons one such may come by chance "
            f"(Holm over {result.comparisons}: p = {p:.3f})"
        )
    if result.verdict == NOT_RESOLVED:
        remarks.append(cannot_see(result, metric))
    if result.n < FEW_PAIRS:
        remarks.append("rests on normality: fewer than six seeds cannot show it")
    elif result.is_skewed:
        remarks.append("skewed: t and bootstrap-t together")
    return remarks


def on_robust(result: Difference) -> list[str]:
    """Interquartile means and P(B > A), where there are enough seeds."""
    if (robust := result.robust) is None or result.verdict in {None, NOT_COMPARABLE}:
        return []
    first, second = (f"{mean:.4g}" for mean in (robust.first, robust.second))
    above, low, high = (f"{100 * share:.0f}" for share in (robust.above, robust.interval.low, robust.interval.high))
    text = f"interquartile means {first} and {second}; the second is greater in {above} % of all pairs of seeds"
    return [f"{text} (95 % interval {low} to {high} %)"]


def cannot_see(result: Difference, metric: Metric) -> str:
    """What a difference that is not resolved rules out, and what its n could have shown."""
    excluded, shown = ruled_out(result), detectable(result)
    if excluded is None or shown is None:
        return "one pair of seeds rules nothing out"
    return (
        f"more than {in_words(excluded, metric)} either way is ruled out; n={result.n} shows "
        f"{in_words(shown, metric)} in 80 % of cases"
    )


def verdict_cell(result: Difference | None, metric: Metric) -> Value:
    """The cell of a verdict; people read the margin beside `equivalent`."""
    if result is None or result.verdict != EQUIVALENT:
        return result and result.verdict
    return Qualified(EQUIVALENT, f"within ±{in_words(result.margin or 0.0, metric)}")


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
