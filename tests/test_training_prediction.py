from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps
from training_cells import architecture, cell, job, run_worker

from benchmark import events
from benchmark.errors import BenchError, UserError
from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture
from benchmark.scheduling.programs import inference
from benchmark.scheduling.programs.inference import Trained, predict
from benchmark.training.process.failures import EXIT_DATA_ERROR
from benchmark.training.programs.predict import main
from benchmark.training.programs.prepare import prepare

pytestmark = pytest.mark.tf

OTHER = cell(
    cell_id="ffff56789abcdef01234",
    architecture=architecture("basic_cnn", filters=(4, 8), dense_units=8),
    precision="mixed_bfloat16",
    stages=(replace(cell().stages[0], epochs=1),),
)


OWN = """\
import keras
def net(input_shape, num_classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
                             keras.layers.Dense(num_classes, activation="softmax")])
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Two finished cells, of other networks and precisions."""
    found = []
    for one in (cell(), OTHER):
        directory = tmp_path_factory.mktemp("cell") / "1"
        run = run_worker(job(one, directory, digits))
        assert run.one(events.Completed)
        found.append(Trained(one, directory / "weights.npz", sha256_of(directory / "weights.npz")))
    return found


@pytest.fixture(scope="module")
def plugged(digits, tmp_path_factory):
    """A finished cell of a user's own model."""
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "my.py").write_text(OWN)
    model = Architecture("plugin:net", (), sha256_of(folder / "my.py"), str(folder / "my.py"))
    own = replace(OTHER, cell_id="eeee56789abcdef01234", architecture=model, precision="float32")
    assert run_worker(job(own, folder / "1", digits, allow_plugins=True)).one(events.Completed)
    return Trained(own, folder / "1" / "weights.npz", sha256_of(folder / "1" / "weights.npz"))


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory, trained):
    """The first test images of the cells, as pictures."""
    folder = tmp_path_factory.mktemp("images")
    with np.load(trained[0].weights.with_name("predictions.npz")) as stored:
        indices = stored["indices"][:5]
    for number, array in enumerate(np.load(digits / "test_images.npy")[indices]):
        Image.fromarray(array[..., 0]).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def in_this_process(tmp_path, monkeypatch):
    """The program answers here: the same code, without the seconds that a process takes to import Keras."""

    def ask(_command, request, _backend, _threads):
        (tmp_path / "request.json").write_text(json.dumps(request))
        code = main([str(tmp_path / "request.json"), str(tmp_path / "answer.json")])
        assert code == EXIT_DATA_ERROR
        raise UserError(json.loads((tmp_path / "answer.json").read_text())["error"])

    # what only a process of its own can bear: it settles threads for good, and closes the network
    monkeypatch.setattr("benchmark.training.programs.predict.prepare_process", lambda *_: None)
    monkeypatch.setattr("benchmark.training.programs.predict.forbid_network", lambda: None)
    monkeypatch.setattr(inference, "ask", ask)


def test_pictures_of_the_test_set_give_the_recorded_predictions(trained, plugged, images, tmp_path):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8))
    wide.save(tmp_path / "wide.png")
    ImageOps.fit(wide, (16, 16), Image.Resampling.BILINEAR).save(tmp_path / "middle.png")
    first = trained[0]
    cropped = replace(first.cell, cell_id="0" * 20, data=replace(first.cell.data, resize="crop"))
    crops = replace(first, cell=cropped)
    pictures = [*images, tmp_path / "wide.png", tmp_path / "middle.png"]
    *plain, cropping = predict([*trained, plugged, crops], pictures, allow_plugins=True)
    for one, found in zip([*trained, plugged], plain, strict=True):
        with np.load(one.weights.with_name("predictions.npz")) as stored:
            assert np.allclose(found.probabilities[:5], stored["probabilities"][:5], atol=5e-3)
        assert found.class_names == tuple("0123456789")
        assert found.cell == one.cell
    squeezed, of_a_square = plain[0].probabilities[5:]
    assert np.allclose(cropping.probabilities[5:], [of_a_square, of_a_square], atol=1e-5)
    assert not np.allclose(cropping.probabilities[5], squeezed, atol=1e-3)


@pytest.mark.exhaustive
def test_views_change_the_predictions_and_are_the_same_each_time(trained, images):
    with np.load(trained[0].weights.with_name("predictions.npz")) as stored:
        plain = stored["probabilities"][:5]
    once, again = (predict(trained[:1], images, views=2)[0].probabilities for _ in range(2))
    assert once == again
    assert not np.allclose(plain, once, atol=5e-3)
    assert np.allclose(np.sum(once, axis=1), 1, atol=1e-4)


def test_changed_weights_are_refused_before_they_are_used(trained, images, tmp_path, in_this_process):
    bent = tmp_path / "weights.npz"
    content = bytearray(trained[0].weights.read_bytes())
    content[len(content) // 2] ^= 1
    bent.write_bytes(content)
    with pytest.raises(UserError, match="has been changed or damaged"):
        predict([replace(trained[0], weights=bent)], images)


def test_weights_of_another_network_are_refused(trained, images, in_this_process):
    wrong = replace(trained[0], weights=trained[1].weights, sha256=trained[1].sha256)
    with pytest.raises(UserError, match="does not hold the weights of simple_cnn"):
        predict([wrong], images)


def test_a_file_that_is_no_picture_is_refused_in_words(trained, tmp_path, in_this_process):
    place = tmp_path / "x.png"
    place.write_bytes(b"hello")
    with pytest.raises(UserError, match=r"x\.png cannot be read as JPEG or PNG"):
        predict(trained[:1], [place])


def test_a_process_that_dies_is_told_of_with_its_last_words(trained, images, monkeypatch):
    code = "import os, sys; print('so long', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(inference, "COMMAND", (sys.executable, "-c", code))
    with pytest.raises(BenchError, match=r"ended by SIGKILL before it answered:\nso long"):
        predict(trained[:1], images)
