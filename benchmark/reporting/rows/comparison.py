"""Two groups side by side: the difference of a metric with its verdict, and what else differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import PROVENANCE
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.rows.varying_settings import describe, differing
from benchmark.reporting.statistics import NOT_RESOLVED, Difference, compare, judge


def difference(first: Group | None, second: Group | None, metric: Metric) -> Difference | None:
    """How much the second group lies above the first, paired by seed; not judged yet."""
    if first is None or second is None:
        return None
    return compare(first.values(metric), second.values(metric), step=_step((first, second), metric))


def _step(groups: Sequence[Group], metric: Metric) -> float:
    """What one image more or less changes in an accuracy; 0 where nobody knows."""
    if not metric.counted_on:
        return 0.0
    counts = [row.get(metric.counted_on) for group in groups for row in group.completed.values()]
    known = [count for count in counts if count]
    return 1.0 / min(known) if known else 0.0


def judge_all(pairs: Sequence[tuple[Group | None, Group | None]], metric: Metric) -> list[Difference | None]:
    """The judged difference of each pair in one metric: one family of comparisons, corrected for their number."""
    return judge([difference(*pair, metric) for pair in pairs], higher_is_better=metric.higher_is_better)


def settings_that_differ(first: Group, second: Group) -> list[str]:
    """`learning_rate 0.001 against 0.0001`, for each setting in which two groups differ, first value first."""
    if not first.settings or not second.settings:
        return []
    return [
        f"{name} {describe(first.settings.get(name))} against {describe(second.settings.get(name))}"
        for name in differing(first.settings, second.settings)
    ]


def provenance_that_differs(first: Group, second: Group) -> list[str]:
    """The same for what the groups were run with: versions, hardware."""
    found = []
    for name in PROVENANCE:
        one, two = provenance([first], name), provenance([second], name)
        if one and two and one != two:
            found.append(f"{name} {' and '.join(one)} against {' and '.join(two)}")
    return found


def provenance(groups: Iterable[Group], name: str) -> list[str]:
    """All that the completed rows of these groups have in one column of `PROVENANCE`, sorted."""
    rows = (row for group in groups for row in group.completed.values())
    return sorted({_short(name, row[name]) for row in rows if row.get(name) is not None})


def _short(name: str, value: object) -> str:
    return str(value)[:10] if name == "git_commit" else str(value)


def note_on_mixtures(groups: Sequence[Group]) -> list[str]:
    """One note when the results were not all made with the same versions and hardware."""
    mixed = []
    for name in PROVENANCE:
        values = _mixed_backends(groups) if name == "backend_version" else provenance(groups, name)
        if len(values) > 1:
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
            mixed.append(f"{name} ({shown})")
    return [f"Not all results were made alike; they differ in {'; '.join(mixed)}."] if mixed else []


def _mixed_backends(groups: Sequence[Group]) -> list[str]:
    """The versions of backends of which there are several; that one backend is not another is no mixture."""
    versions: dict[object, list[str]] = {}
    for backend in {group.settings.get("backend") for group in groups}:
        alike = [group for group in groups if group.settings.get("backend") == backend]
        versions[backend] = provenance(alike, "backend_version")
    return sorted(version for found in versions.values() if len(found) > 1 for version in found)


def remarks_on(result: Difference | None, first: Group | None, second: Group | None, metric: Metric) -> list[str]:
    """What a reader must know about one difference, for its footnote."""
    if result is None or first is None or second is None:
        return []
    found = []
    one, two = first.values(metric), second.values(metric)
    if result.method == "unpaired":
        found.append("not paired: the seeds of the two sides do not match (Welch's test)")
    elif len(one.keys() | two.keys()) > result.n:
        alone = ", ".join(map(str, sorted(one.keys() ^ two.keys())))
        found.append(f"paired over the {result.n} seeds that both sides have; without a partner: seed {alone}")
    if result.half_width is None:
        found.append("one pair of seeds has no interval and decides nothing")
    elif result.verdict == NOT_RESOLVED and result.comparisons > 1 and abs(result.mean) > result.half_width:
        found.append(
            f"its own interval leaves 0 out, but among {result.comparisons} comparisons one such may come by chance "
            f"(Holm: p = {result.adjusted_p:.3f})"
        )
    return found


def note_on_few_seeds(differences: Iterable[Difference | None]) -> list[str]:
    """What an interval from few seeds rests on: the t test assumes normal differences, which few seeds cannot show."""
    reach = [each for each in differences if each and each.half_width is not None and each.sign_flip_p is not None]
    few = [each for each in reach if (each.least_sign_flip_p or 0) >= 0.05]
    if not few:
        return []
    least = min(each.least_sign_flip_p or 1.0 for each in few)
    pairs = max(each.n for each in few)
    return [
        (
            f"Verdicts assume that differences between seeds are about normal. With {pairs} pairs a test without that "
            f"assumption (sign flips) cannot go below p = {least:g}; six seeds or more can decide without it."
        )
    ]
