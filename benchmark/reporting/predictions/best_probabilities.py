"""Probabilities of which the best k of each image are stored: all of them would take 100 MB for 50,000 images and 1,000 classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS = 4096
"""For how many images all probabilities are held in memory at once."""


@dataclass(frozen=True, slots=True)
class BestProbabilities:
    """An array [n, classes] that is filled, some rows at a time, where it is asked for.

    The probabilities of the best classes and of the true one are those of the network. What is left is shared out evenly
    among the other classes, none of which is more probable than the last of the best.

    Attributes:
        classes: How many there are.
        best: The most probable ones, the best first, [n, k].
        values: Their probabilities, float32 [n, k].
        labels: True classes, [n].
        of_labels: Their probabilities, float32 [n].
        sums: Of the probabilities of all classes, float32 [n]: 1 behind a softmax.
        metrics: What the network's probabilities of all classes gave, by name.
    """

    classes: int
    best: NDArray[Any]
    values: NDArray[np.float32]
    labels: NDArray[Any]
    of_labels: NDArray[np.float32]
    sums: NDArray[np.float32]
    metrics: Mapping[str, float | None]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, classes)."""
        return len(self.best), self.classes

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """All probabilities of some images, [b, classes]."""
        import numpy as np

        best, values, labels, own = self.best[rows], self.values[rows], self.labels[rows], self.of_labels[rows]
        total = self.sums[rows].astype(np.float64)
        beside = (best != labels[:, None]).all(axis=1)
        others = np.maximum(self.classes - best.shape[1] - beside, 1)
        left = (total - values.sum(axis=1, dtype=np.float64) - own * beside) / others
        each = np.clip(left, 0, values[:, -1]).astype(np.float32)
        filled: NDArray[np.float32] = np.repeat(each[:, None], self.classes, axis=1)
        np.put_along_axis(filled, best, values, axis=1)
        filled[np.arange(len(labels)), labels] = own
        return filled

    def divided(self) -> BestProbabilities:
        """Those that sum to 1 for each image, as `prediction_metrics.shares` has them."""
        import numpy as np

        sums = np.where(self.sums > 0, self.sums, 1).astype(np.float32)
        return replace(
            self, values=self.values / sums[:, None], of_labels=self.of_labels / sums, sums=np.ones_like(self.sums)
        )


Probabilities: TypeAlias = "NDArray[np.float32] | BestProbabilities"
"""Of each class for each image [n, classes]; a slice of rows gives an array."""


def pieces(images: int) -> Iterator[slice]:
    """Slices that together are all images, so many at once as fit into memory whatever the number of classes."""
    return (slice(start, start + ROWS) for start in range(0, images, ROWS))


def note_on_best(probabilities: Iterable[Probabilities], what: str) -> list[str]:
    """Says of what only the best probabilities are stored; nothing where all of them are."""
    counts = {(each.best.shape[1], each.classes) for each in probabilities if isinstance(each, BestProbabilities)}
    return [
        f"Of each image the best {k} of {classes:,} probabilities are stored, and that of its label; {what}."
        for k, classes in sorted(counts)
    ]
