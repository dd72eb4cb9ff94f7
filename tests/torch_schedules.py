"""Prints the rates of PyTorch's own schedules as JSON: run by `test_training_learning_rates.py`, without TensorFlow beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler as kinds

RATE, UPDATES, PER_EPOCH = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

MAKERS: dict[str, Callable[[Any], Any]] = {
    "constant": lambda optimizer: kinds.ConstantLR(optimizer, 1.0),
    "cosine": lambda optimizer: kinds.CosineAnnealingLR(optimizer, UPDATES),
    "linear": lambda optimizer: kinds.LinearLR(optimizer, 1.0, 0.0, UPDATES),
    "polynomial": lambda optimizer: kinds.PolynomialLR(optimizer, UPDATES, 2.0),
    "exponential": lambda optimizer: kinds.ExponentialLR(optimizer, 0.8 ** (1 / PER_EPOCH)),
    "step every": lambda optimizer: kinds.StepLR(optimizer, 2 * PER_EPOCH, 0.1),
    "step at": lambda optimizer: kinds.MultiStepLR(optimizer, [PER_EPOCH, 4 * PER_EPOCH], 0.1),
    "warm-up": lambda optimizer: kinds.LambdaLR(optimizer, lambda step: min(step / (2 * PER_EPOCH), 1)),
    "one cycle": lambda optimizer: kinds.OneCycleLR(optimizer, RATE, total_steps=UPDATES),
    "other cycle": lambda optimizer: kinds.OneCycleLR(
        optimizer, RATE, total_steps=UPDATES, pct_start=0.5, div_factor=10.0, final_div_factor=100.0
    ),
}


def rates(make: Callable[[Any], Any]) -> list[float]:
    """The rate of the first update, and that after each."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    scheduler = make(optimizer)
    seen = []
    for _ in range(UPDATES + 1):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(seen) <= UPDATES:
            scheduler.step()
    return seen


print(json.dumps({name: rates(make) for name, make in MAKERS.items()}))
