"""What groups of cells are about, in words: their datasets, models, strategies, varying settings and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.missing_results import name_seeds
from benchmark.units import listed

NAMES = ("dataset", "model", "strategy")

_MOST_NAMED = 5


def scope(groups: Sequence[Group], varying: Sequence[str], names: Sequence[str] = NAMES) -> str:
    """`dataset digits; models a and b; 7 strategies; seeds 0-2`.

    Args:
        groups: At least one.
        varying: The settings that tell groups of the same names apart.
        names: Which of `NAMES` to name.
    """
    parts = [named(kind, (getattr(group, kind) for group in groups)) for kind in names]
    parts += [named(name, (describe(group.settings.get(name)) for group in groups)) for name in varying]
    kinds = {group.repetitions.of for group in groups}
    seeds = {seed for group in groups for seed in [*group.completed, *(each.seed for each in group.missing)]}
    return "; ".join([*parts, name_seeds(seeds, kinds.pop() if len(kinds) == 1 else "seed")])


def telling(groups: Sequence[Group], names: Sequence[str] = NAMES) -> list[str]:
    """Which of the names tell groups from one another."""
    return [name for name in names if len({getattr(each, name) for each in groups}) > 1]


def name_in(group: Group, names: Sequence[str], varying: Sequence[str]) -> str:
    """A group by what tells it from others (`telling`), such as `cifar, simple_cnn, threads 2`; may be empty."""
    return ", ".join([*(getattr(group, name) for name in names), *group.describe(varying)])


def named(kind: str, names: Iterable[str]) -> str:
    """`dataset digits`, `models a, b and c`, `7 strategies`."""
    distinct, kind = list(dict.fromkeys(names)), kind.replace("_", " ")
    several = f"{kind[:-1]}ies" if kind.endswith("y") else kind if kind.endswith("s") else f"{kind}s"
    if len(distinct) > _MOST_NAMED:
        return f"{len(distinct)} {several if several != kind else f'values of {kind}'}"
    return f"{several if len(distinct) > 1 else kind} {listed(distinct)}"
