"""Modules of PyTorch as layers of Keras, so that they are trained, resumed and evaluated as any other network.

The layer takes images [b, h, w, c] with values 0..255, gives the module what PyTorch's networks take (float32
[b, c, h, w], values 0..1), and makes probabilities of its logits. Its weights are the module's own tensors, by their names
in `state_dict`: Keras's optimizers change the parameters, the module itself its buffers. Imported on PyTorch alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch

from benchmark.training.losses import LOGITS
from benchmark.training.networks.module_checks import check_logits, why_no_gradient
from benchmark.training.process.plugin_code import PluginError


def _register_no_variables(layer: Any) -> None:
    """Stands for what registers the variables of a model of Keras as parameters of a module of PyTorch.

    Such names may have no dots, and integers cannot be parameters; nothing here asks for them.
    """
    layer._torch_params = torch.nn.ParameterDict()  # noqa: SLF001  there is no public way


keras.src.backend.torch.layer.TorchLayer._track_variables = _register_no_variables  # noqa: SLF001  likewise


class ModuleLayer(keras.layers.Layer):
    """A module of PyTorch behind the scaling of its images and in front of a softmax (or sigmoids).

    Args:
        module: It gives logits [b, classes]; on the device of Keras from now on.
        classes: How many there are.
        place: Names the module in messages.
        mean, deviation: By channel, what is subtracted from the values 0..1 and what they are divided by; None for
            nothing.
        binary: Whether each class has a sigmoid of its own, in place of the softmax over all.

    Attributes:
        parts: The variables of the parameters of its own of each submodule that has some, by the submodule's dotted
            name, in the order in which they are registered.
        parameter_count: How many numbers all parameters are; shared ones count once.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        classes: int,
        place: str,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        *,
        binary: bool = False,
    ) -> None:
        # images are not to be rounded to the half precision that the module computes in
        super().__init__(name="module", autocast=False)
        device = keras.src.backend.torch.core.get_device()
        module = module.to(device)
        self._held = _Held(module, place, _per_channel(mean, device), _per_channel(deviation, device))
        self._held.device_type = torch.device(device).type
        self._classes = classes
        self._binary = binary
        by_tensor = {id(tensor): self._variable(name, tensor) for name, tensor in _named_tensors(module)}
        self.parts: Mapping[str, list[Any]] = _Hidden()
        for name, part in module.named_modules():
            own = [by_tensor[id(tensor)] for tensor in part.parameters(recurse=False) if id(tensor) in by_tensor]
            if own:
                self.parts[name] = own
        self._held.buffers = [
            (part, key, by_tensor[id(tensor)])
            for part in module.modules()
            for key, tensor in part._buffers.items()  # noqa: SLF001  a module assigns to them
            if id(tensor) in by_tensor
        ]
        self._held.learning = {id(variable) for variable in self.trainable_variables}
        self.parameter_count = sum(math.prod(tensor.shape) for tensor in module.parameters())
        self.built = True

    def _variable(self, name: str, tensor: Any) -> Any:
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        if is_parameter and not tensor.is_floating_point():
            raise PluginError(
                f"{self._held.place}: expected parameters that are real numbers, found {name} of {tensor.dtype}; keep its real "
                "and imaginary parts in a last dimension of 2, and write torch.view_as_complex(…) in `forward`"
            )
        variable = keras.Variable(tensor, trainable=is_parameter and tensor.requires_grad, name=name)
        variable._value = tensor  # noqa: SLF001  the module's own tensor, where Keras would make a copy of a buffer
        self._track_variable(variable)
        return variable

    @property
    def module(self) -> torch.nn.Module:
        """The module itself."""
        return self._held.module

    @property
    def not_decayed(self) -> list[Any]:
        """The parameters that weight decay leaves alone: vectors, as are biases and the scales of normalisation."""
        return [variable for variable in self.weights if variable.trainable and len(variable.shape) <= 1]

    def learn(self, names: Collection[str]) -> None:
        """Makes the parameters of some parts trainable and freezes all others; those that the module froze stay so.

        Frozen normalisation runs in evaluation mode, in training too: it normalises by its moving averages, and leaves
        them as they are. Normalisation without parameters goes with the part that is registered before it.
        """
        held, last = self._held, ""
        held.still, held.mode = [], None
        for name, part in held.module.named_modules():
            for variable in self.parts.get(name, ()):
                variable.trainable = name in names and id(variable) in held.learning
                last = name
            if last not in names and _keeps_statistics(part):
                held.still.append(part)

    def compute_output_spec(self, images: Any, training: Any = None) -> Any:  # noqa: ARG002  asked for before any image
        return keras.KerasTensor((images.shape[0], self._classes), "float32")

    def call(self, images: Any, training: Any = None) -> Any:
        logits = self.logits(images, training=bool(training))
        probabilities = self.activate(logits)
        setattr(probabilities, LOGITS, logits)
        return probabilities

    def activate(self, logits: Any) -> Any:
        """Logits [..., classes] as probabilities."""
        return torch.sigmoid(logits) if self._binary else torch.softmax(logits, dim=-1)

    def logits(self, images: Any, *, training: bool) -> Any:
        """What the module makes of images [b, h, w, c] 0..255: [b, classes] float32."""
        held = self._held
        try:
            logits = self._in_mode(lambda: held.module(self.scaled(images)), training=training)
            check_logits(logits, len(images), self._classes, held.place)
            if training and not logits.requires_grad:
                raise PluginError(f"{held.place}: {why_no_gradient(self.trainable_variables)}")
        except Exception as error:
            error._keras_call_info_injected = True  # type: ignore[attr-defined]  # noqa: SLF001  else Keras rewords it
            raise
        return logits.float()

    def scaled(self, images: Any) -> Any:
        """Images [b, h, w, c] 0..255 as the module takes them, [b, c, h, w]."""
        # in the usual order of memory, without which `view` refuses
        scaled = images.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format).div_(255)
        return scaled if self._held.mean is None else scaled.sub_(self._held.mean).div_(self._held.deviation)

    def in_training(self, compute: Callable[[], Any]) -> Any:
        """What `compute` returns with the module in training mode and in the cell's precision."""
        return self._in_mode(compute, training=True)

    def _in_mode(self, compute: Callable[[], Any], *, training: bool) -> Any:
        self._held.set_mode(training=training)
        half = self.compute_dtype != "float32"
        kind = getattr(torch, self.compute_dtype) if half else None
        with torch.autocast(self._held.device_type, dtype=kind, enabled=half):
            made = compute()
        if training:
            self._held.keep_buffers()
        return made


