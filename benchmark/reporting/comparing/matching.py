"""Matches the groups of two selections: which group of B is compared with which of A."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark import units
from benchmark.errors import NotFoundError
from benchmark.reporting.comparing.differences import Comparisons
from benchmark.reporting.comparing.verdict_sentences import NO_RESULT
from benchmark.reporting.rows.forgotten import Remembered, note_on_forgotten, remember
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.rows.groups import Group, Pair, apart, partner, setting_key, varying_settings
from benchmark.reporting.rows.latest import ResultRow, choose_machine
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.rows.scope import name_in, telling

NAMES = ("dataset", "model", "strategy")


@dataclass(frozen=True, slots=True)
class Matched:
    """Matched groups of both sides, with those that have no partner, the machines, and the judged differences.

    Attributes:
        forgotten: A note on the cells that were forgotten, where there are any.
    """

    pairs: list[Pair]
    alone_a: list[Group]
    alone_b: list[Group]
    machines: tuple[str | None, str | None]
    comparisons: Comparisons = field(default_factory=Comparisons)
    forgotten: Sequence[str] = ()

    @property
    def comparable(self) -> list[Pair]:
        return [pair for pair in self.pairs if not self.comparisons.audit(*pair).prevents and not are_the_same(*pair)]


def match_selections(first: Sequence[ResultRow], second: Sequence[ResultRow], machine: str | None) -> Matched:
    """The groups of two selections, matched; arguments as for `compare_selections`.

    Raises:
        NotFoundError: A selection matches nothing, or nothing in A can be matched with anything in B.
    """
    groups_a, machine_a, a = _groups("A", first, machine)
    is_common = any(row.get("machine") == machine_a for row in second)
    groups_b, machine_b, b = _groups("B", second, machine or (machine_a if is_common else None))
    pairs, alone_a, alone_b = _match(groups_a, groups_b)
    if not pairs:
        raise NotFoundError(
            "A and B: expected cells that agree in all but what is compared (dataset, model or strategy); "
            f"found {len(groups_a)} groups in A and {len(groups_b)} in B that share none; widen a selection"
        )
    forgotten = note_on_forgotten(len(a.cell_ids | b.cell_ids), a.older + b.older)
    return Matched(pairs, alone_a, alone_b, (machine_a, machine_b), forgotten=forgotten)


def _groups(side: str, rows: Sequence[ResultRow], machine: str | None) -> tuple[list[Group], str | None, Remembered]:
    chosen = choose_machine(rows, machine, None)
    here = [row for row in rows if row.get("machine") == chosen]
    if all(row.get("is_reproduction") for row in here):
        # where nothing but reproductions was selected, they were meant
        here = [{**row, "is_reproduction": 0} for row in here]
    remembered = remember(here)
    groups = group_cells(remembered.latest, (), remembered.left_out)
    if not groups:
        where = f" on machine {chosen}" if chosen else ""
        forgotten = "".join(f": {text.at_terminal}" for text in note_on_forgotten(len(remembered.left_out)))
        cure = forgotten or "; `bench list cells` shows what there is"
        raise NotFoundError(f"selection {side} matches no result{where}{cure}")
    return groups, chosen, remembered


def _match(first: Sequence[Group], second: Sequence[Group]) -> tuple[list[Pair], list[Group], list[Group]]:
    """Each group of the first side with its partner, of which a group of the second side is at most one; and the rest."""
    equal = [
        name for name in NAMES if {getattr(each, name) for each in first} & {getattr(each, name) for each in second}
    ]

    def place(group: Group) -> tuple[str, ...]:
        return tuple(getattr(group, name) for name in equal)

    varying = varying_settings([*first, *second])
    exact: dict[tuple[Any, ...], list[Group]] = {}
    for group in second:
        exact.setdefault((place(group), setting_key(group, varying)), []).append(group)
    # those that agree in all varying settings first, so that none takes another's counterpart
    matches = {
        group: several.pop() for group in first if (several := exact.get((place(group), setting_key(group, varying))))
    }
    unmatched: dict[tuple[str, ...], list[Group]] = {}
    for (where, _), several in exact.items():
        unmatched.setdefault(where, []).extend(several)
    for group in first:
        candidates = unmatched.get(place(group), [])
        if group not in matches and (best := partner(group, candidates, varying)) is not None:
            candidates.remove(best)
            matches[group] = best
    alone = [group for group in first if group not in matches]
    pairs = [(group, matches[group]) for group in first if group in matches]
    return pairs, alone, [group for groups in unmatched.values() for group in groups]


def named(group: Group) -> str:
    """The names of a group as one text."""
    return ", ".join(group.names)


def notes_on(matched: Matched) -> tuple[str, ...]:
    """What a reader must know of the matched groups: what differs, what is missing or left out, what both sides share."""
    notes: list[str] = []
    found = [matched.comparisons.audit(*pair) for pair in matched.pairs]
    differ = [[*each.settings, *each.prevents, *each.marks] for each in found]
    common = [text for text in differ[0] if all(text in each for each in differ)] if len(differ) > 1 else []
    if common:
        notes.append(f"All pairs differ in {'; '.join(common)}.")
    for (a, b), sides, texts in zip(matched.pairs, _names_of(matched.pairs), differ, strict=True):
        if other := [text for text in texts if text not in common]:
            notes.append(f"{_both(*sides)} differ in {'; '.join(other)}.")
        for side, group, name in zip("AB", (a, b), sides, strict=True):
            of_side = name if sides[0] != sides[1] else ", ".join(filter(None, [side, name]))
            notes += [f"{of_side}: {text}." for text in reasons(group)]
    for side, alone in (("A", matched.alone_a), ("B", matched.alone_b)):
        if alone:
            names = "; ".join(dict.fromkeys(map(named, alone)))
            notes.append(f"Left out of {side}, without a counterpart: {units.plural(len(alone), 'group')}: {names}.")
    notes += matched.forgotten
    both = [{number for pair in matched.pairs for number in pair[side].execution_ids} for side in (0, 1)]
    if shared := both[0] & both[1]:
        notes.append(f"A and B share {units.plural(len(shared), 'result')}, which are left out of the differences.")
    return tuple(dict.fromkeys(notes))


def _names_of(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """The names of both sides of each pair, by what tells them from one another and from other pairs; they may be empty."""
    told, varying = telling([group for pair in pairs for group in pair]), varying_settings([a for a, _ in pairs])
    return [(name_in(a, told, varying), name_in(b, told, varying)) for a, b in pairs]


def _both(a: str, b: str) -> str:
    """Both sides of a pair as a subject; settings alone tell those of one name apart, and stand behind."""
    if a != b:
        return f"{a} and {b}"
    return f"{a}: A and B" if a else "A and B"


def absent(pairs: Iterable[tuple[Group | None, Group | None]], metric: Metric) -> str:
    """Why pairs have no difference in a metric, as `OpenQuestion.absent` says it."""
    reasons = {_absent(*pair, metric) for pair in pairs}
    return reasons.pop() if len(reasons) == 1 else NO_RESULT


def _absent(a: Group | None, b: Group | None, metric: Metric) -> str:
    if a is None or b is None or not (a.completed and b.completed):
        return NO_RESULT
    if are_the_same(a, b):
        return "the same on both sides"
    return "no valid timing" if metric.is_timing else f"no value of {metric.title}"


def are_the_same(a: Group, b: Group) -> bool:
    return bool(a.completed) and not any(group.completed for group in apart(a, b))
