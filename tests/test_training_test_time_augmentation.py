from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.tf


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)


def test_views_follow_from_seed_and_number_alone(images):
    from benchmark.training.augmenting.test_time_augmentation import ViewGenerator

    one, two, other = ViewGenerator((12, 12, 3), 1), ViewGenerator((12, 12, 3), 1), ViewGenerator((12, 12, 3), 2)
    for viewer in (one, two, other):
        viewer.begin(1)
    first = one.view(images)
    assert (first.dtype, first.shape) == (np.uint8, images.shape)
    assert np.array_equal(first, two.view(images))
    assert not np.array_equal(first, other.view(images))
    one.begin(2)
    assert not np.array_equal(first, one.view(images))
    one.begin(1)
    assert np.array_equal(first, one.view(images))


def test_the_mean_counts_the_plain_prediction_and_every_view_alike(images):
    from benchmark.training.augmenting.test_time_augmentation import ViewGenerator, average_views

    asked = []

    def predict_all(change):
        asked.append(change(images))
        return np.full((6, 2), len(asked), dtype=np.float32)

    mean = average_views(np.zeros((6, 2), np.float32), predict_all, ViewGenerator((12, 12, 3), 0), 3)
    assert mean.dtype == np.float32
    assert np.array_equal(mean, np.full((6, 2), (0 + 1 + 2 + 3) / 4))
    assert len({view.tobytes() for view in asked}) == 3
