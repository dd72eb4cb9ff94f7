"""Sentences about seeds without a result and timings that do not count, so that nothing is left out silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import FIT_SECONDS, has_valid_timing
from benchmark.reporting.rows.repetitions import Repetitions
from benchmark.reporting.statistics.proportions import fisher_p, wilson
from benchmark.status import UNFINISHED
from benchmark.units import listed, plural

OF_SURVIVORS = "of the survivors alone, which may flatter"

_MOST_NAMED = 4


def reasons(group: Group) -> list[str]:
    """A sentence for each reason why seeds of a group have no result.

    For example `seeds 1 and 2 failed (timeout): no progress for 300 s`.
    """
    seeds: dict[tuple[str, str], list[int]] = {}
    for missing in group.missing:
        seeds.setdefault((missing.what, missing.reason), []).append(missing.seed)
    sentences = []
    for (what, reason), numbers in seeds.items():
        count = f" ({len(numbers)} cells)" if len(numbers) > len(set(numbers)) else ""
        sentences.append(
            f"{name_seeds(set(numbers), group.repetitions.of)}{count} {what}" + (f": {reason}" if reason else "")
        )
    return sentences


def lost(group: Group) -> int:
    """How many seeds were tried and have no result; what was never begun is not lost."""
    return sum(missing.row is not None and missing.row["status"] not in UNFINISHED for missing in group.missing)


def success(group: Group) -> str:
    """How often the tried seeds came to a result, with Wilson's interval: `3 of 5 (95 % interval 0.23 to 0.88)`."""
    completed, tried = len(group.completed), len(group.completed) + lost(group)
    interval = wilson(completed, tried)
    return f"{completed} of {tried} (95 % interval {interval.low:.2f} to {interval.high:.2f})"


def note_on_losses(first: Group, second: Group) -> list[str]:
    """That a comparison is one of survivors, and whether the sides fail unequally often; none where nothing was lost."""
    if not lost(first) and not lost(second):
        return []
    p = fisher_p(*((len(group.completed), lost(group)) for group in (first, second)))
    text = f"{OF_SURVIVORS}: {success(second)} seeds completed, against {success(first)}"
    return [f"{text}, Fisher's exact p = {p:.3g}"]


def name_seeds(seeds: Collection[int], of: str = "seed") -> str:
    """Seeds in words: `seed 0`, `seeds 0 and 2`, `weights seeds 0-4 and 7`; `of` is what they are seeds of."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(seed) for seed in run]
    return f"{of.replace('_', ' ')}{'s' if len(seeds) > 1 else ''} {listed(parts)}"


def planned(groups: Iterable[Group]) -> str:
    """How many cells groups have, those without a result too: `30 cells`; `6 repetitions` where one is a mean of several."""
    groups = list(groups)
    noun = "repetition" if any(group.repetitions.averaged for group in groups) else "cell"
    return plural(sum(group.planned for group in groups), noun)


def incomplete(groups: Sequence[Group]) -> list[str]:
    """Counts the cells without a result, by what became of them; nothing where all have one."""
    counts = Counter(missing.what for group in groups for missing in group.missing)
    if not counts:
        return []
    total, each = counts.total(), ", ".join(f"{count} {what}" for what, count in counts.items())
    return [f"{total} of {planned(groups)} {'has' if total == 1 else 'have'} no result: {each}"]


def without_any(groups: Sequence[Group]) -> str:
    """Where no cell has a result, what became of them and why: `no cell has a result; all 3 diverged: the loss was NaN`."""
    reasons: dict[str, Counter[str]] = {}
    for missing in (each for group in groups for each in group.missing):
        reasons.setdefault(missing.what, Counter())[missing.reason.rstrip(".")] += 1
    parts = []
    for what, counts in reasons.items():
        ((reason, _),) = counts.most_common(1)
        mostly = ", mostly" * (len(counts) > 1)
        parts.append(f"{counts.total()} {what}" + (f"{mostly}: {reason}" if reason else ""))
    return f"no cell has a result; {'all ' * (len(parts) == 1)}{'; '.join(parts)}"


def note_on_incomplete(groups: Sequence[Group]) -> list[str]:
    """A note that counts the cells without a result; none where all have one."""
    means = " Means are of those that completed." if any(group.completed for group in groups) else ""
    return [f"{text}.{means}" for text in incomplete(groups)]


def note_on_repetitions(groups: Sequence[Group]) -> list[str]:
    """Notes on rows whose n are not seeds with all that they change: what n counts, and what ± therefore leaves out."""
    kinds: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        how = group.repetitions
        if how.averaged or how.held:
            kinds.setdefault(tuple(_on_repetitions(how)), []).append(group)
    notes = []
    for parts, members in kinds.items():
        names = "; ".join(" ".join(group.names) for group in members[:_MOST_NAMED])
        more = f" and {len(members) - _MOST_NAMED} more" if len(members) > _MOST_NAMED else ""
        where = "" if len(members) == len(groups) else f" ({names}{more})"
        notes.append(f"{', '.join(parts)}{where}.")
    return notes


def _on_repetitions(how: Repetitions) -> Iterator[str]:
    yield f"n counts values of {how.of}"
    if how.averaged:
        yield f"each of them a mean over {' and '.join(how.averaged)}, which are not independent repetitions"
    if how.crossed:
        yield f"± includes the effect of {' and '.join(how.crossed)}"
    if how.held:
        yield f"± does not include the effect of {', '.join(how.held)}, the same in all of them"


def note_on_timings(groups: Sequence[Group]) -> list[str]:
    """A note that counts the results whose timings are left out beside valid ones; none where there are none."""
    timed = [group for group in groups if group.values(FIT_SECONDS)]
    rows = [row for group in timed for row in group.cells]
    resumed = sum(bool(row.get("resumed")) for row in rows)
    disturbed = sum(not has_valid_timing(row) and not row.get("resumed") for row in rows)
    if not resumed + disturbed:
        return []
    kinds = [f"{count} {what}" for count, what in ((resumed, "resumed"), (disturbed, "disturbed")) if count]
    return [f"Timings leave out {resumed + disturbed} of {len(rows)} results: {', '.join(kinds)}."]
