"""What a cell has to do, counted: the quantities that its time, memory and disk follow from, without any measurement.

The time of a cell is a sum over these quantities, each times a coefficient of the machine (`regression.py`):

    attempt     1 for each cell: the process, opening the data, writing the results
    epochs      what every epoch costs beside its batches
    built       layers of the network, once
    traced      layers traced for training, backwards too, and for prediction, in every stage
    arithmetic  thousand million multiply-adds, forwards and backwards
    traffic     thousand million numbers that layers hand on
    updates     thousand million parameters, each updated in every step
    launches    million layers executed, in every step
    stored      million parameters written and read
    augmented   million pixels, for each random transformation
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.catalog.facts import SOURCES
from benchmark.catalog.operations import Layer, Operations, operations_of
from benchmark.matrix.cell import Cell, Data, Stage

QUANTITIES = (
    "attempt", "epochs", "built", "traced", "arithmetic", "traffic", "updates", "launches", "stored", "augmented",
)  # fmt: skip

Quantities = tuple[float, ...]
"""One number for each of `QUANTITIES`."""

NOTHING: Quantities = (0.0,) * len(QUANTITIES)

EARLY_STOPPED = 0.8
"""Share of its epochs that a stage with early stopping is expected to take."""

_UNKNOWN_EXAMPLES = 10_000
"""Of a user's own source, until the first cell has said how many there are."""

_THREADS_EXPONENT = 0.45
"""Two threads do 1.35 times the work of one, as measured with Keras's `fit` on small networks."""

_TRACED_BACKWARDS = 3.5
"""Tracing gradient and update of a layer takes so many times as long as tracing the layer, as measured."""

_TRACED_AUGMENTATION = 12
"""Layers that one random transformation counts as while it is traced."""

_STEM_LAYERS = 6
"""Layers beside those of backbone and head: inputs, preprocessing."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """One stage: `begin` before its first batch (tracing), and `epoch` for each of about `epochs` epochs."""

    begin: Quantities
    epoch: Quantities
    epochs: float


@dataclass(frozen=True, slots=True)
class CellWork:
    """The quantities of a cell, in the order in which they come: before training, its stages, and after them."""

    start: Quantities
    stages: tuple[StageWork, ...]
    end: Quantities

    def total(self, epochs: float | None = None) -> Quantities:
        """Of the whole cell; with the number of epochs that it really took, where that is known."""
        expected = sum(stage.epochs for stage in self.stages)
        share = 1.0 if epochs is None or not expected else epochs / expected
        parts = [self.start, self.end, *(stage.begin for stage in self.stages)]
        return added(*parts, *(scaled(stage.epoch, stage.epochs * share) for stage in self.stages))


def added(*parts: Quantities) -> Quantities:
    return tuple(map(sum, zip(*parts, strict=True)))


def scaled(quantities: Quantities, factor: float) -> Quantities:
    return tuple(value * factor for value in quantities)


def work_of(cell: Cell) -> CellWork:
    """What the cell has to do. Of a network that only its author knows, nothing but epochs is counted."""
    if cell.backend == "fake":
        stages = tuple(StageWork(NOTHING, _counted(epochs=1), _expected(stage)) for stage in cell.stages)
        return CellWork(_counted(attempt=1), stages, NOTHING)
    examples = examples_of(cell.data)
    operations = _operations(cell) or Operations((), ())
    layers = [*operations.backbone, *operations.head]
    speed = cell.threads**_THREADS_EXPONENT
    tests = examples.test * (1 + cell.tta)
    end = _forward(layers, tests, _steps(tests, cell.stages[-1].batch_size), speed)
    stored = sum(layer.parameters for layer in layers) / 1e6
    built = len(layers) + _STEM_LAYERS
    return CellWork(
        start=_counted(attempt=1, built=built, stored=stored),
        stages=tuple(_stage_work(stage, operations, examples, speed, cell.data) for stage in cell.stages),
        end=end,
    )


def peak_work_of(cell: Cell) -> tuple[float, ...]:
    """What main memory follows from: 1, layers, parameters, parameters that learn, numbers in one batch (millions)."""
    operations = None if cell.backend == "fake" else _operations(cell)
    if operations is None:
        return (1.0, 0.0, 0.0, 0.0, 0.0)
    layers = [*operations.backbone, *operations.head]
    learning = max(sum(layer.trainable for layer in _learning(stage, operations)) for stage in cell.stages)
    batch = max(
        stage.batch_size * sum(layer.outputs for layer in (_learning(stage, operations) or layers[-1:]))
        for stage in cell.stages
    )
    everything = sum(layer.parameters for layer in layers)
    return (1.0, len(layers) + _STEM_LAYERS, everything / 1e6, learning / 1e6, batch / 1e6)


def stored_bytes(cell: Cell) -> int:
    """What the cell leaves on the disk: weights, history, predictions, and what `save` asks for."""
    if cell.backend == "fake":
        return 4096
    operations = _operations(cell)
    layers = [*operations.backbone, *operations.head] if operations else []
    weights = 4 * sum(layer.parameters for layer in layers)
    whole = sum(kind in {"model", "h5"} for kind in cell.save)
    # an index, two labels and half-precision probabilities for each test image; a record of 400 characters an epoch
    predictions = examples_of(cell.data).test * (8 + 2 * cell.data.num_classes * (2 if cell.tta else 1))
    return weights * (1 + whole) + predictions + 400 * cell.epochs + 256 * len(layers) + 8192


def state_bytes(cell: Cell) -> int:
    """What it needs on the disk while it runs: two states of weights, best weights, and an optimizer's two moments."""
    learnt = peak_work_of(cell)
    return round(2 * 4e6 * (2 * learnt[2] + 2 * learnt[3]))


