"""Differences between two groups: of a metric, with its verdict, and of settings, versions and hardware."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.reporting.rows.flat_settings import describe, differing
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import PROVENANCE
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.statistics.families import judge
from benchmark.reporting.statistics.mean_difference import NOT_RESOLVED, Difference, compare


def difference(first: Group | None, second: Group | None, metric: Metric) -> Difference | None:
    """Second minus first in a metric, paired by seed; not judged yet."""
    if first is None or second is None:
        return None
    # how much a single image changes an accuracy; 0 for other metrics, and where the number of images is unknown
    counts = [row.get(metric.counted_on) for group in (first, second) for row in group.completed.values()]
    step = 1.0 / min(filter(None, counts)) if any(counts) else 0.0
    return compare(first.values(metric), second.values(metric), step=step)


def judge_all(pairs: Sequence[tuple[Group | None, Group | None]], metric: Metric) -> list[Difference | None]:
    """The judged difference of each pair in a metric, corrected for the number of pairs (see `statistics.judge`)."""
    return judge([difference(*pair, metric) for pair in pairs], higher_is_better=metric.higher_is_better)


def settings_that_differ(first: Group, second: Group) -> list[str]:
    """`learning_rate 0.001 against 0.0001`, for each setting in which two groups differ, first value first."""
    if not first.settings or not second.settings:
        return []
    differences = [
        f"{name} {describe(first.settings.get(name))} against {describe(second.settings.get(name))}"
        for name in differing(first.settings, second.settings)
    ]
    if (a := first.repetitions.of) != (b := second.repetitions.of):
        differences.append(f"what is repeated, {a} against {b}: pairs have no seed in common")
    return differences


def provenance_that_differs(first: Group, second: Group) -> list[str]:
    """`keras_version 3.4 against 3.5`, for each known version or hardware in which two groups differ."""
    pairs = [(name, provenance([first], name), provenance([second], name)) for name in PROVENANCE]
    return [f"{name} {' and '.join(a)} against {' and '.join(b)}" for name, a, b in pairs if a and b and a != b]


def provenance(groups: Iterable[Group], name: str) -> list[str]:
    """The distinct values of the completed rows in one column of `PROVENANCE`, sorted."""
    length = 10 if name == "git_commit" else None
    rows = (row for group in groups for row in group.cells)
    return sorted({str(row[name])[:length] for row in rows if row.get(name) is not None})


def note_on_mixtures(groups: Sequence[Group]) -> list[str]:
    """A note that names the versions and hardware in which the results differ; none where they agree."""
    by_backend: dict[Any, list[Group]] = {}
    for group in groups:
        by_backend.setdefault(group.settings.get("backend"), []).append(group)
    mixed = []
    for name in PROVENANCE:
        # different backends may well have different versions
        parts = by_backend.values() if name == "backend_version" else [groups]
        values = sorted(value for part in parts if len(several := provenance(part, name)) > 1 for value in several)
        if values:
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
            mixed.append(f"{name} ({shown})")
    return [f"Not all results were made alike; they differ in {'; '.join(mixed)}."] if mixed else []


def remarks_on(result: Difference | None, first: Group | None, second: Group | None, metric: Metric) -> list[str]:
    """The footnotes of a difference: how its seeds were paired, and why it is not resolved."""
    if result is None or first is None or second is None:
        return []
    remarks = []
    a, b = first.values(metric), second.values(metric)
    if result.method == "unpaired":
        remarks.append("not paired: the seeds of the two sides do not match (Welch's test)")
    elif len(a.keys() | b.keys()) > result.n:
        alone = ", ".join(map(str, sorted(a.keys() ^ b.keys())))
        remarks.append(f"paired over the {result.n} seeds that both sides have; without a partner: seed {alone}")
    if result.half_width is None:
        remarks.append("one pair of seeds has no interval and decides nothing")
    elif result.verdict == NOT_RESOLVED and result.comparisons > 1 and abs(result.mean) > result.half_width:
        remarks.append(
            f"its own interval leaves 0 out, but among {result.comparisons} comparisons one such may come by chance "
            f"(Holm: p = {result.adjusted_p:.3f})"
        )
    return remarks


def note_on_few_seeds(differences: Iterable[Difference | None]) -> list[str]:
    """A note where so few seeds were compared that the sign-flip test could not decide without assuming normality."""
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
