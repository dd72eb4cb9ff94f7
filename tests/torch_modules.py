"""Prints what becomes of modules of PyTorch in bench: run by `test_torch_modules.py` on the backend `torch`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from torch_graphs import compared, grown
from training_cells import DIGITS, cell, stage

from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture
from benchmark.training.networks.module_checks import check_logits
from benchmark.training.networks.network import build_network
from benchmark.training.networks.plugin_models import PluginError
from benchmark.training.process.plugin_code import naming_plugin_line
from benchmark.training.programs.module_evidence import ModuleExplainer
from benchmark.training.stages import set_trainable, stage_steps
from benchmark.training.weights.weight_files import assign_weights, weight_arrays

FILE = Path(__file__).with_name("strange_modules.py").resolve()
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (24, 16, 16, 1), dtype=np.uint8)
LABELS = RANDOM.integers(0, 10, 24).astype(np.int32)
DATASET = SimpleNamespace(training=SimpleNamespace(split=SimpleNamespace(labels=LABELS)), class_names=())


def built(name, precision="float32", **parameters):
    keras.backend.clear_session()
    keras.config.set_dtype_policy(precision)
    torch.manual_seed(1)
    known = Architecture(f"plugin:{name}", tuple(parameters.items()), sha256_of(FILE), str(FILE), framework="torch")
    return build_network(known, DIGITS, allow_plugins=True)


def trained(network, steps=3, precision="float32", **settings):
    spec = stage(**settings)
    learns = set_trainable(network, spec.train)
    wanted = cell(backend="torch", precision=precision)
    own, optimizer = stage_steps(wanted, spec, DATASET, network.core, network.core)
    losses = [float(own.train(IMAGES[:8], LABELS[:8]).loss) for _ in range(steps)]
    return own, optimizer, losses, learns


def parts():
    network = built("good", width=4)
    weights = weight_arrays(network.core)
    answer = {
        "parameters": network.parameters,
        "counted": sum(one.numel() for one in network.layer.module.parameters()),
        "names": sorted(weights) == sorted(network.layer.module.state_dict()),
        "head": network.head,
        "last": trained(network, 0, train="last:1")[3],
        "all": trained(network, 0, train="all")[3],
    }
    trained(network, train="head")
    after = weight_arrays(network.core)
    answer["changed_by_head"] = [name for name in weights if not np.array_equal(weights[name], after[name])]
    trained(network, train="all")
    last = weight_arrays(network.core)
    answer["changed_by_all"] = sorted(name for name in after if not np.array_equal(after[name], last[name]))
    assign_weights(network.core, weights)
    answer["restored"] = all(np.array_equal(weights[name], one) for name, one in weight_arrays(network.core).items())
    return answer


def plain_loop():
    """The largest difference of a weight from the same training written by hand, by optimizer."""
    worst = {}
    for name, make in {
        "sgd": lambda all_: torch.optim.SGD(all_, 0.05, momentum=0.9),
        "adam": lambda all_: torch.optim.Adam(all_, 0.05, eps=1e-12),
    }.items():
        network = built("flat")
        before = {key: torch.tensor(value) for key, value in weight_arrays(network.core).items()}
        settings = {"momentum": 0.9} if name == "sgd" else {"epsilon": 1e-12}  # which Keras adds at another place
        own, _, _, _ = trained(network, optimizer=name, learning_rate=0.05, **settings)
        module = built("flat").layer.module
        module.load_state_dict(before)
        optimizer = make(module.parameters())
        x = torch.from_numpy(IMAGES[:8]).permute(0, 3, 1, 2).float() / 255
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), torch.from_numpy(LABELS[:8]).long()).backward()
            optimizer.step()
        mine = network.layer.module.state_dict()
        worst[name] = max(float((mine[key] - one).abs().max()) for key, one in module.state_dict().items())
        expected = torch.softmax(module(x), 1).detach().numpy()
        worst[f"{name} predicts"] = float(np.abs(own.predict(IMAGES[:8]) - expected).max())
    return {**worst, **far_from_the_truth()}


def far_from_the_truth():
    """As `plain_loop`, with logits whose softmax is 0 for the true class: the gradient is there all the same."""
    network = built("flat")
    module = built("flat").layer.module
    with torch.no_grad():
        for one in (network.layer.module, module):
            one[-1].bias.copy_(100.0 * torch.arange(10))
    _, _, losses, _ = trained(network, optimizer="sgd", learning_rate=0.05)
    optimizer = torch.optim.SGD(module.parameters(), 0.05)
    x = torch.from_numpy(IMAGES[:8]).permute(0, 3, 1, 2).float() / 255
    plain = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(x), torch.from_numpy(LABELS[:8]).long())
        loss.backward()
        optimizer.step()
        plain.append(float(loss))
    mine = network.layer.module.state_dict()
    weights = max(float((mine[key] - one).abs().max()) for key, one in module.state_dict().items())
    return {"far": weights, "far loses": max(abs(a - b) for a, b in zip(losses, plain, strict=True)) / plain[0]}


def buffers():
    network = built("averages")
    _, _, _, learns = trained(network, 1, train="head")
    module = network.layer.module
    frozen = weight_arrays(network.core)["mean"]
    expected = 0.1 * IMAGES[:8].mean() / 255
    return {
        "names": sorted(weight_arrays(network.core)),
        "head": network.head,
        "mean": float(frozen.squeeze()) / expected,
        "same": module.mean is next(each for each in network.core.weights if each.path == "mean").value,
        "scale_stays": float(module.scale) == 1 and learns == network.parameters - 1,
    }


def half():
    network = built("good", "mixed_bfloat16")
    _, _, losses, _ = trained(network, precision="mixed_bfloat16")
    kinds = {str(one.dtype) for one in network.layer.module.parameters()}
    return {"dtype": network.compute_dtype, "weights": sorted(kinds), "finite": bool(np.isfinite(losses).all())}


def decayed():
    network = built("good")
    _, optimizer, _, _ = trained(network, optimizer="adamw", weight_decay=0.1)
    return [each.path for each in network.core.trainable_variables if optimizer._use_weight_decay(each)]


def errors():
    told = {}
    names = (
        "softmax",
        "sigmoid",
        "logarithms",
        "Fourier",
        "Remembers",
        "eleven",
        "pair",
        "nothing",
        "large",
        "cuda",
        "no_module",
        "arguments",
        "head",
        "half",
    )
    for name in (*names, "without_gradient", "frozen"):
        try:
            with naming_plugin_line(str(FILE)):
                trained(built(name), 2, train="head")
            told[name] = "nothing"
        except PluginError as error:
            told[name] = str(error)
    return told


def single():
    """What is said of one logit for two classes."""
    try:
        check_logits(torch.zeros(4), 4, 2, "my.py")
    except PluginError as error:
        return str(error)
    return ""


def evidence():
    explainer = ModuleExplainer(built("good"))
    found = explainer.explain(IMAGES[0], lambda _: [3])
    shape = list(found.maps[3].shape)
    return {"layer": explainer.layer, "grid": explainer.grid, "shape": shape, "sum": float(found.probabilities.sum())}


if __name__ == "__main__":
    answers = {
        one.__name__: one() for one in (parts, plain_loop, buffers, half, decayed, errors, single, evidence, grown)
    }
    answers["graphs"] = {name: compared(name) for name in ("half", "strange")}
    sys.stdout.write(f"\n{json.dumps(answers)}\n")
