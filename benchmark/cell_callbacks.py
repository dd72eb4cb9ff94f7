"""Callbacks of trainers that report every epoch of a script: what they call its values, and when they know them.

Made by `benchmark.cell`, which knows where reports go. Each imports its library when it is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reports:
    """Where reports go: `epoch` and `progress` of `benchmark.cell`, and whether there are validation images."""

    epoch: Callable[..., None]
    progress: Callable[[int, int], None]
    validates: bool


def keras_callback(reports: Reports) -> Any:
    """A callback for Keras's `fit` that reports every epoch."""
    import keras

    class KerasCallback(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            reports.progress(batch + 1, int(self.params.get("steps") or 0))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            rate = getattr(self.model.optimizer, "learning_rate", None)
            _report_epoch(reports, epoch + 1, logs or {}, seconds=time.perf_counter() - self.began, learning_rate=rate)

    return KerasCallback()


def lightning_callback(reports: Reports) -> Any:
    """A callback for Lightning's `Trainer` that reports every epoch, from what the module logs.

    Logged as `train_loss`, `train_acc`, `val_loss`, `val_acc`, or with `accuracy` in the place of `acc`.
    """
    try:
        from lightning.pytorch import Callback as Base
    except ImportError:
        from pytorch_lightning import Callback as Base  # type: ignore[assignment,unused-ignore]

    class LightningCallback(Base):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:  # noqa: ARG002
            self.began = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:  # noqa: ARG002
            if trainer.is_global_zero:
                batches = trainer.num_training_batches
                reports.progress(number + 1, int(batches) if batches < float("inf") else 0)

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:  # noqa: ARG002
            if trainer.is_global_zero:
                rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
                spent = time.perf_counter() - self.began
                _report_epoch(
                    reports, trainer.current_epoch + 1, trainer.callback_metrics, seconds=spent, learning_rate=rate
                )

    return LightningCallback()


def hugging_face_callback(reports: Reports) -> Any:
    """A callback for the `Trainer` of Hugging Face's Transformers that reports every epoch, with its evaluation."""
    from transformers import TrainerCallback

    class HuggingFaceCallback(TrainerCallback):
        def __init__(self) -> None:
            self.logs: dict[str, Any] = {}
            self.ended: tuple[int, float] | None = None

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self.report()
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            reports.progress(state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            self.logs.update({name: value for name, value in (logs or {}).items() if name in {"loss", "learning_rate"}})

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self.ended = round(state.epoch), time.perf_counter() - self.began

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:  # noqa: ARG002
            self.logs.update({name.replace("eval_", "val_"): value for name, value in (metrics or {}).items()})

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self.report()

        def report(self) -> None:
            """The epoch that ended last: its logs and its evaluation come after `on_epoch_end`."""
            if self.ended is not None:
                number, spent = self.ended
                _report_epoch(reports, number, self.logs, seconds=spent, learning_rate=self.logs.get("learning_rate"))
            self.logs, self.ended = {}, None

    return HuggingFaceCallback()


_LOGGED = {
    "train_loss": ("train_loss", "train_loss_epoch", "loss"),
    "train_accuracy": (
        "train_accuracy",
        "train_acc",
        "train_acc_epoch",
        "accuracy",
        "acc",
        "sparse_categorical_accuracy",
        "categorical_accuracy",
    ),
    "val_loss": ("val_loss", "val_loss_epoch"),
    "val_accuracy": (
        "val_accuracy",
        "val_acc",
        "val_acc_epoch",
        "val_sparse_categorical_accuracy",
        "val_categorical_accuracy",
    ),
}
"""What frameworks and their users call the values of an epoch."""


def _report_epoch(
    reports: Reports, number: int, logs: Mapping[str, Any], *, seconds: float, learning_rate: Any
) -> None:
    values = {key: next((logs[name] for name in names if name in logs), None) for key, names in _LOGGED.items()}
    if not reports.validates:
        values["val_loss"] = values["val_accuracy"] = None
    numbers = {key: None if value is None else float(value) for key, value in values.items()}
    try:
        rate = None if learning_rate is None else float(learning_rate)
    except (TypeError, ValueError):
        rate = None  # a schedule, which gives another one for each step
    reports.epoch(**numbers, epoch=number, seconds=seconds, learning_rate=rate)
