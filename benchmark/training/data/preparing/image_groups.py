"""Groups of images, such as patients and sites: reads their names as sources give them, and numbers them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.training.data.preparing.sources import DatasetRequest


def group_text(value: Any) -> str:
    """The name of a group: a text, bytes of UTF-8, or a number.

    Raises:
        ValueError: It is none of these, or not a number.
    """
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.size(value) == 1 else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "surrogateescape")
    if not isinstance(plain, str | int | float) or (isinstance(plain, float) and math.isnan(plain)):
        raise ValueError(f"expected a text or a number, the group of an image, found {plain!r:.60}")
    return str(plain)


def numbered_groups(groups: Mapping[str, Sequence[str]], request: DatasetRequest) -> dict[str, NDArray[Any]]:
    """The number of each image's group, by part; empty where no groups are asked for.

    Args:
        groups: Of the images of each part that the source itself sets apart.
        request: Names the groups.

    Raises:
        DataError: One is in two parts.
    """
    if request.groups is None:
        return {}
    homes: dict[str, str] = {}
    for part, values in groups.items():
        for value in dict.fromkeys(values):
            if homes.setdefault(value, part) != part:
                both = len(set(groups[homes[value]]) & set(values))
                raise DataError(
                    f"{request.source}: the group {value!r} of `{request.groups}` is in {homes[value]} and in {part}"
                    f"{f', as {both - 1} more are' if both > 1 else ''}: expected each group in one split; set groups = false, or "
                    "correct the splits"
                )
    names = sorted(homes)
    return {part: np.searchsorted(names, values) for part, values in groups.items()}
