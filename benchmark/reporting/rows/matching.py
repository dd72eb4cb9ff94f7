"""Which group is compared with which: the one that differs least in everything that is not the question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.varying_settings import key_of


def partner(group: Group, candidates: Iterable[Group], varying: Sequence[str]) -> Group | None:
    """The candidate that agrees with the group in most of the varying settings; the latest one among equals.

    Args:
        group: What is to be compared.
        candidates: Groups that answer the question, such as those of another strategy.
        varying: Names of the settings that are axes of the matrix (`groups.varying_settings`).
    """
    ranked = sorted(candidates, key=lambda each: (-agreement(group, each, varying), -each.last_run))
    return ranked[0] if ranked else None


def agreement(first: Group, second: Group, varying: Sequence[str]) -> int:
    return sum(coordinate(first, name) == coordinate(second, name) for name in varying)


def coordinate(group: Group, name: str) -> str:
    return key_of({"": group.settings.get(name)})


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])


def on_same(first: Group, groups: Iterable[Group], strategy: str) -> list[Group]:
    """The groups of a strategy on the same dataset and model."""
    names = (first.dataset, first.model, strategy)
    return [group for group in groups if group.names == names]
