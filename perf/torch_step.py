"""CPU time of a training step on PyTorch, one thread: bench's step against a plain loop of PyTorch, or Keras's own step.

    python perf/torch_step.py [--rounds 7] [--models cnn residual keras_cnn keras_resnet18]

Both sides train the same module, or the same network of Keras, on the same batches of 64 images (16 for Keras) with Adam, in turn
(A B A B …) in one process; each reads the loss and counts the hits. The smallest time of each side counts. Appends a line for
each model to perf/results.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import torch
from perf_notes import append_result
from torch import nn
from training_cells import DIGITS, architecture, cell, stage

from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture
from benchmark.training.networks.network import build_network
from benchmark.training.stages import set_trainable, stage_steps

FILE = Path(__file__).resolve()
BATCH, KERAS_BATCH, BATCHES = 64, 16, 8
DATA = replace(DIGITS, source="tfds:x", image_size=32, color="rgb")
KERAS = {
    "keras_cnn": architecture("simple_cnn", filters=(32, 64), dense_units=128, dropout=0.25, kernel_size=3),
    "keras_resnet18": architecture("resnet18", filters=(16, 32, 64, 128), dropout=0.0),
}


def cnn(input_shape, num_classes):
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, num_classes)),
    )


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x):
        return torch.relu(x + self.body(x))


def residual(input_shape, num_classes):
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 32, 3, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(Residual(32) for _ in range(6)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes)),
    )


def measure(name: str, rounds: int) -> None:
    batch = KERAS_BATCH if name in KERAS else BATCH
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch * BATCHES, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, len(images)).astype(np.int32)
    module = Architecture(f"plugin:{name}", (), sha256_of(FILE), str(FILE), framework="torch")
    network = build_network(KERAS.get(name, module), DATA, allow_plugins=True)
    set_trainable(network, "all")
    named = {"training": type("T", (), {"split": type("S", (), {"labels": labels})}), "class_names": ()}
    own, _ = stage_steps(cell(backend="torch"), stage(), type("D", (), named), network.core, network.core)
    plain = step_of_keras(name, images, labels) if name in KERAS else step_of_torch(name, images, labels)

    def ours(part: slice) -> None:
        told = own.train(images[part], labels[part])
        float(told.loss), int(told.correct)

    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        for side, step in (("ours", ours), ("plain", plain)):
            step(slice(0, batch))
            began = time.process_time()
            for number in range(BATCHES):
                step(slice(number * batch, (number + 1) * batch))
            seconds[side].append((time.process_time() - began) / BATCHES)
    best = {side: min(times) * 1000 for side, times in seconds.items()}
    other = "Keras's own step" if name in KERAS else "plain loop"
    text = f"{name}, a step of {batch} images: {best['ours']:.1f} ms, {other} {best['plain']:.1f} ms; ratio **{best['ours'] / best['plain']:.2f}**"
    append_result("torch step", text, "python perf/torch_step.py")


def step_of_keras(name: str, images: np.ndarray, labels: np.ndarray) -> Callable[[slice], None]:
    model = build_network(KERAS[name], DATA).core
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def step(part: slice) -> None:
        model.train_on_batch(images[part], labels[part], return_dict=True)

    return step


def step_of_torch(name: str, images: np.ndarray, labels: np.ndarray) -> Callable[[slice], None]:
    module = globals()[name]((3, 32, 32), 10).train()
    module(torch.zeros(2, 3, 32, 32))
    optimizer, loss_of = torch.optim.Adam(module.parameters()), nn.CrossEntropyLoss()

    def step(part: slice) -> None:
        x = torch.from_numpy(images[part].transpose(0, 3, 1, 2).copy()).float().div_(255)
        y = torch.from_numpy(labels[part]).long()
        optimizer.zero_grad()
        logits = module(x)
        loss = loss_of(logits, y)
        loss.backward()
        optimizer.step()
        float(loss.detach()), int((logits.argmax(1) == y).sum())

    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=["cnn", "residual", *KERAS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in options.models:
        measure(model, options.rounds)
