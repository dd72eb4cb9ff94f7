"""Users' images and archives, and what becomes of them: what tests of users' own data share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import DataError
from benchmark.training.programs.prepare import prepare


def draw(path: Path, value: int = 100, size: tuple[int, int] = (12, 10), mode: str = "RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if len(mode) == 1 else (value,) * len(mode)).save(path, **options)


def classes(root: Path, counts: dict[str, int]) -> Path:
    """Class folders with so many pictures, each of its own brightness."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(root / name / f"{number:02}.png", 10 * label + number)
    return root


def prepared(root: Path | None, cache: Path, source: str = "folder:own", **changes):
    wish = {"image_size": 8, "color": "grey", **({} if root is None else {"location": str(root)}), **changes}
    directory = prepare(source, wish.pop("image_size"), wish.pop("color"), cache, **wish)
    arrays = {path.stem: np.load(path) for path in directory.glob("*.npy")}
    return arrays, json.loads((directory / "meta.json").read_text())


def refusal(root: Path | None, cache: Path, source: str = "folder:own", **changes) -> str:
    with pytest.raises(DataError) as caught:
        prepared(root, cache, source, **changes)
    return str(caught.value)
