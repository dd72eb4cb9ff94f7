"""Faults that the worker process of `training_cells.py` does to itself, named on its command line.

`kill-after-epoch:N`  SIGKILL as soon as epoch N was told      `kill-in-epoch:N`   SIGKILL between its batches
`stop-after-epoch:N`  SIGTERM as soon as epoch N was told      `stop-in-epoch:N`   SIGTERM between its batches
`no-writes`           states are never affordable              `nan-loss:B`        training's B-th batch gives a NaN loss
`ask-network`         connects to another host while training
`stop-at-piece:N`     SIGTERM while the N-th batch of features is computed
"""

from __future__ import annotations

import os
import signal
import socket
import types
from typing import Any

from benchmark.events import EpochFinished

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGTERM}
_after: dict[int, int] = {}


def before(faults: str) -> None:
    for fault in filter(None, faults.split(",")):
        name, _, number = fault.partition(":")
        action, _, place = name.partition("-")
        if place == "after-epoch":
            _after[int(number)] = _SIGNALS[action]
        elif place == "in-epoch":
            _signal_in_epoch(int(number), _SIGNALS[action])
        elif name == "stop-at-piece":
            _signal_at_piece(int(number), signal.SIGTERM)
        elif name == "no-writes":
            _never_write()
        elif name == "ask-network":
            _ask_network()
        else:
            assert name == "nan-loss"
            _spoil_batch(int(number))


def after(event: Any) -> None:
    if isinstance(event, EpochFinished) and event.epoch in _after and not event.replayed:
        os.kill(os.getpid(), _after[event.epoch])


def _signal_in_epoch(epoch: int, number: int) -> None:
    from benchmark.training import heartbeat

    beat = heartbeat.Heartbeat.beat

    def beat_and_die(self: Any, stage: int, at: int, batch: int, batches: int) -> None:
        if at == epoch and batch == 2:
            os.kill(os.getpid(), number)
        beat(self, stage, at, batch, batches)

    heartbeat.Heartbeat.beat = beat_and_die


def _signal_at_piece(piece: int, number: int) -> None:
    from benchmark.training.features import feature_store

    def point(_name: str) -> None:
        nonlocal piece
        piece -= 1
        if not piece:
            os.kill(os.getpid(), number)

    feature_store.faults = types.SimpleNamespace(point=point)


def _ask_network() -> None:
    from benchmark.training import heartbeat

    heartbeat.Heartbeat.beat = lambda *_: socket.create_connection(("192.0.2.1", 80), timeout=5)


def _never_write() -> None:
    from benchmark.training.artifacts import checkpoints

    checkpoints._AFFORDABLE = 0.0


def _spoil_batch(number: int) -> None:
    from benchmark.training.steps.base import BatchResult
    from benchmark.training.steps.tensorflow import TensorFlowSteps

    train = TensorFlowSteps.train
    count = 0

    def spoilt(self: Any, images: Any, labels: Any, share: float = 1.0, *, update: bool = True) -> Any:
        nonlocal count
        count += 1
        result = train(self, images, labels, share, update=update)
        return BatchResult(result.examples, float("nan"), result.correct) if count == number else result

    TensorFlowSteps.train = spoilt
