"""Decides whether a comparison passes a gate of `bench compare --fail-if`: on evidence alone."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.errors import UserError
from benchmark.matrix.report_spec import margin_of
from benchmark.reporting.comparing.compare import Comparison
from benchmark.reporting.comparing.difference_remarks import MARGIN_OF_SKEWED, cannot_see
from benchmark.reporting.rows.metrics import in_words
from benchmark.reporting.statistics.equivalence import lower_bound, upper_bound
from benchmark.reporting.statistics.mean_difference import BETTER, EQUIVALENT, NOT_RESOLVED, WORSE

CONDITIONS = ("worse", "worse:M", "better", "not-better", "not-equivalent")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a gate is passed, and what is to be said of it."""

    passes: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """When to fail: `word` is of `CONDITIONS`, `margin` what B may be worse by."""

    word: str
    margin: float | None = None


def parse_gate(text: str) -> Gate:
    """Reads `worse`, `worse:0.005`, `worse:0.5pp`, `better`, `not-better` or `not-equivalent`.

    Raises:
        UserError: It is none of them.
    """
    word, colon, rest = text.partition(":")
    margin = margin_of(rest) if colon else None
    if word not in CONDITIONS or (colon and (word != "worse" or margin is None)):
        raise UserError(
            f"--fail-if: expected one of {', '.join(CONDITIONS)}, where M is a number in the unit of the metric or points "
            f"such as 0.5pp, got {text!r}"
        )
    return Gate(word, margin)


def decide(comparison: Comparison, gate: Gate) -> Outcome:
    """Whether the comparison passes; without evidence it does not.

    With a margin the one-sided 95 % interval of B - A must exclude being worse by it: G. Piaggio et al., "Reporting of
    noninferiority and equivalence randomized trials", JAMA 295 (2006).
    """
    if gate.word == "better":
        return Outcome(comparison.verdict != BETTER)
    if comparison.gaps:
        return Outcome(passes=False, reasons=tuple(f"no evidence: {gap}" for gap in comparison.gaps))
    if gate.word == "worse" and gate.margin is None:
        return _not_worse(comparison)
    if comparison.survivors:
        return Outcome(passes=False, reasons=tuple(f"survivors prove nothing: {each}" for each in comparison.survivors))
    if gate.margin is not None:
        return _not_worse_by(comparison, gate.margin)
    wanted = {"not-better": BETTER, "not-equivalent": EQUIVALENT}[gate.word]
    if comparison.verdict != wanted:
        return Outcome(passes=False, reasons=(f"B is not shown to be {wanted}: {comparison.verdict}",))
    against = [each.verdict for each in comparison.pairs if each.verdict in {BETTER, WORSE} - {wanted}]
    return Outcome(
        wanted == BETTER or not against,
        (f"B is {wanted} on average, but {against[0]} in some places",) if against else (),
    )


def _not_worse(comparison: Comparison) -> Outcome:
    if comparison.verdict == WORSE or any(each.verdict == WORSE for each in comparison.pairs):
        return Outcome(passes=False, reasons=(f"B is worse in {comparison.metric.title}",))
    reasons = [f"only survivors are compared: {each}" for each in comparison.survivors]
    if comparison.verdict == NOT_RESOLVED and comparison.overall is not None:
        reasons.insert(0, f"not resolved: {cannot_see(comparison.overall, comparison.metric)}")
    return Outcome(passes=True, reasons=tuple(reasons))


def _not_worse_by(comparison: Comparison, margin: float) -> Outcome:
    """Asks the average of all places, and each at which B is shown to be worse."""
    higher = comparison.metric.higher_is_better
    bound = lower_bound if higher else upper_bound
    asked = [comparison.overall, *(each for each in comparison.pairs if each.verdict == WORSE)]
    ends = [None if each is None else bound(each) for each in asked]
    if ends[0] is None:
        return Outcome(passes=False, reasons=("no evidence: there is no interval",))
    worst = min(end if higher else -end for end in ends if end is not None)
    if worst > -margin:
        is_skewed = any(each is not None and each.looks_skewed for each in asked)
        return Outcome(passes=True, reasons=(MARGIN_OF_SKEWED,) if is_skewed else ())
    most = in_words(-worst, comparison.metric)
    return Outcome(
        passes=False,
        reasons=(f"B may be worse by {most}, more than the margin of {in_words(margin, comparison.metric)}",),
    )
