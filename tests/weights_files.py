"""Weights files as Keras writes them, in each of its formats, with weights that no layer could have by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FORMATS = ("weights.h5", "legacy", "keras")


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with other values in every weight, variances and scales among them positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        positive = any(word in weight.path for word in ("variance", "gamma"))
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if positive else random.normal(0, 0.05, weight.shape))
    for layer in model.layers:
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()
    return model


def written(model: Any, folder: Path, kind: str) -> Path:
    """A file of one of `FORMATS`; its name says nothing of which."""
    path = folder / f"weights.{kind}"
    if kind == "keras":
        model.save(path)
    elif kind == "weights.h5":
        model.save_weights(path)
    else:
        path = folder / "weights.old.h5"
        write_legacy(model, path)
    renamed = folder / f"{kind}.bin"
    return path.rename(renamed)


def write_legacy(model: Any, path: Path) -> None:
    """The layout of the published files: a group for each layer, in the order of an attribute."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            names = [f"{layer.name}/{number}:0".encode() for number in range(len(weights))]
            group.attrs["weight_names"] = names
            for name, weight in zip(names, weights, strict=True):
                group.create_dataset(name.decode(), data=np.asarray(weight))
