"""What decides how long one step of training takes, and so how many threads suit a cell whose threads are `auto`.

Cells of one pace have the same network, image shape, batches, trainable layers, precision, backend and kind of device.
They may differ in data, epochs, augmentation, seed and threads. Nothing is measured here: what `threads = "auto"` comes
to on a machine is given as data (`plan.MachineKind.threads`), by this key.
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
"""What `auto` is taken for until it has been measured."""

_KEY_DIGITS = 20
_OF_CELL = ("precision", "backend", "device_kind")


def possible_threads(cores: int) -> list[int]:
    """What `auto` may come to on a machine with so many cores: 1, 2, 4, … and all of them."""
    powers = itertools.takewhile(lambda count: count < cores, (2**power for power in itertools.count()))
    return sorted({*powers, cores})


def speed_key_of(data: Data, architecture: Architecture, stages: Sequence[Stage], settings: Mapping[str, Any]) -> str:
    """The key of a pace; `settings` are those of the whole cell."""
    parts = {
        "architecture": identity_value(architecture),
        "images": [data.image_size, data.color, data.num_classes],
        "stages": [[stage.train, stage.batch_size, stage.optimizer] for stage in stages],
        **{name: settings[name] for name in _OF_CELL},
    }
    return sha256_of(canonical_json(parts).encode("ascii"))[:_KEY_DIGITS]


def speed_key_of_cell(cell: Cell) -> str:
    """The key of a cell's pace."""
    settings = {name: getattr(cell, name) for name in _OF_CELL}
    return speed_key_of(cell.data, cell.architecture, cell.stages, settings)
