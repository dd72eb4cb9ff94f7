from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from training_cells import DIGITS, architecture

from benchmark import layout

pytestmark = pytest.mark.tf


@pytest.fixture(
    scope="module", params=[("simple_cnn", "float32"), ("advanced_cnn", "mixed_bfloat16"), ("vgg16", "float32")]
)
def core(request):
    import keras

    from benchmark.training.networks.network import build_network

    name, precision = request.param
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(precision)
    data = replace(DIGITS, image_size=32, color="rgb")
    yield build_network(architecture(name), data).core
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def sample():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["model", "h5", "architecture"])
def test_every_form_is_written_whole_and_checked(core, kind, sample, tmp_path):
    from benchmark.training.artifacts.model_files import save_network

    assert save_network(core, kind, tmp_path, sample) == layout.SAVED_NETWORKS[kind]
    assert [path.name for path in tmp_path.iterdir()] == [layout.SAVED_NETWORKS[kind]]


def test_a_file_that_loads_to_other_predictions_is_refused(core, sample, tmp_path, monkeypatch):
    import keras

    from benchmark.training.artifacts import model_files

    def with_other_weights(*_arguments, **_options):
        bent = keras.models.clone_model(core)
        bent.set_weights([array * 1.5 for array in core.get_weights()])
        return bent

    monkeypatch.setattr(keras.saving, "load_model", with_other_weights)
    with pytest.raises(model_files.SavedModelError, match=r"model\.keras: expected the predictions"):
        model_files.save_network(core, "model", tmp_path, sample)


def test_a_full_disk_leaves_nothing_behind(core, sample, tmp_path, monkeypatch):
    from benchmark.training.artifacts import model_files

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        model_files.save_network(core, "model", tmp_path, sample)
    assert list(tmp_path.iterdir()) == []
