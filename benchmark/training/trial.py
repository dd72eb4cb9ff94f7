"""Times a few training steps and a prediction of a cell's stages on its real data; keeps no results."""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import monotonic
from typing import Any

from numpy.typing import NDArray

from benchmark import faults
from benchmark.events import Event, Progress, Tried
from benchmark.matrix.cell import Cell, Stage
from benchmark.training.augmenting.augmentation import reseed
from benchmark.training.augmenting.mixing import mixed_batch
from benchmark.training.data.dataset import Dataset
from benchmark.training.networks.network import Network
from benchmark.training.process import interrupt
from benchmark.training.stages import epoch_positions, set_trainable, stage_steps, training_model
from benchmark.training.steps.base import BatchResult, Inputs, Steps

_MIN_STEPS = 2
"""Beside the first, which is traced."""

_MAX_STEPS = 20_000
"""Keeps the event within the longest line that the scheduler reads."""


def try_stages(
    cell: Cell,
    network: Network,
    dataset: Dataset,
    numbers: Sequence[int],
    seconds: float,
    emit: Callable[[Event], object],
    *,
    allow_plugins: bool,
) -> Tried:
    """Times the stages `numbers` (counted from 1), each for `seconds` or until SIGTERM comes.

    Emits one `Progress` for each stage when its first, traced step is done. Images go through the whole network:
    features of frozen layers are neither computed nor reused.

    Side effects: trains the network, whose weights are worth nothing afterwards.
    """
    timed = [
        _Trial(cell, network, dataset, number, allow_plugins=allow_plugins).run(seconds, emit) for number in numbers
    ]
    tracing, steps, predictions, ends = zip(*timed, strict=True)
    return Tried(tracing, steps, predictions, ends[-1])


class _Trial:
    """The trial of one stage."""

    def __init__(self, cell: Cell, network: Network, dataset: Dataset, number: int, *, allow_plugins: bool) -> None:
        self._allow_plugins = allow_plugins
        self._cell = cell
        self._number = number
        self._spec: Stage = cell.stages[number - 1]
        self._dataset = dataset
        self._network = network
        self._batch_size = min(self._spec.batch_size, len(dataset.training))

    def run(self, seconds: float, emit: Callable[[Event], object]) -> tuple[float, float, float, tuple[float, ...]]:
        """Seconds of tracing, a step and a prediction, and the ends of the steps; see `events.Tried`."""
        began = monotonic()
        steps = self._steps()
        steps.begin_epoch(1)
        batches = self._batches()
        images, labels = next(batches)
        float(steps.train(images, labels).loss)  # waits for it
        # validation images, or training images where there are too few
        validation, training = self._dataset.validation, self._dataset.training
        some_images, _ = next(
            (training if len(validation) < self._batch_size else validation).batches(self._batch_size)
        )
        steps.predict(some_images)
        traced = monotonic()
        emit(Progress(self._number, 1, 0, 1))
        ends = [traced, *itertools.islice(self._ends(steps, batches, traced + seconds), _MAX_STEPS)]
        step = median(after - before for before, after in itertools.pairwise(ends))
        predict = min(timeit.repeat(lambda: steps.predict(some_images), timer=monotonic, number=1, repeat=2))
        # the times are for full batches, also where there are not enough images for one
        scale = self._spec.batch_size / self._batch_size
        return max(traced - began - step - predict, 0.0), step * scale, predict * scale, tuple(ends)

    def _steps(self) -> Steps:
        """As `fit.py` compiles them for a stage that trains on images."""
        set_trainable(self._network, self._spec.train)
        model = training_model(self._network, self._spec)
        reseed(model, self._cell.stream_seed("augment_seed"), 1)
        core, allowed = self._network.core, self._allow_plugins
        return stage_steps(self._cell, self._spec, self._dataset, model, core, allow_plugins=allowed)[0]

    def _batches(self) -> Iterator[tuple[Inputs, NDArray[Any]]]:
        """Full batches of one epoch after another, without end."""
        training = self._dataset.training
        for epoch in itertools.count(1):
            order = epoch_positions(self._cell, self._spec, training, epoch)
            whole = len(order) // self._batch_size * self._batch_size
            for batch, (images, labels) in enumerate(training.batches(self._batch_size, order[:whole]), 1):
                yield mixed_batch(self._spec, images, labels, (self._cell.stream_seed("augment_seed"), epoch, batch))

    def _ends(self, steps: Steps, batches: Iterator[tuple[Inputs, NDArray[Any]]], until: float) -> Iterator[float]:
        """The time at which each step ended; as in an epoch, each is waited for after the next was started."""
        waiting: BatchResult | None = None
        for number, (images, labels) in enumerate(batches):
            faults.point("batch")
            result = steps.train(images, labels)
            if waiting is not None:
                float(waiting.loss)
                yield monotonic()
            waiting = result
            if number >= _MIN_STEPS and (monotonic() >= until or interrupt.is_requested()):
                break
        assert waiting is not None, "the batches never end"
        float(waiting.loss)
        yield monotonic()
