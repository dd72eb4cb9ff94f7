"""Refuses places that ask for the source's own validation split and say how one is split off as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.matrix.problems import KeyPath, Problems

SPLITS_OFF = ("validation_fraction", "folds")
"""Settings that say how a validation set is split off the training examples."""

_REFUSED = (*SPLITS_OFF, "groups")


def check_validation_split(place: Mapping[str, tuple[Any, ...]], path: KeyPath, problems: Problems) -> None:
    """Adds a problem for each setting of one place that stands beside `validation = "source"`.

    Args:
        place: All values of each setting that is written there, in normal form.
        path: Of the place.
        problems: Is added to.
    """
    if "source" not in place.get("validation", ()):
        return
    for key in _REFUSED:
        if any(value is not None for value in place.get(key, ())):
            problems.add(
                (*path, key),
                f'no `{key}` beside validation = "source" in one place',
                hint=f"the source's own validation split takes no {key}: leave one of the two out",
            )


def single_values(settings: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The settings of a place that has one value for each."""
    return {key: (value,) for key, value in settings.items()}
