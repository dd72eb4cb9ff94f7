"""Finds the group that another one is compared with: the one whose other settings differ least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.flat_settings import key_of
from benchmark.reporting.rows.groups import Group


def partner(group: Group, candidates: Iterable[Group], varying: Sequence[str]) -> Group | None:
    """The candidate that agrees with the group in most of the varying settings; of equal ones, that of the latest run.

    Args:
        group: What is to be compared.
        candidates: Groups it may be compared with, such as those of another strategy.
        varying: Names of the settings that are axes of the matrix (`groups.varying_settings`).
    """
    ranked = sorted(candidates, key=lambda each: (-agreement(group, each, varying), -each.last_run))
    return ranked[0] if ranked else None


def agreement(first: Group, second: Group, varying: Sequence[str]) -> int:
    """In how many of the varying settings two groups agree."""

    def value(group: Group, name: str) -> str:
        return key_of({"": group.settings.get(name)})

    return sum(value(first, name) == value(second, name) for name in varying)


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])


def on_same(first: Group, groups: Iterable[Group], strategy: str) -> list[Group]:
    """The groups of a strategy on the same dataset and model."""
    names = (first.dataset, first.model, strategy)
    return [group for group in groups if group.names == names]
