"""What the cells of several groups said about each image, from stored predictions, lined up by image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.reporting.predictions.best_probabilities import BestProbabilities, note_on_best, pieces
from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.statistics.churn import NOT_ASKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ON_DOUBTS = "doubted labels take the rest as shared equally by the other classes"


@dataclass(frozen=True, slots=True)
class Answers:
    """What cells said about the images that any of them was asked about.

    Attributes:
        images: Places in the prepared set, ascending [images].
        labels: Numbers of their classes [images].
        said: The class that each cell named, or `NOT_ASKED` [cells, images].
        rows: The row of each cell in `said`, by its execution.
        class_names: By number.
        by_group: Of each group the positions in `images` of what it was asked about [some], and the mean probabilities over
            its cells [some, classes].
        notes: What a reader must know of the probabilities.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    said: NDArray[Any]
    rows: Mapping[int, int]
    class_names: tuple[str, ...]
    by_group: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> NDArray[Any]:
        """1 right, 0 wrong, or `NOT_ASKED` [cells, images]."""
        import numpy as np

        return np.where(self.said == NOT_ASKED, NOT_ASKED, self.said == self.labels)

    def rows_of(self, group: Group, seed: int) -> list[int]:
        """The rows of all cells of a repetition; empty where one of them has no predictions."""
        rows = [self.rows.get(row["execution_id"]) for row in group.cells_of(seed)]
        return [] if None in rows else [row for row in rows if row is not None]

    def mean_probabilities(self, position: int) -> NDArray[Any]:
        """The mean over groups of the probabilities of each class for one image [classes]."""
        import numpy as np

        of_image = []
        for places, probabilities in self.by_group:
            row = int(np.searchsorted(places, position))
            if row < len(places) and places[row] == position:
                of_image.append(probabilities[row])
        mean: NDArray[Any] = np.mean(of_image, axis=0)
        return mean


def most_named(said: NDArray[Any], but: int = NOT_ASKED) -> int:
    """The class that most cells named, of those asked; of equally many the first. One class may be left aside."""
    import numpy as np

    return int(np.bincount(said[(said != NOT_ASKED) & (said != but)]).argmax())


def read_answers(groups: Iterable[Group], load: LoadPredictions, split: str) -> Answers:
    """Line up the stored predictions of all cells of some groups.

    Args:
        groups: All of one dataset.
        load: Reads the predictions of the split.
        split: `test`, where all must have been asked about the same images, or `validation`.

    Raises:
        UserError: The images, their labels or the classes differ between cells.
    """
    import numpy as np

    members: dict[int, Predictions] = {}
    means: list[tuple[NDArray[Any], NDArray[Any]]] = []
    notes: dict[str, None] = {}
    for group in groups:
        loaded = load(group.execution_ids)
        if loaded:
            # the probabilities of each cell are let go of: of many images and classes they fill the memory
            means.append(_mean(list(loaded.values())))
            notes |= dict.fromkeys(note_on_best((each.probabilities for each in loaded.values()), _ON_DOUBTS))
            members |= {number: _without_probabilities(each) for number, each in loaded.items()}
    cells = list(members.values())
    images = np.unique(np.concatenate([each.indices for each in cells])) if cells else np.empty(0, dtype=np.int64)
    said = np.full((len(cells), len(images)), NOT_ASKED)
    labels = np.full(len(images), NOT_ASKED)
    for row, each in enumerate(cells):
        places = np.searchsorted(images, each.indices)
        is_new = labels[places] == NOT_ASKED
        if each.class_names != cells[0].class_names or (labels[places] != each.labels)[~is_new].any():
            raise UserError("A and B are not comparable: other labels of the stored predictions")
        if split == "test" and len(each.indices) != len(images):
            raise UserError("A and B are not comparable: they were tested on other images")
        labels[places] = each.labels
        said[row, places] = each.predicted
    rows = {number: row for row, number in enumerate(members)}
    names = cells[0].class_names if cells else ()
    return Answers(
        images, labels, said, rows, names, [(np.searchsorted(images, some), mean) for some, mean in means], (*notes,)
    )


def _mean(members: Sequence[Predictions]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images that any member was asked about [images], and the mean of its probabilities [images, classes]."""
    import numpy as np

    images = np.unique(np.concatenate([each.indices for each in members]))
    shape = len(images), members[0].probabilities.shape[1]
    # of so many that only the best are stored, all would fill the memory twice over
    is_whole = not any(isinstance(each.probabilities, BestProbabilities) for each in members)
    sums = np.zeros(shape, np.float64 if is_whole else np.float32)
    counts = np.zeros(len(images), sums.dtype)
    for each in members:
        if each.probabilities.shape[1] != sums.shape[1]:
            raise UserError("A and B are not comparable: other classes of the stored predictions")
        places = np.searchsorted(images, each.indices)
        for rows in pieces(len(places)):
            sums[places[rows]] += each.probabilities[rows]
        counts[places] += 1
    sums /= counts[:, None]
    return images, sums


def _without_probabilities(member: Predictions) -> Predictions:
    return replace(member, probabilities=member.probabilities[:0], tta_probabilities=None)
