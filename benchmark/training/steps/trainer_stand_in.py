"""What a LightningModule finds in `self.trainer`: how far training is, and how far it goes. No Trainer is behind it."""

from __future__ import annotations

from typing import Any


class TrainerStandIn:
    """Answers what a module asks of its Trainer to plan a schedule or to know the epoch; everything else is refused.

    Attributes:
        max_epochs: Epochs of the stage.
        num_training_batches: Of an epoch.
        estimated_stepping_batches: Updates of the whole stage.
        current_epoch: Of the stage, from 0.
        global_step: Updates of the stage so far.
    """

    # without results to log into, `log` does nothing
    barebones = True
    training = is_global_zero = True
    sanity_checking = validating = testing = predicting = False
    world_size = num_nodes = num_devices = 1
    global_rank = local_rank = node_rank = 0
    logger = progress_bar_callback = gradient_clip_val = gradient_clip_algorithm = None
    loggers: tuple[Any, ...] = ()
    callback_metrics: dict[str, Any] = {}  # noqa: RUF012  nothing is ever logged

    def __init__(self, epochs: int, batches: int, updates_per_epoch: int) -> None:
        self.max_epochs, self.num_training_batches = epochs, batches
        self.estimated_stepping_batches = epochs * updates_per_epoch
        self._updates_per_epoch = updates_per_epoch
        self.current_epoch = self.global_step = 0

    def begin_epoch(self, number: int) -> None:
        """Stands before an epoch of the stage, counted from 1."""
        self.current_epoch, self.global_step = number - 1, (number - 1) * self._updates_per_epoch

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"self.trainer.{name}: bench trains this module without a Trainer, and knows only max_epochs, current_epoch, global_step, "
            "num_training_batches and estimated_stepping_batches; a script with a Trainer of its own runs as a command "
            "(docs/script-cells.md)"
        )
