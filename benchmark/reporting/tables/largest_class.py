"""The largest class of the test images: where it is large, a network that has learned nothing looks good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.table import Advised

_SAYS_MUCH = 0.1
"""By how much its share must exceed that of equal classes to be worth a note."""


@dataclass(frozen=True, slots=True)
class LargestClass:
    """The class with the most test images of a dataset.

    Attributes:
        name: Of the class.
        share: Of the test images, 0..1.
        classes: How many classes there are.
    """

    name: str
    share: float
    classes: int

    @property
    def in_words(self) -> str:
        """The class and its share."""
        return f"{self.name}, {self.share:.1%} of the test images"


def largest_classes(tested: Mapping[str, Predictions]) -> dict[str, LargestClass]:
    """The largest class of each dataset, of equally many the first, by the predictions that are stored for it."""
    largest = {}
    for dataset, member in tested.items():
        if len(member.labels) and not member.has_several_labels:
            (label, count), *_ = Counter(sorted(member.labels.tolist())).most_common(1)
            share = count / len(member.labels)
            largest[dataset] = LargestClass(member.class_names[label], share, len(member.class_names))
    return largest


def notes_on_largest_classes(largest: Mapping[str, LargestClass]) -> list[str]:
    """Names the largest class of each dataset where it is much larger than others."""
    notes: list[str] = []
    for dataset, each in largest.items():
        if each.share - 1 / each.classes >= _SAYS_MUCH:
            note = (
                f"{dataset}: the largest class is {each.in_words}, the test accuracy of a network that always names it"
            )
            others, end = "test_balanced_accuracy and test_macro_f1", "count all classes alike."
            notes.append(Advised(f"{note}; {others} {end}", f"{note}; {others} (--metric) {end}"))
    return notes


def no_better(measured: Measurement | None, largest: LargestClass | None) -> list[str]:
    """Says that a test accuracy is no better than always naming the largest class; nothing where it is."""
    if measured is None or largest is None or measured.mean > largest.share:
        return []
    return [f"no better than always naming the largest class ({largest.in_words})"]
