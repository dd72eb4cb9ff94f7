"""Reads weights files of PyTorch, `.pth`, `.pt` and `.safetensors`, without executing anything in them."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import DataError
from benchmark.training.callbacks import WeightArrays
from benchmark.training.networks.network import ModuleNetwork, Network

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema")
"""Keys below which training scripts put the `state_dict` in a checkpoint."""

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Beginnings of names that come of `DataParallel`, `torch.compile` and modules around the network."""

_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
"""How the published files of torchvision's DenseNets name their layers, whose names have no such dot any more."""


def torch_arrays(content: bytes, network: ModuleNetwork) -> WeightArrays | None:
    """The arrays of a file by the names of the network; None where the content is no file of PyTorch.

    Raises:
        DataError: It is one, but damaged, or holds anything but tensors.
    """
    state = _state_dict(content)
    if state is None:
        return None
    expected = {weight.path for weight in network.core.weights}
    for _ in _PREFIXES:  # each may stand in front of another
        for prefix in _PREFIXES:
            if not expected & state.keys() and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if _does_not_fit(state, network):
        state = _as_timm_loads(state, network)
    named = {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}
    arrays = {name: _array(tensor) for name, tensor in named.items() if name in expected}
    # files from before PyTorch 0.4.1 do not count batches
    missing = {path for path in expected - arrays.keys() if path.endswith("num_batches_tracked")}
    return {**arrays, **dict.fromkeys(missing, np.zeros((), dtype=np.int64))}


def _does_not_fit(state: Mapping[str, Any], network: Network) -> bool:
    """Whether weights but those of the last layer are missing or have other shapes."""
    weights = [weight for weight in network.core.weights if not network.is_of_classifier(weight.path)]
    return any(tuple(getattr(state.get(weight.path), "shape", ())) != tuple(weight.shape) for weight in weights)


def _as_timm_loads(state: dict[str, Any], network: ModuleNetwork) -> dict[str, Any]:
    """The tensors as the network of timm itself loads them: position embeddings at its image size, names as they are now."""
    module = network.layer.module
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None or not type(module).__module__.startswith("timm."):
        return state
    try:
        return dict(convert(dict(state), module))
    except Exception:  # noqa: BLE001  of another network; what does not fit is said of the tensors as they are
        return state


def _state_dict(content: bytes) -> dict[str, Any] | None:
    import torch

    is_pickle = content[:2] == b"\x80\x02" or (content[:2] == b"PK" and b"/data.pkl" in content[:4096])
    try:
        if is_pickle:
            loaded: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        elif content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
            from safetensors.torch import load

            loaded = load(content)
        else:
            return None
    except ModuleNotFoundError as error:
        raise DataError("it is a file of safetensors; pip install safetensors") from error
    except Exception as error:
        # what PyTorch advises is to run what the file holds
        objects = "it holds objects, which would have to be run" if "Weights only load failed" in str(error) else ""
        raise DataError(
            f"it is no file of tensors: {objects or str(error).partition(chr(10))[0]:.300}; write one with "
            "`torch.save(module.state_dict(), path)`"
        ) from error
    for name in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
            break
    tensors = dict(loaded.items()) if isinstance(loaded, Mapping) else {}
    tensors = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        raise DataError(f"expected a `state_dict`, found {type(loaded).__name__} without tensors")
    return tensors


def _array(tensor: Any) -> Any:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
