"""Grad-CAM where the answer is known: hand-set weights, class activation maps, and every model of the catalogue."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from training_cells import DIGITS, PARAMETERS, architecture, cell

from benchmark.errors import DataError
from benchmark.matrix.cell import Architecture
from benchmark.training.networks.network import Network, build_network
from benchmark.training.programs.class_evidence import Explainer, upsample_map
from benchmark.training.programs.explain import main
from benchmark.training.programs.prepare import prepare
from benchmark.training.weights.weight_files import weight_arrays, write_weights

pytestmark = pytest.mark.tf

RED, GREEN = 0, 1
SIDE = 16


def hand_set():
    """Class 0 is the amount of red, class 1 the amount of green: convolution, mean over all positions, softmax."""
    images = keras.Input((SIDE, SIDE, 3), name="images")
    features = layers.Conv2D(2, 3, padding="same", activation="relu", use_bias=False, name="conv")(images)
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    core = keras.Model(images, layers.Dense(2, activation="softmax", name="predictions")(pooled))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, RED, 0] = kernel[1, 1, GREEN, 1] = 1 / 255
    core.get_layer("conv").set_weights([kernel])
    core.get_layer("predictions").set_weights([np.eye(2, dtype=np.float32) * 20, np.zeros(2, np.float32)])
    return Network(core, ("conv",), ("pool", "predictions"))


def hand_set_simple_cnn():
    """The same question put to the catalogue's `simple_cnn`, whose head is flat and dense."""
    parameters = architecture("simple_cnn", filters=(2,), kernel_size=3, dense_units=2, dropout=0.0)
    data = replace(DIGITS, source="tfds:x", image_size=SIDE, color="rgb", num_classes=2)
    network = build_network(parameters, data)
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, RED, 0] = kernel[1, 1, GREEN, 1] = 1
    network.core.get_layer("conv1").set_weights([kernel, np.zeros(2, np.float32)])
    positions = 7 * 7
    dense = np.zeros((positions * 2, 2), np.float32)
    dense[0::2, 0] = dense[1::2, 1] = 1
    network.core.get_layer("dense").set_weights([dense, np.zeros(2, np.float32)])
    network.core.get_layer("predictions").set_weights([np.eye(2, dtype=np.float32), np.zeros(2, np.float32)])
    return network


def two_corners():
    """Red in the upper left, green in the lower right."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[1:5, 1:5, RED] = 255
    image[10:15, 10:15, GREEN] = 255
    return image


def explained(network, image, label):
    found = Explainer(network).explain(image, lambda _: [label])
    return found, upsample_map(found.maps[label], *image.shape[:2])


@pytest.mark.parametrize("build", [hand_set, hand_set_simple_cnn])
@pytest.mark.parametrize(("label", "corner"), [(RED, np.s_[:8, :8]), (GREEN, np.s_[8:, 8:])])
def test_evidence_in_one_corner_is_found_there(build, label, corner):
    _, evidence = explained(build(), two_corners(), label)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[corner] = True
    assert inside[np.unravel_index(evidence.argmax(), evidence.shape)]
    assert evidence.max() == 1
    assert evidence[~inside].max() < 0.05


def test_nothing_speaks_for_a_class_that_is_not_there():
    image = two_corners()
    image[..., GREEN] = 0
    _, evidence = explained(hand_set(), image, GREEN)
    assert not evidence.any()
    assert np.isfinite(evidence).all()


def test_with_a_pooled_linear_head_the_map_is_the_class_activation_map():
    """Selvaraju et al. 2017, section 3.1: w_k is the head's weight divided by the number of positions."""
    keras.utils.set_random_seed(3)
    network = build_network(architecture("resnet18", filters=(8, 8, 16, 16)), replace(DIGITS, image_size=96))
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 1)).astype(np.uint8)
    kernel = network.core.get_layer("predictions").kernel.numpy()
    explainer = Explainer(network)
    layer = network.core.get_layer(explainer.layer)
    features = keras.Model(network.core.input, layer.output)(image[None].astype(np.float32))[0].numpy()
    found = explainer.explain(image, lambda _: range(10))
    assert features.shape == (3, 3, 16)
    for label in range(10):
        expected = np.maximum((features * kernel[:, label]).sum(axis=-1), 0) / 9
        assert found.maps[label] == pytest.approx(expected, abs=1e-5)


def test_the_probabilities_are_those_of_the_network():
    keras.utils.set_random_seed(1)
    network = build_network(architecture("simple_cnn"), DIGITS)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 1)).astype(np.uint8)
    before = network.core(image[None].astype(np.float32), training=False)[0].numpy()
    assert Explainer(network).explain(image, lambda _: []).probabilities == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid"),
    [
        ("simple_cnn", 28, "conv2", (11, 11)),
        ("simple_cnn", 16, "conv2", (5, 5)),
        ("basic_cnn", 64, "conv3", (16, 16)),
        ("advanced_cnn", 32, "stage3_conv2_relu", (8, 8)),
        ("resnet18", 64, "stage4_block2_relu2", (2, 2)),
        # one position only is left at the end: the last block before that still has four
        ("resnet18", 16, "stage2_block2_relu2", (2, 2)),
        ("vgg16", 48, "block5_conv3", (3, 3)),
        ("resnet50", 64, "conv5_block3_out", (2, 2)),
        ("keras:MobileNetV2", 64, "out_relu", (2, 2)),
        ("keras:EfficientNetB0", 64, "top_activation", (2, 2)),
    ],
)
def test_the_last_convolution_of_every_kind_of_model_is_explained(name, size, layer, grid):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    known = architecture(name) if name in PARAMETERS else Architecture(name, (("dense_units", 0), ("dropout", 0.0)))
    color = "grey" if name in {"simple_cnn", "basic_cnn", "resnet18"} else "rgb"
    data = replace(DIGITS, source="tfds:x", image_size=size, color=color)
    network = build_network(known, data)
    network.core.trainable = False
    explainer = Explainer(network)
    image = np.random.default_rng(0).integers(0, 256, (size, size, data.channels)).astype(np.uint8)
    found = explainer.explain(image, lambda p: [int(p.argmax())])
    assert (explainer.layer, explainer.grid) == (layer, grid)
    (evidence,) = found.maps.values()
    assert evidence.shape == grid
    assert np.isfinite(evidence).all()
    assert (evidence >= 0).all()


