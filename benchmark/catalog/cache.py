"""Where caches lie: pure path computations, so that the scheduler can name a prepared dataset without opening one."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import platformdirs

PREPARATION_VERSION = 1
"""Raised when the same source would be decoded to other arrays; part of every prepared dataset's path."""


def default_cache_root() -> Path:
    """`$BENCH_CACHE`, else the platform's cache folder for `bench`. Creates nothing."""
    chosen = os.environ.get("BENCH_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("bench")


def prepared_directory(source: str, image_size: int, color: str, cache_root: str | os.PathLike[str]) -> Path:
    """The folder that the prepared arrays of one source, size and colour lie in, whether it exists or not.

    The readable part of the name is for people; the hash alone tells sources apart, so that a user's path in
    `folder:PATH` never becomes part of a path here.

    Args:
        source: `digits`, `tfds:NAME`, `folder:PATH` or `npz:PATH`.
        image_size: Height and width in pixels.
        color: `grey` or `rgb`.
        cache_root: See `default_cache_root`.
    """
    key = json.dumps([PREPARATION_VERSION, source, image_size, color], ensure_ascii=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    kind, _, name = source.partition(":")
    word = name if kind == "tfds" else kind
    readable = re.sub(r"[^a-z0-9]+", "_", word.lower())[:40].strip("_") or "data"
    return Path(cache_root) / "prepared" / f"{readable}-{image_size}-{color}-{digest}"
