"""Sentences about results whose number of seeds was chosen by looking, so that nobody takes their interval for a plain one."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from benchmark import units
from benchmark.results.records import LookRow

SKEWED_LOOKS = (
    "skewed: each look uses both t and Hall's transformation; where one side has a long tail, one such verdict in five is "
    "still false"
)

LOOKED = "the number of seeds was chosen by looking, which the notes account for"


def on_looks(made: Sequence[LookRow]) -> str:
    """`looking 9 times, alpha spent 0.045`."""
    return f"looking {units.plural(len(made), 'time')}, alpha spent {math.fsum(look.alpha for look in made):.2g}"


def note_on_looks(executions: Collection[int], looks: Sequence[LookRow]) -> list[str]:
    """A sentence for each comparison of `bench run --resolve` of which both sides are among the executions.

    Args:
        executions: Those that are shown.
        looks: Of kind `resolve`, oldest first.
    """
    shown, questions = set(executions), dict[str, list[LookRow]]()
    for look in looks:
        questions.setdefault(str(look.details.get("identity")), []).append(look)
    notes = []
    for made in questions.values():
        last = made[-1]
        if all(shown.intersection(side) for side in last.executions):
            ends = "" if last.low is None else f" ({last.low:+.4f} to {last.high:+.4f})"
            notes.append(
                f"{last.b} against {last.a}: n was chosen by {on_looks(made)}; the verdict that accounts for it is "
                f"{last.verdict}{ends}, with n = {last.n}."
            )
    return notes
