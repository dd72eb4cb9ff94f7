"""Sentences on judged differences: a single one in full, several counted by their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmark.reporting.comparing.difference_remarks import RESTS_ON_NORMALITY, cannot_see, verdict_cell
from benchmark.reporting.notation import written
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.rows.missing_results import OF_SURVIVORS
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import (
    BETTER,
    EQUIVALENT,
    FEW_PAIRS,
    NOT_COMPARABLE,
    NOT_RESOLVED,
    WORSE,
    Difference,
)
from benchmark.reporting.statistics.seeds_and_images import ADVICE, IMAGES
from benchmark.units import listed, plural

Named: TypeAlias = tuple[str, Difference | None]
"""The name of a pair, and its difference; None where a side has no result."""

COMPARISON = "comparison"
MOST_NAMED = 3
DECIDED = (BETTER, WORSE, EQUIVALENT)
NO_RESULT = "no result"
_REASONS = ("no verdict: ", "not comparable: ")


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """Differences that answer one question: whether `subject` is better than `reference`.

    Attributes:
        subject: The side from which the other is subtracted, in words.
        reference: The other side.
        pairs: The differences, each with its name; of a single one the name may be empty.
        noun: What one of several is called; other names than the usual one say themselves what is compared.
        over: What stands before the name of a single one.
        absent: What pairs without a difference have, or are: `no result`, `the same on both sides`.
    """

    subject: str
    reference: str
    pairs: tuple[Named, ...]
    noun: str = COMPARISON
    over: str = "on"
    absent: str = NO_RESULT

    @property
    def full_names(self) -> list[Named]:
        """The pairs by names that stand alone."""
        if len(self.pairs) > 1:
            return list(self.pairs)
        return [(f"{self.subject} against {self.reference}{self.place}", each) for _, each in self.pairs]

    @property
    def place(self) -> str:
        """Where the single one is, as the end of a clause; empty where it has no name."""
        return f" {self.over} {self.pairs[0][0]}" if self.pairs[0][0] else ""


def verdict_sentence(questions: Sequence[OpenQuestion], metric: Metric) -> str:
    """What came of the questions, in one sentence without its full stop; empty without any."""
    clauses = [_single(each, metric) if len(each.pairs) == 1 else _several(each, metric) for each in questions]
    return f"In {metric.title} {'; '.join(clauses)}" if clauses else ""


def open_points(questions: Sequence[OpenQuestion], metric: Metric) -> list[str]:
    """What is not resolved, with what would resolve it, and what resolved verdicts rest on: parts of a sentence."""
    named = [pair for question in questions for pair in question.full_names]
    judged = [(name, each) for name, each in named if each is not None]
    counted = [pair for question in questions if _is_open(question) for pair in question.full_names]
    unresolved = [(name, each) for name, each in judged if each.verdict == NOT_RESOLVED]
    points = [_unresolved(unresolved, metric, counted, alone=len(judged) == 1)] if unresolved else []
    decided = [each for _, each in judged if each.verdict in DECIDED and each.half_width is not None]
    every = "the verdict" if len(decided) == len(judged) == 1 else "every resolved verdict"
    if any(each.n < FEW_PAIRS for each in decided):
        points.append(f"{every} {RESTS_ON_NORMALITY}")
    if any(text.startswith(OF_SURVIVORS) for each in decided for text in each.remarks):
        points.append(f"where seeds were lost the verdict is {OF_SURVIVORS}")
    return points


def may_resolve_with_seeds(each: Difference) -> bool:
    """Whether a difference is not resolved, and more seeds may resolve it."""
    return each.verdict == NOT_RESOLVED and each.narrowed_by != IMAGES


def figure(value: Measurement | Difference, metric: Metric) -> str:
    """A number as its table writes it, with its n: `+0.432 ± 0.079, n=3`."""
    return f"{written(value, metric.kind, known_n=value.n)}, n={value.n}"


def figures(first: Measurement | Difference, last: Measurement | Difference, metric: Metric) -> str:
    """Two numbers as a range, or one where they look alike: `+0.036 ± 0.010 to +0.069 ± 0.015, n=4`."""
    texts = [figure(each, metric) for each in (first, last)]
    if texts[0] == texts[1]:
        return texts[0]
    return f"{texts[0].removesuffix(f', n={last.n}')} to {texts[1]}"


def sentence(text: str) -> str:
    """A text with a capital and a full stop; empty where it is."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _single(question: OpenQuestion, metric: Metric) -> str:
    ((_, each),) = question.pairs
    subject, reference, on = question.subject, question.reference, question.place
    if each is None:
        why = (
            f"a side has {question.absent}"
            if question.absent.startswith("no ")
            else f"the results are {question.absent}"
        )
        return f"{subject} cannot be compared with {reference}{on}, because {why}"
    number = figure(each, metric)
    if each.verdict == NOT_COMPARABLE:
        return f"{subject} and {reference}{on} are {NOT_COMPARABLE}: {_reason(each)}"
    if each.verdict is None:
        return f"{subject} against {reference}{on} has no verdict ({number}): {_reason(each)}"
    if each.verdict == NOT_RESOLVED:
        return f"whether {subject} is better or worse than {reference}{on} is {NOT_RESOLVED} ({number})"
    return f"{subject} is {_relation(each, metric, reference)}{on} ({number})"


