"""What a cell takes at the usual speed: seconds, memory and disk, from facts about its network, without a measurement.

Training an image costs a forward pass, and backwards two products for each layer that learns: for its inputs and for its
parameters. So the time of a stage is `passes * (epochs * examples * multiply-adds + ...)`, where `passes` is 1 for a
frozen backbone and 3 where all of it learns. Right within a factor of about two (`perf/forecast.py` shows it); what a
machine has recorded scales it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.catalog.backends import runs_commands, trains
from benchmark.catalog.facts import ARCHITECTURES, architecture_facts, prepared_size
from benchmark.catalog.image_counts import ImageCounts, image_counts
from benchmark.catalog.source_files.split_names import TEST_FRACTION
from benchmark.matrix.cell import Cell, Data, Stage
from benchmark.prediction_metrics import WHOLE_BYTES

EARLY_STOPPED = 0.8
"""Share of its epochs that a stage with early stopping is expected to take."""

_AVERAGED = 0.5
"""What averaging the weights adds to an update of them."""

UNKNOWN_EXAMPLES = 10_000
"""Of a user's own source whose images cannot be counted without opening them, until the first cell has said how many there are."""

_THREADS_EXPONENT = 0.45
"""Two threads do 1.35 times the work of one, as measured with Keras's `fit` on small networks."""

_RANDAUGMENT = 3200
"""Multiply-adds that a layer of RandAugment takes as long as, for each value of an image; other augmentation is not counted."""

_POOLED_FEATURES = 1536
"""Channels that a network of Keras Applications hands to its head, about; they decide the size of the head alone."""


_COMMAND_START_SECONDS, _COMMAND_IMAGE_SECONDS = 2.0, 1e-4
"""Of a user's own program, of which nothing is known until it has run: its start, and an image in each planned epoch."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of a usual device for each unit of work.

    Attributes:
        start: For a cell: its process, opening the data, writing the results.
        epoch: For an epoch, beside its batches.
        trace: For a layer and pass, once in each stage: building and tracing.
        launch: For a layer and pass in each step.
        multiply_add: For one of them.
        update: For a parameter that learns, in each step.
    """

    start: float
    epoch: float
    trace: float = 0.0
    launch: float = 0.0
    multiply_add: float = 0.0
    update: float = 0.0


SPEEDS: Mapping[str, Speed] = {
    # one thread of a Zen 4 server with TensorFlow 2.21, another cell beside it
    "cpu": Speed(0.2, 0.003, trace=0.011, launch=60e-6, multiply_add=17e-12, update=3.5e-9),
    # not measured: a graphics processor that does 3 million million multiply-adds a second where it is kept busy
    "gpu": Speed(2.0, 0.003, trace=0.011, launch=15e-6, multiply_add=0.3e-12, update=0.05e-9),
    "none": Speed(0.03, 0.007),  # where no network is trained
}
"""By the kind of device."""


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """A network, for one image of its cell.

    Attributes:
        multiply_adds: Of the forward pass.
        activations: Numbers that all layers hand on.
        backbone_parameters, head_parameters: Before the head, and in it.
        layers: How many there are.
    """

    multiply_adds: float
    activations: float
    backbone_parameters: float
    head_parameters: float
    layers: int

    @property
    def parameters(self) -> float:
        return self.backbone_parameters + self.head_parameters


@dataclass(frozen=True, slots=True)
class StageCost:
    """Seconds of one stage: `begin` before its first batch (tracing), and `epoch` for each of about `epochs` epochs."""

    begin: float
    epoch: float
    epochs: float

    @property
    def total(self) -> float:
        return self.begin + self.epochs * self.epoch


@dataclass(frozen=True, slots=True)
class CellCost:
    """Seconds of a cell in the order in which they come: before training, its stages, and after them."""

    start: float
    stages: tuple[StageCost, ...]
    end: float

    def total(self, epochs: float | None = None) -> float:
        """Of the whole cell; with the number of epochs that it really took, where that is known."""
        expected = sum(stage.epochs for stage in self.stages)
        share = 1.0 if epochs is None or not expected else epochs / expected
        return self.start + self.end + sum(stage.begin + share * stage.epochs * stage.epoch for stage in self.stages)


def cost_of(cell: Cell) -> CellCost:
    """Seconds of the cell on a machine of the usual speed."""
    if runs_commands(cell.backend):
        epoch = examples_of(cell.data).training * _COMMAND_IMAGE_SECONDS
        stages = tuple(StageCost(0.0, epoch, _epochs(stage)) for stage in cell.stages)
        return CellCost(_COMMAND_START_SECONDS, stages, 0.0)
    if not trains(cell.backend):
        speed = SPEEDS["none"]
        return CellCost(speed.start, tuple(StageCost(0.0, speed.epoch, _epochs(stage)) for stage in cell.stages), 0.0)
    speed, network, examples = SPEEDS[cell.device_kind], network_of(cell), examples_of(cell.data)
    faster = math.pow(cell.threads, _THREADS_EXPONENT)

    def batches(images: int, size: int, passes: float) -> float:
        arithmetic = images * network.multiply_adds * speed.multiply_add / faster
        return passes * (arithmetic + math.ceil(images / size) * network.layers * speed.launch)

    def stage_cost(stage: Stage) -> StageCost:
        passes = 1 + 2 * learning_share(stage, network)
        steps = math.ceil(examples.training / stage.batch_size)
        updates = (
            steps * learning_parameters(stage, network) * speed.update / faster * (1 + _AVERAGED * bool(stage.ema))
        )
        augmentation = examples.training * augmenting_seconds(stage, cell)
        training = batches(examples.training, stage.batch_size, passes) + updates + augmentation
        validation = batches(examples.validation, stage.batch_size, 1)
        return StageCost(network.layers * passes * speed.trace, speed.epoch + training + validation, _epochs(stage))

    end = batches(examples.test * (1 + cell.tta), cell.stages[-1].batch_size, 1)
    return CellCost(speed.start, tuple(map(stage_cost, cell.stages)), end)


