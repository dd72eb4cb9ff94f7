"""What a reader must know beside a difference: what else differs, how its seeds are paired, what it rules out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from benchmark.reporting.comparing.audit import Audit
from benchmark.reporting.comparing.timed_turns import timed_together
from benchmark.reporting.predictions.image_outcomes import ImageEvidence
from benchmark.reporting.rows.groups import Pair, apart
from benchmark.reporting.rows.metrics import TEST_ACCURACY, Metric, in_words
from benchmark.reporting.rows.missing_results import note_on_losses
from benchmark.reporting.statistics.equivalence import detectable, ruled_out
from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.mean_difference import (
    BETTER,
    EQUIVALENT,
    FEW_PAIRS,
    NOT_COMPARABLE,
    NOT_RESOLVED,
    WORSE,
    Difference,
)
from benchmark.reporting.table import Qualified, Value

MARGIN_OF_SKEWED = "skewed: margins are judged by the t test alone, which errs in up to a quarter of cases where one side has a long tail"

RESTS_ON_NORMALITY = "rests on normality, which fewer than six seeds cannot show"


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
    return replace(
        result, remarks=remarks, other_settings=audited.settings, over_images=images.interval,
        narrowed_by=images.narrowed_by,
    )  # fmt: skip


def _on_audit(audited: Audit, metric: Metric) -> Iterable[str]:
    if audited.prevents:
        yield f"not comparable: other {'; '.join(audited.prevents)}"
    if marks := [*audited.marks, *(audited.timings if metric.is_timing else ())]:
        yield f"other {'; '.join(marks)}"


def _on_pairing(result: Difference, pair: Pair, metric: Metric) -> list[str]:
    a, b = (group.values(metric) for group in apart(*pair))
    if result.half_width is None:
        return ["a single pair of seeds gives no interval and no verdict"]
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
            f"its own interval excludes 0, but among {result.comparisons} comparisons that can happen by chance "
            f"(Holm over {result.comparisons}: p = {p:.3f})"
        )
    if result.verdict == NOT_RESOLVED:
        remarks.append(cannot_see(result, metric))
    return [*remarks, *on_skew(result)]


def on_skew(result: Difference) -> list[str]:
    """What a verdict rests on where the shape of the differences matters."""
    remarks = []
    if result.n < FEW_PAIRS:
        remarks.append(RESTS_ON_NORMALITY)
        if result.looks_skewed:
            remarks.append("these look skewed: where one side has a long tail, one such verdict in six is false")
    elif result.is_skewed:
        remarks.append(
            f"skewed: t and Hall's transformation together; 95 % interval {result.low:+.4g} to {result.high:+.4g}"
        )
    if result.looks_skewed and result.verdict == EQUIVALENT:
        remarks.append(MARGIN_OF_SKEWED)
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
        return "a single pair of seeds rules nothing out"
    return (
        f"more than {in_words(excluded, metric)} either way is ruled out; n={result.n} would detect "
        f"{in_words(shown, metric)} in 80 % of cases"
    )


def better_side(result: Difference | None, first: str, second: str) -> frozenset[str]:
    """The name of the side that is resolved to be better, first or second; else nothing."""
    better = {BETTER: [second], WORSE: [first]}.get(result.verdict or "", []) if result else []
    return frozenset(better)


def verdict_cell(result: Difference | None, metric: Metric) -> Value:
    """The cell of a verdict; people read the margin beside `equivalent`."""
    if result is None or result.verdict != EQUIVALENT:
        return result and result.verdict
    return Qualified(EQUIVALENT, f"within ±{in_words(result.margin or 0.0, metric)}")
