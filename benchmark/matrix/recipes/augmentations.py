"""How a matrix writes random changes of training images: the transformations, and the strengths of each.

`training/augmenting/augmentation.py` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.matrix.problems import INVALID, KeyPath, Problems
from benchmark.matrix.values import Choice, Integer, Kind, Number, number_hint, read_table


@dataclass(frozen=True)
class RandAugmentation:
    """A magnitude, or a table of `layers` (2) and `magnitude` (0.3); 0, which is also false, where nothing is done."""

    expected: str = "a magnitude from 0 to 1, or a table of layers, magnitude"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False:
            return 0
        if not isinstance(value, dict):
            normal = _MAGNITUDE.read(value, path, Problems())
            if normal is INVALID:
                return problems.add(path, self.expected, value, number_hint(value))
            value = {"magnitude": normal}
        fields = read_table(value, path, problems, self.expected, {"layers": Integer(0, 16), "magnitude": _MAGNITUDE})
        if fields is INVALID:
            return INVALID
        table = {"layers": 2, "magnitude": 0.3, **fields}
        return tuple(sorted(table.items())) if all(table.values()) else 0


_MAGNITUDE = Number(0, 1)
AUGMENTATIONS: dict[str, Kind] = {
    "flip": Choice(("horizontal", "vertical", "both")),
    "rotation": Number(0, 1),
    "zoom": Number(0, 1),
    "translation": Number(0, 1),
    "contrast": Number(0, 1),
    "brightness": Number(0, 1),
    "color_jitter": Number(0, 1),
    "grayscale": Number(0, 1),
    "erase": Number(0, 1),
    "random_crop": Integer(0, 1024),
    "randaugment": RandAugmentation(),
}


@dataclass(frozen=True)
class Augmentation:
    """A table of random transformations; one of strength 0 is left out."""

    expected: str = f"false, or a table of {', '.join(AUGMENTATIONS)}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False:
            return ()
        fields = read_table(value, path, problems, self.expected, AUGMENTATIONS)
        return fields if fields is INVALID else tuple(sorted((k, v) for k, v in fields.items() if v != 0))