@dataclass(frozen=True, slots=True)
class Examples:
    """How many images a cell trains on, validates on and is tested on."""

    training: int
    validation: int
    test: int


def examples_of(data: Data) -> Examples:
    """From what is known of the source; a guess for a user's own files."""
    facts = SOURCES.get(data.source)
    if facts is None:
        everything, test = _UNKNOWN_EXAMPLES, _UNKNOWN_EXAMPLES // 5
    else:
        classes = range(len(facts.class_names)) if data.classes is None else data.classes
        everything = sum(facts.train_per_class[label] for label in classes)
        test = sum(facts.test_per_class[label] for label in classes)
    everything = data.train_examples or everything
    validation = round(everything * data.validation_fraction)
    return Examples(everything - validation, validation, data.test_examples or test)


def _operations(cell: Cell) -> Operations | None:
    one, data = cell.architecture, cell.data
    return operations_of(one.name, one.parameters, data.image_size, data.channels, data.num_classes)


def _expected(stage: Stage) -> float:
    return stage.epochs * EARLY_STOPPED if stage.early_stopping and stage.epochs > 1 else float(stage.epochs)


def _steps(examples: int, batch_size: int) -> int:
    return math.ceil(examples / batch_size)


def _learning(stage: Stage, operations: Operations) -> Sequence[Layer]:
    """The layers that gradients go through."""
    if stage.train == "all":
        return [*operations.backbone, *operations.head]
    count = int(stage.train.removeprefix("last:")) if stage.train.startswith("last:") else 0
    return [*operations.backbone[max(len(operations.backbone) - count, 0) :], *operations.head]


def _stage_work(stage: Stage, operations: Operations, examples: Examples, speed: float, data: Data) -> StageWork:
    layers, learning = [*operations.backbone, *operations.head], _learning(stage, operations)
    if stage.train == "all":
        learning = layers
    steps = _steps(examples.training, stage.batch_size)
    transformations = sum(1 for _, value in stage.augment if value)
    # backwards each layer computes two products, for its inputs and for its parameters
    back = sum(layer.multiply_adds for layer in learning) * 2 * examples.training
    training = _counted(
        epochs=1,
        arithmetic=back / 1e9 / speed,
        traffic=sum(layer.outputs for layer in learning) * 2 * examples.training / 1e9 / speed,
        updates=sum(layer.trainable for layer in learning) * steps / 1e9 / speed,
        launches=len(learning) * steps / 1e6,
        augmented=transformations * examples.training * data.image_size**2 * data.channels / 1e6 / speed,
    )
    forward = _forward(layers, examples.training, steps, speed)
    checked = _forward(layers, examples.validation, _steps(examples.validation, stage.batch_size), speed)
    traced = 2 * len(layers) + _TRACED_BACKWARDS * len(learning) + _TRACED_AUGMENTATION * transformations
    return StageWork(_counted(traced=traced), added(training, forward, checked), _expected(stage))


def _forward(layers: Sequence[Layer], images: int, steps: int, speed: float) -> Quantities:
    return _counted(
        arithmetic=sum(layer.multiply_adds for layer in layers) * images / 1e9 / speed,
        traffic=sum(layer.outputs for layer in layers) * images / 1e9 / speed,
        launches=len(layers) * steps / 1e6,
    )


def _counted(**values: float) -> Quantities:
    return tuple(float(values.get(name, 0.0)) for name in QUANTITIES)
