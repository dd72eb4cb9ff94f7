"""What two groups did on each test image, from stored predictions: intervals over images, or the test of two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.errors import StorageError
from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions, share_test_set
from benchmark.reporting.rows.groups import Group, apart
from benchmark.reporting.rows.metrics import TEST_ACCURACY, in_words
from benchmark.reporting.statistics.intervals import Interval
from benchmark.reporting.statistics.mean_difference import pairs_by_seed
from benchmark.reporting.statistics.proportions import mcnemar
from benchmark.reporting.statistics.seeds_and_images import ADVICE, over_seeds_and_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAIRS_AT_ONCE = 20
"""Of how many pairs predictions are held in memory at once: one query for each pair would take most of the time."""


@dataclass(frozen=True, slots=True)
class ImageEvidence:
    """What stored predictions say about the difference of two groups in test accuracy.

    Attributes:
        interval: Over seeds and test images, second minus first; None where predictions do not allow it.
        remarks: What a reader should know of it.
        problem: Why the two cannot be compared; empty where they can.
        narrowed_by: More of what would make the interval narrower; empty without one.
    """

    interval: Interval | None = None
    remarks: tuple[str, ...] = ()
    problem: str = ""
    narrowed_by: str = ""


def image_evidence(
    pairs: Sequence[tuple[Group, Group]], load: LoadPredictions
) -> Iterator[tuple[tuple[Group, Group], ImageEvidence]]:
    """The evidence on each pair of groups."""
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        try:
            loaded = load({number for pair in some for group in pair for number in group.execution_ids})
        except StorageError as error:
            yield from ((pair, ImageEvidence(remarks=(f"test images are not used: {error}",))) for pair in some)
        else:
            yield from ((pair, _evidence(*pair, loaded)) for pair in some)


def _evidence(first: Group, second: Group, loaded: Mapping[int, Predictions]) -> ImageEvidence:
    import numpy as np

    first, second = groups = apart(first, second)
    sides = [[loaded[number] for number in group.execution_ids if number in loaded] for group in groups]
    if not all(sides):
        return ImageEvidence()
    if not share_test_set([member for side in sides for member in side]):
        return ImageEvidence(problem="labels of the stored predictions")
    if any(len(side) < len(group.cells) for side, group in zip(sides, groups, strict=True)):
        return ImageEvidence()
    # of a repetition of several cells, such as folds, the mean
    a, b = (
        {
            seed: np.mean([_is_right(loaded[row["execution_id"]]) for row in group.cells_of(seed)], axis=0)
            for seed in group.completed
        }
        for group in groups
    )
    common = pairs_by_seed(a, b)
    if len(a) == len(b) == len(common) == 1:
        return _two_networks(a[common[0]], b[common[0]])
    stacks = (
        [np.stack([b[seed] - a[seed] for seed in common])]
        if common
        else [np.stack([*a.values()]), np.stack([*b.values()])]
    )
    result = over_seeds_and_images(*stacks)
    if result is None:
        return ImageEvidence()
    half, seeds, images = (in_words(each, TEST_ACCURACY) for each in (result.half_width, result.seeds, result.images))
    text = (
        f"± {half} over seeds and test images (seeds {seeds.split()[0]}, images {images.split()[0]}): "
        f"{ADVICE[result.narrowed_by]}"
    )
    return ImageEvidence(result.interval, (text,), narrowed_by=result.narrowed_by)


def _is_right(member: Predictions) -> NDArray[Any]:
    """1 for each image [n] that is predicted right, else 0."""
    right: NDArray[Any] = (member.predicted == member.labels).astype(float)
    return right


def _two_networks(first: NDArray[Any], second: NDArray[Any]) -> ImageEvidence:
    only_first, only_second = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    test = mcnemar(only_first, only_second)
    text = (
        f"of {len(first)} test images the second alone is right on {only_second}, the first alone on {only_first} "
        f"(McNemar's exact p = {test.p:.3g}): this is about these two networks, not the methods"
    )
    return ImageEvidence(remarks=(text,))
