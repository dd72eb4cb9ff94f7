"""What splits are called, and which of them serve as training, validation and test set."""

from __future__ import annotations

TRAIN, VALIDATION, TEST = "train", "val", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

TEST_FRACTION = 0.2
"""Share of each class that is split off for the test set where a source has none, and the matrix says nothing else."""

VALIDATION_FOLDERS = ("val", "valid", "validation")
"""What a validation split is called among folders and in tables; the first that is there is used."""

VALIDATION_ROWS = ("validation", "val", "valid", "dev")
"""The same of sources of rows and of datasets of TFDS."""


def sets_of(*, has_test: bool, has_validation: bool) -> frozenset[str]:
    """Which of `SPLITS` a source with these splits beside `train` has: without a split `test` the validation split is the test set."""
    return frozenset(
        {TRAIN}
        | ({TEST} if has_test or has_validation else set())
        | ({VALIDATION} if has_test and has_validation else set())
    )