def network_of(cell: Cell) -> NetworkCost:
    """The cell's network, scaled from what is known of its architecture at its usual size and width."""
    facts, given, data = ARCHITECTURES.get(cell.architecture.name), dict(cell.architecture.parameters), cell.data
    usual = architecture_facts(cell.architecture.name).backbone
    filters = given.get("filters") or usual.filters
    pixels = (data.image_size / usual.image_size) ** 2
    features = filters[-1] if filters else _POOLED_FEATURES
    if facts and facts.size_dependent:
        features *= (data.image_size // 2 ** len(filters)) ** 2
    hidden = given.get("dense_units") or 0
    head = (features + 1) * hidden + (hidden + 1) * data.num_classes if hidden else (features + 1) * data.num_classes
    return NetworkCost(
        multiply_adds=usual.multiply_adds * pixels * _relative_width(filters, usual.filters, shrink=4) + head,
        activations=usual.activations * pixels * math.sqrt(_relative_width(filters, usual.filters, shrink=4)),
        backbone_parameters=usual.parameters * _relative_width(filters, usual.filters, shrink=1),
        head_parameters=head,
        layers=facts.backbone_layers({"filters": filters}) if facts else usual.layers,
    )


def _relative_width(filters: tuple[int, ...], usual: tuple[int, ...], *, shrink: float) -> float:
    """Work or parameters of blocks of these widths against the usual ones; each has `shrink` times fewer pixels."""

    def work(widths: tuple[int, ...]) -> float:
        return sum(width * width / shrink**block for block, width in enumerate(widths))

    return work(filters) / work(usual) if usual else 1.0


def augmenting_seconds(stage: Stage, cell: Cell) -> float:
    """Seconds that augmenting an image takes in a stage of a cell that trains a network, at the usual speed."""
    randaugment = dict(dict(stage.augment).get("randaugment", ()))
    values = prepared_size(cell.data.source, cell.data.image_size) ** 2 * cell.data.channels
    multiply_adds = _RANDAUGMENT * randaugment.get("layers", 0) * values
    return float(multiply_adds * SPEEDS[cell.device_kind].multiply_add / math.pow(cell.threads, _THREADS_EXPONENT))


def learning_share(stage: Stage, network: NetworkCost) -> float:
    """Share of the backbone that gradients go through, 0..1."""
    if stage.train == "all":
        return 1.0
    return min(int(stage.train.removeprefix("last:")) / network.layers, 1.0) if ":" in stage.train else 0.0


def learning_parameters(stage: Stage, network: NetworkCost) -> float:
    """How many parameters the stage updates in each step."""
    return network.head_parameters + learning_share(stage, network) * network.backbone_parameters


def usual_peak_bytes(cell: Cell) -> float:
    """Most main memory of the cell's process: libraries, parameters and their moments, activations of one batch."""
    if runs_commands(cell.backend):
        return 5e8
    if not trains(cell.backend):
        return 3e7
    network = network_of(cell)
    learning = max(learning_parameters(stage, network) for stage in cell.stages)
    batch = max(stage.batch_size * learning_share(stage, network) for stage in cell.stages)
    return 4e8 + 3e5 * network.layers + 18 * network.parameters + 30 * learning + 8 * batch * network.activations


def stored_bytes(cell: Cell) -> int:
    """What the cell leaves on the disk: weights, history, predictions, and what `save` asks for."""
    if not trains(cell.backend):
        return 4096
    # an index, two labels and half-precision probabilities for each test image; a record of 400 characters an epoch
    predictions = examples_of(cell.data).test * (8 + 2 * cell.data.num_classes * (2 if cell.tta else 1))
    predictions = min(predictions, WHOLE_BYTES)
    if runs_commands(cell.backend):
        return predictions + 400 * cell.epochs + 8192
    network = network_of(cell)
    files = 1 + sum(kind in {"model", "h5"} for kind in cell.save)
    return round(4 * network.parameters * files) + predictions + 400 * cell.epochs + 256 * network.layers + 8192


@dataclass(frozen=True, slots=True)
class Examples:
    """How many images a cell trains on, validates on and is tested on."""

    training: int
    validation: int
    test: int


def examples_of(data: Data) -> Examples:
    """From what is known of the source; a guess for a user's own files."""
    counts = counted(data) or ImageCounts(UNKNOWN_EXAMPLES, UNKNOWN_EXAMPLES // 5)
    everything, test = counts.training, counts.test
    if test is None:
        test = round(everything * (data.test_fraction or TEST_FRACTION))
        everything -= test
    everything = data.train_examples or everything
    if data.validation == "source":
        validation = counts.validation or everything // 10
        return Examples(everything, validation, data.test_examples or test)
    validation = round(everything * data.validation_fraction)
    return Examples(everything - validation, validation, data.test_examples or test)


def counted(data: Data) -> ImageCounts | None:
    """How many images the source of a cell has; None where that is unknown."""
    return image_counts(data.source, data.location, data.classes, data.labels_file)


def _epochs(stage: Stage) -> float:
    return stage.epochs * EARLY_STOPPED if stage.early_stopping and stage.epochs > 1 else float(stage.epochs)
