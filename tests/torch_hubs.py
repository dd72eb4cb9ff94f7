"""Prints what becomes of classifiers of torchvision and timm: run by `test_torch_hubs.py` on the backend `torch`."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import save
from training_cells import DIGITS

from benchmark.errors import BenchError
from benchmark.matrix.cell import Architecture
from benchmark.training.networks.network import build_network
from benchmark.training.weights.weight_files import load_weights, parse_weights


def built(name, size=64, color="rgb", **parameters):
    keras.backend.clear_session()
    known = Architecture(name, tuple(sorted(parameters.items())), framework="torch")
    return build_network(known, replace(DIGITS, source="tfds:x", image_size=size, color=color))


def refused(name, **parameters):
    try:
        built(name, **parameters)
    except BenchError as error:
        return str(error)
    return ""


def loaded():
    theirs = torchvision.models.resnet18(num_classes=1000)
    plain, wrapped, evil = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(theirs.state_dict(), plain)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": one for name, one in theirs.state_dict().items()}}, wrapped
    )
    torch.save({"state_dict": print}, evil)
    contents = {"pth": plain.getvalue(), "wrapped": wrapped.getvalue(), "safetensors": save(theirs.state_dict())}
    told = {}
    for kind, content in contents.items():
        network = built("torchvision:resnet18")
        load_weights(network, parse_weights(content, kind, network), ("a", "b"), kind)
        ours = network.layer.module
        told[kind] = {
            "backbone": bool(torch.equal(ours.layer4[1].bn2.weight, theirs.layer4[1].bn2.weight)),
            "head": ours.fc.weight.shape == theirs.fc.weight.shape,
        }
    try:
        parse_weights(evil.getvalue(), "evil", network)
    except BenchError as error:
        told["pickle"] = str(error)
    return told


def resampled():
    """A file for images of another size, loaded by bench and by timm itself: whether the weights are the same."""
    theirs = timm.create_model("test_vit", num_classes=10, img_size=160)
    network = built("timm:test_vit")
    load_weights(network, parse_weights(save(theirs.state_dict()), "vit", network), ("a", "b"), "vit")
    wanted = timm.create_model("test_vit", num_classes=10, img_size=64)
    filtered = timm.models.vision_transformer.checkpoint_filter_fn(theirs.state_dict(), wanted)
    ours = network.layer.module.state_dict()
    return {
        "size": tuple(ours["pos_embed"].shape) == tuple(wanted.pos_embed.shape) != tuple(theirs.pos_embed.shape),
        "same": all(torch.equal(ours[name], one) for name, one in filtered.items()),
    }


def main():
    grey = built("torchvision:resnet18", color="grey", dropout=0.5)
    images = np.zeros((2, 64, 64, 1), np.float32)
    first, second = (grey.layer(torch.from_numpy(images), training=True) for _ in range(2))
    mobile = built("torchvision:mobilenet_v3_small", dropout=0.1)
    answers = {
        "grey": {
            "channels": grey.layer.module.conv1.in_channels,
            "parameters": grey.parameters,
            "head": grey.head,
            "mean": float(grey.layer._held.mean.mean()),
        },
        "dropout": {
            "resnet18": not torch.equal(first, second),
            "mobilenet_v3_small": mobile.layer.module.classifier[2].p,
        },
        "loaded": loaded(),
        "resampled": resampled(),
        "timm": {"head": built("timm:vit_tiny_patch16_224").head},
        "unknown": refused("timm:resnt18"),
        "argument": refused("torchvision:resnet18", foo=3),
    }
    sys.stdout.write(f"\n{json.dumps(answers)}\n")


if __name__ == "__main__":
    main()
