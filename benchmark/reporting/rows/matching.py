"""Finds the group that another one is compared with: the one whose other settings differ least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.reporting.rows.flat_settings import agree
from benchmark.reporting.rows.groups import Group


def partner(group: Group, candidates: Iterable[Group], varying: Sequence[str]) -> Group | None:
    """The candidate that agrees with the group in most of the varying settings; of equal ones, that of the latest run.

    Args:
        group: What is to be compared.
        candidates: Groups it may be compared with, such as those of another strategy.
        varying: Names of the settings that are axes of the matrix (`groups.varying_settings`).
    """

    def rank(other: Group) -> tuple[int, int]:
        return sum(agree(group.settings, other.settings, name) for name in varying), other.last_run

    return max(candidates, key=rank, default=None)


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])
