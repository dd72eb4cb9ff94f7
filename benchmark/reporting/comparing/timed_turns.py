"""In which runs two groups were timed, and whether they took turns there, so that a drift of the machine cancels out."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from benchmark.reporting.rows.groups import Group, Pair
from benchmark.reporting.rows.latest import timed_in
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.statistics.timings import Timed, took_turns


def is_interleaved(pair: Pair, metric: Metric) -> bool:
    """Whether executions of both sides took turns (`timings.took_turns`); asked of timings alone."""
    if not metric.is_timing:
        return True
    together = timed_together(pair)
    return took_turns(*(_timed(group, metric, together) for group in pair))


def timed_together(pair: Pair) -> set[int]:
    """The seeds that both groups timed in the same run: those of an interrupted run, or timed again, may be in others."""
    first, second = map(runs_of, pair)
    return {seed for seed in first if seed in second and first[seed] == second[seed]}


def runs_of(group: Group) -> dict[int, Hashable]:
    """The run in which each seed of a group was timed."""
    return {seed: timed_in(row) for seed, row in group.completed.items()}


def _timed(group: Group, metric: Metric, seeds: Collection[int]) -> list[Timed]:
    """When and where each value was measured, of several cells of a seed each for itself."""
    return [
        Timed(
            (seed, number),
            timed_in(row),
            (str(row.get("timing_started_utc") or row.get("started_utc") or ""), row.get("execution_id") or 0),
        )
        for seed in group.values(metric)
        if seed in seeds
        for number, row in enumerate(group.cells_of(seed))
    ]