def _several(question: OpenQuestion, metric: Metric) -> str:
    by_verdict: dict[str, list[Named]] = {}
    for pair in question.pairs:
        by_verdict.setdefault(_verdict(pair[1], question.absent), []).append(pair)
    noun, whole = plural(len(question.pairs), question.noun), all_of(len(question.pairs), question.noun)
    parts: list[str] = []
    for verdict in DECIDED:
        if pairs := by_verdict.pop(verdict, []):
            example = next(each for _, each in pairs if each is not None)
            share = str(len(pairs)) if parts else f"{len(pairs)} of {noun}"
            relation = verdict if parts and verdict != EQUIVALENT else _relation(example, metric, question.reference)
            in_all = len(pairs) == len(question.pairs)
            parts.append(f"{relation} in {whole if in_all else share} ({_figures(pairs, metric)})")
    rest = [f"{len(pairs)} {_be(verdict, pairs)}" for verdict, pairs in by_verdict.items()]
    if parts:
        decided = f"{question.subject} is {listed(parts, ', ' if rest else ' and ')}"
        return listed([decided, *rest], ", and ")
    sides = f" of {question.subject} with {question.reference}" if question.noun == COMPARISON else ""
    if len(by_verdict) == 1:
        numbers = f" ({_figures(question.pairs, metric)})" if _is_open(question) else ""
        return f"{whole}{sides} {rest[0].partition(' ')[2]}{numbers}"
    return f"of {noun}{sides} {listed(rest)}"


def all_of(count: int, noun: str) -> str:
    """`both pairs`, `all 3 pairs`."""
    return f"both {noun}s" if count == 2 else f"all {plural(count, noun)}"


def _figures(pairs: Sequence[Named], metric: Metric) -> str:
    """A single number with its name; of several the smallest and the largest."""
    known = sorted(((name, each) for name, each in pairs if each is not None), key=lambda pair: abs(pair[1].mean))
    if len(known) == 1:
        return f"{known[0][0]}: {figure(known[0][1], metric)}"
    return figures(known[0][1], known[-1][1], metric)


def _is_open(question: OpenQuestion) -> bool:
    """Whether all of several differences are not resolved, which the verdict says of them together."""
    return len(question.pairs) > 1 and all(each and each.verdict == NOT_RESOLVED for _, each in question.pairs)


def _unresolved(
    pairs: Sequence[tuple[str, Difference]], metric: Metric, counted: Sequence[Named], *, alone: bool
) -> str:
    """What is not resolved, but for the pairs that the verdict has counted already, and what would help."""
    advices = {_advice(each) for _, each in pairs}
    advice = advices.pop() if len(advices) == 1 else "more seeds would help most of them"
    pairs = [pair for pair in pairs if pair not in counted]
    if not pairs:
        return advice
    if len(pairs) == 1:
        name, each = pairs[0]
        ruled_out = cannot_see(each, metric).partition(";")[0]
        return f"{ruled_out}; {advice}" if alone else f"{NOT_RESOLVED} is {name}, where {ruled_out}: {advice}"
    names = [f"{name} ({figure(each, metric)})" for name, each in pairs[:MOST_NAMED]]
    more = [f"{len(pairs) - MOST_NAMED} more"] if len(pairs) > MOST_NAMED else []
    return f"{NOT_RESOLVED} are {listed([*names, *more])}: {advice}"


def _advice(each: Difference) -> str:
    return ADVICE.get(each.narrowed_by, "more seeds would help")


def _verdict(each: Difference | None, absent: str) -> str:
    return absent if each is None else each.verdict or "no verdict"


def _be(verdict: str, pairs: Sequence[Named]) -> str:
    """`is not resolved`, `have no verdict: ` and the reason where it is the same for all."""
    verbs = ("has", "have") if verdict.startswith("no ") else ("is", "are")
    reasons = {_reason(each) for _, each in pairs if each and each.verdict in {None, NOT_COMPARABLE}}
    why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
    return f"{verbs[len(pairs) > 1]} {verdict}{why}"


def _relation(each: Difference, metric: Metric, reference: str) -> str:
    if each.verdict == EQUIVALENT:
        within = verdict_cell(each, metric)
        return f"{written(within, 'verdict').replace(EQUIVALENT, f'{EQUIVALENT} to {reference}', 1)}"
    return f"{each.verdict} than {reference}"


def _reason(each: Difference) -> str:
    for text in each.remarks:
        for start in _REASONS:
            if text.startswith(start):
                return text.removeprefix(start).partition(";")[0]
    return each.remarks[0] if each.remarks else "nothing is judged in it"
