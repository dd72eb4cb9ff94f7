"""A stage while it is trained: its specification, and everything that was made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from benchmark.matrix.cell import Stage
from benchmark.training.callbacks import StageCallbacks
from benchmark.training.data.dataset import Dataset
from benchmark.training.own_callbacks import StageHooks
from benchmark.training.steps.base import Steps
from benchmark.training.weight_average import WeightAverage


@dataclass(slots=True)
class RunningStage:
    """A stage that is being trained, on images or on the features of its frozen layers.

    Attributes:
        number: Counted from 1.
        model: What random states are set in: the core behind the augmentation, also where features are trained on.
        average: Of the weights, where it is what is scored and kept.
        hooks: The user's own callbacks.
        fresh: Whether no epoch was trained yet, so that the first one includes tracing.
        unkept: Whether a callback holds what no state can hold.
    """

    number: int
    spec: Stage
    callbacks: StageCallbacks
    dataset: Dataset
    on_features: bool
    model: keras.Model
    optimizer: Any
    steps: Steps
    average: WeightAverage | None
    hooks: StageHooks
    fresh: bool = True
    unkept: bool = False

    @property
    def is_scheduled(self) -> bool:
        """Whether the learning rate is set anew before each update, and not by the callbacks."""
        return self.spec.schedule != "constant"
