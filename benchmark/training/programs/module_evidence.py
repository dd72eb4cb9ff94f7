"""Grad-CAM of modules of PyTorch. Imported on PyTorch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.training.networks.network import ModuleNetwork
from benchmark.training.networks.torch_modules import ModuleLayer
from benchmark.training.programs.class_evidence import ClassEvidence, as_array, grad_cam

GRAD_CAM_ATTRIBUTE = "bench_grad_cam"
"""Attribute in which a module may name, or hold, the submodule whose activation Grad-CAM shows."""


class ModuleExplainer:
    """The same of a module of PyTorch: of its last convolution that has several positions.

    A module may name another submodule, or be one: `module.bench_grad_cam = "layer4"`.

    Raises:
        DataError: The submodule that it names does not exist.
    """

    def __init__(self, network: ModuleNetwork) -> None:
        self._network = network
        self._modules = _evidence_modules(network.layer.module)
        if not self._modules:
            raise DataError(f"{network.core.name} has no convolution; name a submodule in `module.bench_grad_cam`")
        self.layer = ""
        self.grid: tuple[int, int] = (0, 0)

    def explain(
        self, image: NDArray[np.uint8], choose: Callable[[NDArray[np.float32]], Iterable[int]]
    ) -> ClassEvidence:
        """As `Explainer.explain`."""
        layer = self._network.layer
        logits, watched, gradient_of = _watched_logits(layer, self._prepared(image), self._modules)
        if watched is None:
            raise DataError(
                f"{self._network.core.name} has no convolution with several positions, so there is nothing that Grad-CAM "
                "could show; name a submodule in `module.bench_grad_cam`, or take larger images"
            )
        self.layer, activation = watched
        self.grid = tuple(activation.shape[:2])
        probabilities = as_array(layer.activate(logits))
        return ClassEvidence(
            probabilities, {each: grad_cam(activation, gradient_of(each)) for each in choose(probabilities)}
        )

    def _prepared(self, image: NDArray[np.uint8]) -> Any:
        """The image as the layer of the module takes it, at the size of the cell."""
        images = keras.ops.convert_to_tensor(image[np.newaxis].astype(np.float32))
        for layer in self._network.core.layers[1:-1]:
            images = layer(images)
        return images


def _evidence_modules(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The submodules whose activation Grad-CAM may show, by name: its convolutions, or the one that `bench_grad_cam` is.

    Raises:
        DataError: It names none.
    """
    named = getattr(module, GRAD_CAM_ATTRIBUTE, None)
    parts = dict(module.named_modules())
    if named is None:
        return {name: part for name, part in parts.items() if isinstance(part, torch.nn.modules.conv._ConvNd)}  # noqa: SLF001
    chosen = {name: part for name, part in parts.items() if part is named or name == named}
    if not chosen:
        known = ", ".join(filter(None, parts))
        raise DataError(f"{GRAD_CAM_ATTRIBUTE}: expected a submodule ({known:.300}), found {named!r:.100}")
    return chosen


def _watched_logits(
    layer: ModuleLayer, images: Any, modules: Mapping[str, torch.nn.Module]
) -> tuple[Any, tuple[str, NDArray[Any]] | None, Callable[[int], NDArray[Any]]]:
    """The logits of one image, and the last activation with several positions that one of some submodules made.

    Args:
        layer: Of the module.
        images: As it takes them, [1, h, w, c].
        modules: By name.

    Returns:
        Logits [classes]; the submodule's name and its activation [h', w', k], or None; and the function that gives the
        gradient of a class's logit by this activation.
    """
    outputs: list[tuple[str, Any]] = []
    handles = [
        part.register_forward_hook(lambda _part, _given, made, name=name: outputs.append((name, made)))
        for name, part in modules.items()
    ]
    for tensor in layer.module.parameters():
        tensor.requires_grad_(True)
    try:
        logits = layer.logits(images, training=False)[0]
    finally:
        for handle in handles:
            handle.remove()
    wide = [each for each in outputs if each[1].ndim == 4 and max(each[1].shape[2:]) > 1]
    name, made = wide[-1] if wide else ("", None)

    def gradient_of(label: int) -> NDArray[Any]:
        assert made is not None
        (gradient,) = torch.autograd.grad(logits[label], made, retain_graph=True, allow_unused=True)
        return _positions_first(torch.zeros_like(made) if gradient is None else gradient)

    return logits.detach(), None if made is None else (name, _positions_first(made)), gradient_of


def _positions_first(activation: Any) -> NDArray[Any]:
    """[1, k, h, w] as [h, w, k]."""
    return np.asarray(activation.detach()[0].permute(1, 2, 0).cpu().numpy())
