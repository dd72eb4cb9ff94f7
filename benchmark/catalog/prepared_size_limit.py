"""How large the decoded images of a dataset may be: beyond that they stay compressed, and are decoded while training."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

from benchmark import units
from benchmark.catalog.channels import channels_of
from benchmark.catalog.facts import prepared_size
from benchmark.catalog.image_counts import image_counts
from benchmark.errors import UserError

LIMIT_VARIABLE = "BENCH_PREPARED_GIB"
_DEFAULT_GIB = 32.0
_SHARE_OF_FREE_DISK = 0.25


def limit_gib(variable: str, default: float, what: str) -> float:
    """The number of GiB that an environment variable says, or the default.

    Raises:
        UserError: It says no number, or a negative one.
    """
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(
            f"{variable}: expected how many GiB of {what} may be kept, 0 or more, found {text!r}; unset it for {default:g}"
        )
    return value


def prepared_limit_gib() -> float:
    """How many GiB the decoded images of a dataset may take.

    Raises:
        UserError: `BENCH_PREPARED_GIB` is no number, or a negative one.
    """
    return limit_gib(LIMIT_VARIABLE, _DEFAULT_GIB, "decoded images")


def why_too_large(size_bytes: int, folder: Path, held_bytes: int = 0) -> str | None:
    """Why images are not kept decoded: what they would take, and what there is; None where there is room for them.

    Args:
        size_bytes: Of all images of the dataset, decoded.
        folder: Where they would lie; it need not exist.
        held_bytes: How many of them lie there already.

    Raises:
        UserError: `BENCH_PREPARED_GIB` is no number.
    """
    limit = prepared_limit_gib()
    if size_bytes > limit * 2**30:
        return f"would take {units.size(size_bytes)}, more than the {limit:g} GiB of {LIMIT_VARIABLE}"
    place = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    free = shutil.disk_usage(place).free + held_bytes
    if size_bytes > _SHARE_OF_FREE_DISK * free:
        return f"would take {units.size(size_bytes)}, more than a quarter of the {units.size(free)} that are free there"
    return None


def room_note(data: Any, folder: Path) -> str | None:
    """Says that the images of a dataset will be decoded while training, and why; None where they will not, or are unknown.

    Args:
        data: As for `catalog.cache.PreparedDirectories`.
        folder: Where the dataset will be prepared.

    Raises:
        UserError: `BENCH_PREPARED_GIB` is no number.
    """
    side = prepared_size(data.source, data.image_size)
    counts = image_counts(data.source, getattr(data, "location", None), None, getattr(data, "labels_file", None))
    images = counts.all if counts else 0
    reason = why_too_large(images * side * side * channels_of(data.color), folder)
    return None if reason is None else decoded_later(data.source, reason)


def decoded_later(source: str, reason: str) -> str:
    """The note on a dataset whose images are not kept decoded."""
    return f"{source}: its images stay compressed and are decoded while training, because decoded they {reason}"
