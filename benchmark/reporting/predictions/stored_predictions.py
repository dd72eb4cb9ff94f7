"""Stored predictions as arrays, the source of confusion, per-class figures, misclassified images and ensembles.

NumPy is imported when the first predictions are read, not before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmark.catalog.npz_headers import DAMAGE
from benchmark.errors import StorageError
from benchmark.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.results.records import PredictionRow


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one cell predicted for its n test images.

    Attributes:
        indices: Position of each image in the prepared test set, [n].
        labels: True classes, counted from 0, [n].
        predicted: Most probable classes, [n].
        probabilities: Of each class, 0..1, rounded to float16, given as float32 [n, classes].
        class_names: In the order of the probabilities.
        tta_predicted, tta_probabilities: The same for the average over augmented views; None without `tta`.
    """

    indices: NDArray[Any]
    labels: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    tta_predicted: NDArray[Any] | None = None
    tta_probabilities: NDArray[np.float32] | None = None

    @property
    def wrong(self) -> NDArray[Any]:
        """Rows of the m misclassified images, the most confident mistake first, [m]."""
        import numpy as np

        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of the predicted class, [n]."""
        import numpy as np

        highest: NDArray[np.float32] = self.probabilities[np.arange(len(self.predicted)), self.predicted]
        return highest


LoadPredictions: TypeAlias = Callable[[Iterable[int]], Mapping[int, Predictions]]
"""Reads the stored predictions of executions, by execution id; executions without any are left out."""


def decode(row: PredictionRow) -> Predictions:
    """Decode a row of the table `prediction` (see `queries.predictions`).

    Raises:
        StorageError: The content does not match its recorded sha256, or is no such archive.
    """
    import numpy as np

    if sha256_of(row.content) != row.sha256:
        raise StorageError(
            f"stored predictions: expected the sha256 {row.sha256}, found another one: the database is damaged; "
            "see: bench db check"
        )
    try:
        with np.load(io.BytesIO(row.content), allow_pickle=False) as archive:
            types = {"probabilities": np.float32, "tta_probabilities": np.float32}
            names = ["indices", "labels", "predicted", "probabilities"]
            names += [name for name in ("tta_predicted", "tta_probabilities") if name in archive.files]
            arrays = {name: archive[name].astype(types.get(name, np.int64)) for name in names}
            return Predictions(**arrays, class_names=row.class_names)
    except (OSError, ValueError, TypeError, KeyError, MemoryError, *DAMAGE) as error:
        # the sha256 matches, so whoever wrote this content wrote the sha256 too: no damage of the disk
        raise StorageError(
            f"stored predictions: expected the arrays of a predictions.npz, found something else ({error!s:.200}): the "
            "database was changed by hand; put a backup in its place"
        ) from error


def share_test_set(members: Sequence[Predictions]) -> bool:
    """Whether all were made for the same images, in the same order, with the same classes."""
    import numpy as np

    first = members[0]
    return all(
        each.class_names == first.class_names
        and np.array_equal(each.indices, first.indices)
        and np.array_equal(each.labels, first.labels)
        for each in members[1:]
    )


def average(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The mean of several arrays of probabilities [n, classes]."""
    import numpy as np

    mean: NDArray[np.float64] = np.mean(np.stack(members), axis=0, dtype=np.float64)
    return mean


def accuracy(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """The share of images, 0..1, whose most probable class is the true one; the first class wins a tie."""
    return float((probabilities.argmax(axis=-1) == labels).mean())
