"""Mixes the training images of a batch in pairs, and their labels with them: mixup and CutMix.

All draws are NumPy's and a pure function of (seed, epoch, batch), so that every backend mixes alike and an epoch can be
trained again. Images are mixed behind their augmentation, inside the step; labels are mixed before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Stage
from benchmark.training.steps.base import Inputs

_MIX_STREAM = 6
"""Which stream of random numbers of a seed is used; the others are in `data/splits.py` and `data/dataset.py`."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How the images of a batch are mixed.

    Attributes:
        partners: [b] int32, which image of the batch each is mixed with; a permutation.
        own: [1, h, w, 1] float32 in 0..1, how much of each pixel an image keeps of itself.
        share: Of an image's own label in the mixed one, the mean of `own`.
    """

    partners: NDArray[np.int32]
    own: NDArray[np.float32]
    share: float


def draw_mix(stage: Stage, count: int, height: int, width: int, seed: tuple[int, int, int]) -> Mix:
    """Draws how a batch is mixed; in a stage with both kinds one of them, with equal chances.

    mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) adds `share` of each image and 1 - `share` of its partner,
    with `share` from Beta(alpha, alpha). CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899) pastes a rectangle of
    the partner whose sides are sqrt(1 - `share`) of the image's, cut off at its edges; the label follows the area that is
    left. As in the programs of both papers, share and rectangle are drawn once for a batch.

    Args:
        stage: With `mixup` or `cutmix`, or both: the alpha of their distributions.
        count: Images in the batch.
        height: Of an image, in pixels.
        width: Likewise.
        seed: The cell's `augment_seed`, the epoch, and the batch in it.
    """
    cell_seed, epoch, batch = seed
    random = np.random.default_rng([cell_seed, _MIX_STREAM, epoch, batch])
    cuts = bool(stage.cutmix) and (not stage.mixup or random.random() < 0.5)
    alpha = stage.cutmix if cuts else stage.mixup
    share = random.beta(alpha, alpha)
    partners = random.permutation(count).astype(np.int32)
    own = np.full((1, height, width, 1), share, dtype=np.float32)
    if cuts:
        own[:] = 1
        rows, columns = (_cut(random, size, np.sqrt(1 - share)) for size in (height, width))
        own[:, rows, columns] = 0
        share = own.mean(dtype=np.float64)
    return Mix(partners, own, float(share))


def _cut(random: np.random.Generator, size: int, part: float) -> slice:
    """The pixels of a side of the image that lie in the rectangle, `part` of `size` around a pixel."""
    middle, half = int(random.integers(size)), int(size * part) // 2
    return slice(max(middle - half, 0), min(middle + half, size))


def mixed_labels(labels: NDArray[Any], mix: Mix) -> NDArray[np.float32]:
    """Label vectors [b, classes] of mixed images."""
    share = np.float32(mix.share)
    return np.asarray(share * labels + (1 - share) * labels[mix.partners], dtype=np.float32)


def mixed_batch(
    stage: Stage, images: NDArray[Any], labels: NDArray[Any], seed: tuple[int, int, int]
) -> tuple[Inputs, NDArray[Any]]:
    """What the stage's model takes of a batch, and the labels; both as they are in a stage that does not mix.

    Args:
        stage: Says whether and how images are mixed.
        images: [b, h, w, c].
        labels: Of these images; vectors [b, classes] where the stage mixes.
        seed: See `draw_mix`.
    """
    if not stage.is_mixed:
        return images, labels
    mix = draw_mix(stage, len(images), images.shape[1], images.shape[2], seed)
    return (images, mix.partners, mix.own), mixed_labels(labels, mix)


class MixedPairs(keras.layers.Layer):
    """Mixes images [b, h, w, c] as a `Mix` says, given as tensors."""

    def call(self, images: Any, partners: Any, own: Any) -> Any:
        """Returns the mixed images, [b, h, w, c]."""
        return own * images + (1 - own) * keras.ops.take(images, partners, axis=0)


def mixed_inputs(images: Any) -> tuple[list[Any], Any]:
    """Further inputs of a model that mixes, for `partners` and `own`, and the mixed symbolic images."""
    partners = keras.Input((), name="mix_partners", dtype="int32")
    own = keras.Input(batch_shape=(1, *images.shape[1:3], 1), name="mix_own", dtype="float32")
    return [partners, own], MixedPairs(name="mix", dtype="float32")(images, partners, own)
