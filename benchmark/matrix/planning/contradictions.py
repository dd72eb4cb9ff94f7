"""Says which settings of stages exclude each other: a mistake of whoever wrote them, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Stage
from benchmark.matrix.problems import quoted
from benchmark.matrix.recipes.loss import BINARY, is_binary
from benchmark.matrix.recipes.optimizers import DECIDED_BY_MODULE, OPTIMIZERS, OWN_SETTINGS, optimizers_with
from benchmark.prediction_metrics import FURTHER_NAMES, METRICS, NAMES_OF_SEVERAL, VAL


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A setting that cannot be what it is beside another of its stage.

    Attributes:
        key: The setting.
        expected: What it may be there.
        found: What it is, in normal form.
        cure: What to change.
    """

    key: str
    expected: str
    found: Any
    cure: str


def decided_twice(model: str, written: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Yields the settings of a stage that the matrix writes, and does not switch off, although a LightningModule decides them."""
    for name in DECIDED_BY_MODULE:
        if written.get(name) not in {None, False}:
            yield Contradiction(
                name,
                f"no `{name}` for the model {model}, a LightningModule, which decides it itself",
                written[name],
                "leave it out, or write it for the other models alone, in [[matrix.override]]",
            )


def contradictions(
    stages: Sequence[Stage], *, keep: str, monitor: str, multi_label: bool = False
) -> Iterator[Contradiction]:
    """Yields all contradictions in the stages of a cell, between them, and with images that may have several labels."""
    for stage in stages:
        yield from _in_stage(stage)
        if multi_label:
            yield from _of_several_labels(stage)
    yield from _between(stages, keep, monitor)
    known = NAMES_OF_SEVERAL if multi_label else FURTHER_NAMES
    others = {*METRICS} - {"accuracy", "loss", *known}
    if monitor.removeprefix(VAL) in others:
        images = "with several labels" if multi_label else "with one label"
        yield Contradiction("monitor", f"a metric of images {images}", monitor, f"metrics are {', '.join(known)}")


def _between(stages: Sequence[Stage], keep: str, monitor: str) -> Iterator[Contradiction]:
    losses = [stage.loss for stage in stages]
    if len(set(losses)) == 1:
        return
    if is_binary(stages):
        other = next(loss for loss in losses if loss != BINARY)
        yield Contradiction(
            "loss",
            f"{quoted(BINARY)} in every stage or in none, because the network ends in a sigmoid with it",
            other,
            "set it for the strategy, not for one of its stages",
        )
    elif keep == "best" and monitor == "val_loss":
        yield Contradiction(
            "loss",
            'the same in every stage beside monitor = "val_loss", which compares the epochs of all stages',
            losses[-1],
            'set monitor = "val_log_loss", "val_accuracy" or another metric, or one loss for all stages',
        )


def _of_several_labels(stage: Stage) -> Iterator[Contradiction]:
    if stage.loss != BINARY:
        yield Contradiction(
            "loss",
            f"{quoted(BINARY)} for images with several labels, each of which is there or not",
            stage.loss,
            f"leave it out: {quoted(BINARY)} is their default",
        )
    for name in ("class_weights", "sampling"):
        if (value := getattr(stage, name)) is not None:
            yield Contradiction(
                name, "false for images with several labels, which have no class of their own", value, "leave it out"
            )


def _in_stage(stage: Stage) -> Iterator[Contradiction]:
    if stage.schedule != "constant" and stage.reduce_learning_rate is not None:
        yield Contradiction(
            "schedule",
            'no schedule but "constant" beside reduce_learning_rate in one stage',
            stage.schedule,
            "both set the learning rate: write reduce_learning_rate = false, or leave the schedule out",
        )
    for name in OWN_SETTINGS:
        value = getattr(stage, name)
        if value not in {None, False} and name not in OPTIMIZERS.get(stage.optimizer, {}):
            having = ", ".join(optimizers_with(name))
            yield Contradiction(
                name,
                f"false beside optimizer = {quoted(stage.optimizer)}, which has no {name}",
                value,
                f"leave it out, or take one of {having}",
            )
    if stage.clip_norm is not None and stage.clip_value is not None:
        yield Contradiction(
            "clip_norm",
            f"false beside clip_value = {stage.clip_value:g} in one stage",
            stage.clip_norm,
            "gradients are clipped by one of the two: set the other to false",
        )
