"""Stored predictions as arrays, the source of confusion, per-class figures, misclassified images and ensembles.

NumPy is imported when the first predictions are read, not before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmark.catalog.source_files.npz_headers import DAMAGE
from benchmark.errors import StorageError
from benchmark.files import sha256_of
from benchmark.prediction_metrics import cross_entropies, stored_metrics
from benchmark.reporting.predictions.best_probabilities import BestProbabilities, Probabilities, pieces

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
        probabilities: Of each class, 0..1, rounded to float16, given as float32 [n, classes]; perhaps the best alone.
        class_names: In the order of the probabilities.
        tta_predicted, tta_probabilities: The same for the average over augmented views; None without `tta`.
    """

    indices: NDArray[Any]
    labels: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: Probabilities
    class_names: tuple[str, ...]
    tta_predicted: NDArray[Any] | None = None
    tta_probabilities: Probabilities | None = None

    @property
    def has_several_labels(self) -> bool:
        """Whether labels and predictions are rows of 0 and 1 [n, classes], because an image may have several."""
        return bool(self.labels.ndim == 2)

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

        if isinstance(self.probabilities, BestProbabilities):
            return self.probabilities.values[:, 0]
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
            names = [name for name in ("indices", "labels", "predicted", "tta_predicted") if name in archive.files]
            arrays: dict[str, Any] = {name: archive[name].astype(np.int64) for name in names}
            for prefix in ("", "tta_") if "tta_predicted" in arrays else ("",):
                arrays[f"{prefix}probabilities"] = _probabilities(
                    archive, prefix, arrays["labels"], len(row.class_names)
                )
            return Predictions(**arrays, class_names=row.class_names)
    except (OSError, ValueError, TypeError, KeyError, MemoryError, *DAMAGE) as error:
        # the sha256 matches, so whoever wrote this content wrote the sha256 too: no damage of the disk
        raise StorageError(
            f"stored predictions: expected the arrays of a predictions.npz, found something else ({error!s:.200}): the "
            "database was changed by hand; put a backup in its place"
        ) from error


def _probabilities(
    archive: Mapping[str, NDArray[Any]], prefix: str, labels: NDArray[Any], classes: int
) -> Probabilities:
    import numpy as np

    if "metrics" not in archive:
        return archive[f"{prefix}probabilities"].astype(np.float32)
    return BestProbabilities(
        classes=classes,
        best=archive[f"{prefix}best_classes"].astype(np.int64),
        values=archive[f"{prefix}best_probabilities"].astype(np.float32),
        labels=labels,
        of_labels=archive[f"{prefix}label_probabilities"],
        sums=archive[f"{prefix}probability_sums"].astype(np.float32),
        metrics=stored_metrics(archive),
    )


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


def average_scores(members: Sequence[Probabilities], labels: NDArray[Any]) -> tuple[float, float]:
    """Accuracy 0..1 and mean cross-entropy in nats of the mean of several arrays of probabilities [n, classes].

    Of equally probable classes the first one is the answer.
    """
    import numpy as np

    right, losses = 0, np.empty(len(labels))
    for rows in pieces(len(labels)):
        mean = np.asarray(np.mean([each[rows] for each in members], axis=0, dtype=np.float64))
        right += int((mean.argmax(axis=-1) == labels[rows]).sum())
        losses[rows] = cross_entropies(mean, labels[rows])
    return right / len(labels), float(losses.mean())
