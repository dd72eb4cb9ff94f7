"""The training step and the prediction on JAX: pure functions of all variables, compiled once for each batch size.

Between two steps the variables of Keras hold the state, so that states are saved, resumed and seeded as on every
backend. The old values of what learns are given up to the step, which writes the new ones into their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.prediction_metrics import HALF
from benchmark.training.steps.base import BatchResult, Inputs, Steps, count_of


class JaxSteps(Steps):
    """See `dispatch.compiled_steps`; the optimizer is built."""

    def __init__(
        self, model: keras.Model, core: keras.Model, optimizer: Any, loss: Any, *, one_hot: bool, multi_label: bool
    ) -> None:
        taken = model.inputs[0].dtype
        self._learning = model.trainable_variables
        self._standing = model.non_trainable_variables  # moving averages and random states among them
        self._optimizer = optimizer.variables
        self._predict = forward_pass(core)

        def lost(learning: Sequence[Any], standing: Sequence[Any], scales: Sequence[Any], x: Any, y: Any) -> Any:
            given = (x[0].astype(taken), *x[1:]) if isinstance(x, tuple) else x.astype(taken)
            probabilities, standing, penalties = model.stateless_call(
                learning, standing, given, training=True, return_losses=True
            )
            total = sum(penalties, start=loss(y, probabilities))
            with keras.StatelessScope(state_mapping=list(zip(optimizer.variables, scales, strict=True))):
                scaled = optimizer.scale_loss(total)
            if multi_label:
                hits = jnp.all((probabilities >= HALF) == (y >= HALF), axis=-1)
            else:
                hits = jnp.argmax(probabilities, axis=-1) == (jnp.argmax(y, axis=-1) if one_hot else y)
            correct = jnp.sum(hits)
            return scaled, (total, correct, standing)

        def train(learning: Sequence[Any], standing: Sequence[Any], states: Sequence[Any], x: Any, y: Any) -> Any:
            gradients, (total, correct, standing) = jax.grad(lost, has_aux=True)(learning, standing, states, x, y)
            learning, states = optimizer.stateless_apply(states, gradients, learning)
            return total, correct, learning, standing, states

        def gather(kept: Sequence[Any], share: Any, *batch: Any) -> Any:
            gradients, (total, correct, standing) = jax.grad(lost, has_aux=True)(*batch)
            return total, correct, standing, [sum_ + share * one for sum_, one in zip(kept, gradients, strict=True)]

        def apply(learning: Sequence[Any], states: Sequence[Any], kept: Sequence[Any]) -> Any:
            return optimizer.stateless_apply(states, kept, learning)

        self._train = jax.jit(train, donate_argnums=(0, 2))
        self._gather = jax.jit(gather, donate_argnums=0)
        self._apply = jax.jit(apply, donate_argnums=(0, 1))
        self._kept: list[Any] | None = None

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        state = _values(self._learning), _values(self._standing), _values(self._optimizer)
        if share < 1:
            return self._train_part(*state, inputs, labels, share, update=update)
        loss, correct, learning, standing, states = self._train(*state, inputs, labels)
        _assign(self._learning, learning)
        _assign(self._standing, standing)
        _assign(self._optimizer, states)
        return BatchResult(count_of(inputs), loss, correct)

    def _train_part(
        self,
        learning: list[Any],
        standing: list[Any],
        states: list[Any],
        inputs: Inputs,
        labels: NDArray[Any],
        share: float,
        *,
        update: bool,
    ) -> BatchResult:
        kept = [jnp.zeros_like(value) for value in learning] if self._kept is None else self._kept
        loss, correct, standing, self._kept = self._gather(
            kept, np.float32(share), learning, standing, states, inputs, labels
        )
        _assign(self._standing, standing)
        if update:
            learning, states = self._apply(learning, states, self._kept)
            self._kept = None
            _assign(self._learning, learning)
            _assign(self._optimizer, states)
        return BatchResult(count_of(inputs), loss, correct)


def forward_pass(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Images or features [b, …] to the output of `model` in its own type, with dropout off."""
    taken = model.inputs[0].dtype

    def forward(learning: Sequence[Any], standing: Sequence[Any], x: Any) -> Any:
        return model.stateless_call(learning, standing, x.astype(taken), training=False)[0]

    compiled = jax.jit(forward)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(compiled(_values(model.trainable_variables), _values(model.non_trainable_variables), batch))

    return run


def moving_average(share: float) -> Callable[[list[Any], list[Any]], list[Any]]:
    """See `dispatch.compiled_average`."""
    moved: Callable[[list[Any], list[Any]], list[Any]] = jax.jit(
        lambda averages, values: [mean + share * (one - mean) for mean, one in zip(averages, values, strict=True)]
    )
    return moved


def _values(variables: Iterable[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def scores_of(model: keras.Model, activation: Any) -> tuple[Any, Callable[[int], Any]]:
    """See `dispatch.scores_of`."""
    learning, standing = _values(model.trainable_variables), _values(model.non_trainable_variables)

    def scores(watched: Any) -> Any:
        return model.stateless_call(learning, standing, watched, training=False)[0][0]

    return scores(activation), lambda label: jax.grad(lambda watched: scores(watched)[label])(activation)
