"""What modules of PyTorch must be to be trained here, and which of their parts are the head. Imported on PyTorch alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from benchmark.catalog.facts import LIGHTNING
from benchmark.matrix.cell import Architecture, Data
from benchmark.training.networks.plugin_models import HEAD_ATTRIBUTE
from benchmark.training.process.plugin_code import PluginError

_SAMPLE_IMAGES = 2
_TOLERANCE = 0.02
"""How far the sum of what are taken for probabilities is from 1 at most."""


_CALLED_BY_A_TRAINER = (
    "backward", "configure_callbacks", "configure_gradient_clipping", "configure_model", "lr_scheduler_step",
    "on_after_batch_transfer", "on_before_batch_transfer", "on_load_checkpoint", "on_save_checkpoint", "optimizer_step",
    "optimizer_zero_grad", "setup", "transfer_batch_to_device",
)  # fmt: skip
"""Methods of a LightningModule that change what is trained: of one that a module overrides the effect would be missing."""

_ENDINGS = {"SoftmaxBackward0": "softmax", "LogSoftmaxBackward0": "log_softmax", "SigmoidBackward0": "sigmoid"}
"""What a tensor was made by last, by the class of its `grad_fn`."""


def named_head(module: Any, parts: Mapping[str, Any], place: str) -> tuple[tuple[str, ...], str]:
    """The names of the parts of the head, and that of the classifier, the last of them.

    The head is what the module lists in `bench_head`, submodules with all below them; else its last part.

    Raises:
        PluginError: It lists what it does not have, or has no parameters.
    """
    if not parts:
        raise PluginError(f"{place}: expected a module with parameters, found none to train")
    named = getattr(module, HEAD_ATTRIBUTE, None)
    if named is None:
        last = list(parts)[-1]
        return (last,), last
    wanted = [named] if isinstance(named, str) else [str(name) for name in named]
    unknown = [name for name in wanted if not any(_is_below(part, name) for part in parts)]
    if unknown or not wanted:
        raise PluginError(
            f"{place}: expected {HEAD_ATTRIBUTE} to name submodules with parameters ({', '.join(parts)[:300]}), found "
            f"{unknown or 'none'}"
        )
    head = tuple(part for part in parts if any(_is_below(part, name) for name in wanted))
    return head, head[-1]


def check_module(module: Any, architecture: Architecture, data: Data, place: str, *, binary: bool) -> None:
    """Checks that what a plug-in returned gives logits, for a black and a patterned image.

    Lazy modules get their parameters by this call. With `binary` the logits are of a sigmoid for each class.

    Raises:
        PluginError: It does not.
    """
    if not isinstance(module, torch.nn.Module) or isinstance(module, keras.layers.Layer):
        raise PluginError(f"{place}: expected a torch.nn.Module to be returned, found {type(module).__name__}")
    is_lightning = any(kind.__name__ == "LightningModule" for kind in type(module).__mro__)
    if is_lightning != (architecture.framework == LIGHTNING):
        wanted = "LightningModule" if architecture.framework == LIGHTNING else "torch.nn.Module"
        raise PluginError(
            f"{place}: expected a {wanted}, as its file looks, found {type(module).__name__}; import lightning in a file "
            "whose function returns a LightningModule, and only there"
        )
    if is_lightning:
        _check_lightning(module)
    shape = (_SAMPLE_IMAGES, data.channels, data.image_size, data.image_size)
    images = np.zeros(shape, dtype=np.float32)
    images[1] = (np.arange(math.prod(shape[1:])).reshape(shape[1:]) % 256) / 255
    device = keras.src.backend.torch.core.get_device()
    logits = module.to(device).eval()(torch.from_numpy(images).to(device))
    check_logits(logits, _SAMPLE_IMAGES, data.num_classes, place)
    values = logits.detach().float().cpu().numpy().astype(np.float64)
    are_shares = (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=_TOLERANCE)
    ending = "softmax" if are_shares else _ENDINGS.get(type(logits.grad_fn).__name__)
    # of logarithms of probabilities a softmax makes the probabilities again, sigmoids do not
    if ending and (binary or ending != "log_softmax"):
        raise PluginError(
            f"{place}: expected logits, found {values[0][:4].round(4).tolist()} …{' with the sum 1' * bool(are_shares)}: leave "
            f"out the {ending} at the end of `forward`, bench has {'sigmoids' if binary else 'a softmax'} behind it"
        )


def _check_lightning(module: Any) -> None:
    name = type(module).__name__
    if not module.automatic_optimization:
        raise PluginError(
            f"{name}: expected automatic optimization, found manual, which needs a Trainer; "
            "return the loss from `training_step`, or run your script as a command"
        )
    base = next(kind for kind in type(module).__mro__ if kind.__name__ == "LightningModule")
    own = [each for each in _CALLED_BY_A_TRAINER if getattr(type(module), each) is not getattr(base, each)]
    if own:
        raise PluginError(
            f"{name}: expected the methods of LightningModule, found {', '.join(own)} of its own, which a Trainer calls: leave "
            f"{'it' if len(own) == 1 else 'them'} out, or run your script as a command"
        )


def check_logits(logits: Any, images: int, classes: int, place: str) -> None:
    """Checks that a module returned logits [images, classes].

    Raises:
        PluginError: It did not.
    """
    if not isinstance(logits, torch.Tensor):
        kind = type(logits).__name__
        raise PluginError(
            f"{place}: expected `forward` to return logits, a tensor [{images}, {classes}], found {kind}; return the one "
            "tensor that tells the classes apart"
        )
    if (shape := tuple(logits.shape)) != (images, classes):
        is_single = classes == 2 and shape in {(images, 1), (images,)}
        single = "of one logit z for two classes make two: torch.stack([torch.zeros_like(z), z], -1) of z [n]"
        raise PluginError(
            f"{place}: expected logits of shape ({images}, {classes}), one for each class, found {shape}; "
            f"{single if is_single else 'the function is given `num_classes`'}"
        )


def why_no_gradient(learning: Sequence[Any]) -> str:
    """Says why logits do not depend on the parameters of a stage."""
    if not learning:
        return (
            "expected parameters to train, found that the module freezes all of this stage (requires_grad = False); "
            "leave freezing to `train`"
        )
    return (
        "expected logits that depend on what is trained, found a tensor without a gradient; in `forward` leave out "
        "torch.no_grad(), torch.set_grad_enabled(False), .detach() and .data"
    )


def _is_below(part: str, name: str) -> bool:
    return part == name or part.startswith(f"{name}.")
