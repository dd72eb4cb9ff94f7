"""Groups cells by what determines the duration of a training step, for the choice of `threads = "auto"`.

Cells with equal speed keys have the same network, image shape, batches, trainable layers, precision, backend and kind of
device. They may differ in data, epochs, augmentation, seed and threads. Nothing is measured here: `MachineKind.threads`
has the measured number of threads by speed key.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture, Cell, Data, Stage
from benchmark.matrix.identity import canonical_json, identity_value

AUTO = "auto"
ASSUMED_THREADS = 1
"""The number of threads for `auto` until it has been measured."""

_KEY_DIGITS = 20
_OF_CELL = ("precision", "backend", "device_kind")


def possible_threads(cores: int) -> list[int]:
    """Lists the numbers of threads that `auto` may become on a machine: 1, 2, 4, … and all cores."""
    powers = itertools.takewhile(lambda count: count < cores, (2**power for power in itertools.count()))
    return sorted({*powers, cores})


def speed_key_of(data: Data, architecture: Architecture, stages: Sequence[Stage], settings: Mapping[str, Any]) -> str:
    """Computes the speed key of the parts of a cell; `settings` are those of the whole cell."""
    parts = {
        "architecture": identity_value(architecture),
        "images": [data.image_size, data.color, data.num_classes],
        "stages": [[stage.train, stage.batch_size, stage.optimizer] for stage in stages],
        **{name: settings[name] for name in _OF_CELL},
    }
    return sha256_of(canonical_json(parts).encode("ascii"))[:_KEY_DIGITS]


def speed_key_of_cell(cell: Cell) -> str:
    """Computes the speed key of a cell."""
    settings = {name: getattr(cell, name) for name in _OF_CELL}
    return speed_key_of(cell.data, cell.architecture, cell.stages, settings)