@dataclass(slots=True)
class _Held:
    """A module and what its layer keeps of it, where Keras does not look for layers and variables.

    Attributes:
        buffers: Each buffer that is a weight: its module, its name there, its variable.
        learning: Ids of the variables that may be trained at all.
        still: Submodules that run in evaluation mode while others train.
        mode: Whether the module is in training mode; None when it is not known.
        device_type: `cpu` or `cuda`.
    """

    module: Any
    place: str
    mean: Any
    deviation: Any
    buffers: list[tuple[Any, str, Any]] = field(default_factory=list)
    learning: set[int] = field(default_factory=set)
    still: list[Any] = field(default_factory=list)
    mode: bool | None = None
    device_type: str = "cpu"

    def set_mode(self, *, training: bool) -> None:
        if training == self.mode:
            return
        self.module.train(training)
        for part in self.still if training else ():
            part.eval()
        self.mode = training

    def keep_buffers(self) -> None:
        """Takes over the buffers to which the module has assigned new tensors."""
        for part, name, variable in self.buffers:
            if (tensor := part._buffers[name]) is not variable._value:  # noqa: SLF001  see `ModuleLayer._variable`
                variable.assign(tensor.detach())
                part._buffers[name] = variable._value  # noqa: SLF001  likewise


class _Hidden(dict[str, list[Any]]):
    """A dictionary of variables that Keras does not track a second time."""


def _named_tensors(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """The entries of the module's `state_dict` that are tensors; of those that share one, the first."""
    seen: set[int] = set()
    tensors = []
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            tensors.append((name, tensor))
    return tensors


def _keeps_statistics(part: torch.nn.Module) -> bool:
    """Whether a submodule changes statistics of its own as it trains, as batch normalisation does."""
    return getattr(part, "running_mean", None) is not None


def _per_channel(values: Sequence[float] | None, device: Any) -> Any:
    return None if values is None else torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1)