def test_an_activation_in_a_branch_is_passed_over():
    images = keras.Input((8, 8, 1))
    trunk = layers.Conv2D(4, 3, padding="same", name="trunk")(images)
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(trunk)
    # the sum has one position, so only what both ways share can be looked at
    pools = [layers.AveragePooling2D(8, name=f"pool{number}")(x) for number, x in enumerate((trunk, branch))]
    flat = layers.Flatten(name="flat")(layers.Add(name="sum")(pools))
    core = keras.Model(images, layers.Dense(3, activation="softmax", name="predictions")(flat))
    network = Network(core, ("trunk", "branch", "pool0", "pool1", "sum"), ("flat", "predictions"))
    assert Explainer(network).layer == "trunk"


@pytest.mark.parametrize("scaled", [False, True], ids=["", "whose images are scaled first"])
def test_a_network_without_positions_cannot_be_explained(scaled):
    images = keras.Input((8, 8, 1))
    flat = layers.Flatten(name="flat")(layers.Rescaling(1 / 255, name="scale")(images) if scaled else images)
    core = keras.Model(images, layers.Dense(3, activation="softmax", name="predictions")(flat))
    with pytest.raises(DataError, match="several positions"):
        Explainer(Network(core, ("scale", "flat") if scaled else ("flat",), ("predictions",)))


def test_a_softmax_layer_of_its_own_is_left_out_too():
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, name="conv")(images)
    scores = layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x))
    maps = []
    for last in (layers.Softmax(name="end"), layers.Activation("softmax", name="end")):
        core = keras.Model(images, last(scores))
        image = np.random.default_rng(0).integers(0, 256, (8, 8, 1)).astype(np.uint8)
        network = Network(core, ("conv",), ("pool", "scores", "end"))
        expected = core(image[None].astype(np.float32))[0].numpy()
        found = Explainer(network).explain(image, lambda _: [0, 1, 2])
        assert found.probabilities == pytest.approx(expected, abs=1e-6)
        maps.append(np.stack([found.maps[label] for label in range(3)]))
    assert maps[0].any()
    assert maps[0] == pytest.approx(maps[1])


# ---- the program


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A cell whose weights were never trained, and its prepared dataset."""
    folder = tmp_path_factory.mktemp("explained")
    directory = prepare("digits", 16, "grey", folder / "cache")
    trained = cell(data=replace(DIGITS, classes=(3, 5, 8), num_classes=3))
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    network = build_network(trained.architecture, trained.data)
    path = folder / "weights.npz"
    write_weights(path, weight_arrays(network.core), trained.cell_id, ("3", "5", "8"))
    return folder, directory, trained, path


def ask(place, monkeypatch, **changes):
    folder, directory, trained, weights = place
    monkeypatch.setattr("benchmark.training.programs.explain.forbid_network", lambda: None)
    monkeypatch.setattr("benchmark.training.programs.explain.prepare_process", lambda *_: None)
    request = {
        "cell": trained.to_dict(),
        "weights": str(weights),
        "sha256": None,
        "images": [],
        "class_name": None,
        "data_directory": str(directory),
        "data_fingerprint": None,
        "result": str(folder / "result.npz"),
        "allow_plugins": False,
        **changes,
    }
    (folder / "request.json").write_text(json.dumps(request))
    code = main([str(folder / "request.json"), str(folder / "answer.json")])
    return code, json.loads((folder / "answer.json").read_text())


def test_the_program_explains_one_test_image_of_each_class_by_itself(place, monkeypatch):
    code, told = ask(place, monkeypatch)
    assert code == 0
    assert [each["label"] for each in told] == ["3", "5", "8"]
    with np.load(io.BytesIO((place[0] / "result.npz").read_bytes()), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        assert header["layer"] == "conv2"
        assert header["names"] == [each["image"] for each in told]
        assert arrays["map_0"].shape == (16, 16)
        said = [header["class_names"][label] for label in arrays["classes"]]
        assert said == [each["prediction"] for each in told]
        test_images = np.load(place[1] / "test_images.npy")
        number = int(told[0]["image"].removeprefix("test:"))
        assert (arrays["image_0"] == test_images[number]).all()


def test_a_class_can_be_asked_for(place, monkeypatch):
    _, told = ask(place, monkeypatch, class_name="8")
    assert {each["class"] for each in told} == {"8"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"class_name": "9"}, "expected one of the cell's classes: 3, 5, 8"),
        ({"images": ["test:99999"]}, "not tested on such an image"),
        ({"images": ["test:-1"]}, "not tested on such an image"),
        ({"images": ["/nowhere.png"]}, "/nowhere.png cannot be read"),
        ({"data_directory": None}, "bench prepare"),
        ({"data_fingerprint": "another"}, "not the one that the cell was tested on"),
        ({"sha256": "0" * 64}, "changed or damaged"),
    ],
)
def test_what_is_wrong_is_said(place, monkeypatch, changes, expected):
    code, answer = ask(place, monkeypatch, **changes)
    assert code == 3
    assert expected in answer["error"]
