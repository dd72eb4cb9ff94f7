"""Images of 2, 4, 12 channels: kept as they are, planned where a network takes them, and shown as far as one can see them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cli_workplace import Workplace
from figure_samples import images as sample_images
from figure_samples import predictions
from own_data import draw, prepared, refusal
from PIL import Image
from test_compressed_images import SMALL, photograph
from test_matrix_own import only, plan, problems
from test_training_plugin_data import ARRAYS, made, refused
from training_cells import DIGITS

from benchmark.catalog.channels import color_named
from benchmark.images.compressed_images import open_array
from benchmark.images.pictures import resize_array
from benchmark.reporting.figures.images.grad_cam_overlays import overlay
from benchmark.reporting.figures.images.mistakes import draw_mistakes
from benchmark.reporting.figures.images.training_images import draw_training_images
from benchmark.training.programs.prepare import prepare

MATRIX = """\
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"
[dataset.own]
source = "npz:own.npz"
num_classes = 3
"""


def archive(folder: Path, channels: int, side: int = 16, count: int = 60) -> Path:
    """Images whose class shows in the last channel alone."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = random.integers(0, 256, (count, side, side, channels)).astype(np.uint8)
    images[..., -1] = (100 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "own.npz", x=images, y=labels)
    return folder / "own.npz"


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_arrays_keep_their_channels_each_resized_for_itself(tmp_path, channels):
    path = archive(tmp_path, channels)
    color = only(tmp_path, MATRIX).data.color
    assert color == f"{channels}-channel"
    arrays, _ = prepared(path, tmp_path, source="npz:own.npz", color=color, image_size=10)
    with np.load(path) as stored:
        planes = [resize_array(stored["x"][0][..., [each]], 10, 1)[..., 0] for each in range(channels)]
    whole = np.concatenate([arrays["train_images"], arrays["test_images"]])
    assert whole.shape == (60, 10, 10, channels)
    assert any((image == np.stack(planes, axis=-1)).all() for image in whole)


def test_a_loader_gives_as_many_channels_as_its_dataset_says(tmp_path):
    text = ARRAYS.replace("10, 12, 3)", "10, 12, 5)")
    arrays, _ = made(tmp_path, text, color="5-channel")
    assert arrays["train_images"].shape == (12, 8, 8, 5)
    assert "set color = 5 to take them as they are" in refused(tmp_path, text)
    assert "expected images [h, w, 4], found uint8 of shape (10, 12, 5)" in refused(tmp_path, text, color="4-channel")


@pytest.mark.parametrize(
    ("value", "color"),
    [
        (1, "grey"), ("grey", "grey"), (3, "rgb"), ("3-channel", "rgb"), (4, "4-channel"), ("12-channel", "12-channel"),
        (0, None), (1025, None), (True, None), (2.0, None), ("4", None), ("gray", None), ("-2-channel", None), ([4], None),
    ],
)  # fmt: skip
def test_a_colour_has_one_normal_form(value, color):
    assert color_named(value) == color


def test_a_number_of_channels_is_the_cell_of_the_word_that_means_it(tmp_path):
    archive(tmp_path, 3)
    ids = {only(tmp_path, f"{MATRIX}color = {value}\n").cell_id for value in ("3", '"rgb"', '"3-channel"')}
    assert len(ids) == 1
    assert "expected grey or rgb, or a number of channels from 1 to 1024" in problems(
        tmp_path, f'{MATRIX}color = "gray"\n'
    )


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('color = "rgb"', 'color = "rgb", but the images of npz:own.npz have 4 channels; leave color out, or set color = 4'),
        ("color = 5", "color = 5, but the images of npz:own.npz have 4 channels"),
        ("[defaults]\naugment = { color_jitter = 0.2 }", "augment.color_jitter changes colours, which images of 4 channels do not have"),
        ("[defaults]\naugment = { grayscale = 0.2 }", "augment.grayscale changes colours"),
        ("[defaults]\naugment = { randaugment = 0.2 }", "augment.randaugment changes colours"),
        ('[[matrix.override]]\nset = { image_size = 48 }\n[strategy.scratch]\nextends = "fine_tuned"', ""),
    ],
)  # fmt: skip
def test_what_needs_one_or_three_channels_is_left_out_with_the_reason(tmp_path, more, reason):
    archive(tmp_path, 4)
    text = f"{MATRIX}{more}\n"
    if not reason:
        text = MATRIX.replace("simple_cnn", "vgg16").replace('"scratch"', '"fine_tuned"') + "image_size = 48\n"
        reason = 'ImageNet weights need three channels, these images have 4; use weights = "none"'
    planned = plan(tmp_path, text)
    assert not planned.cells
    assert reason in planned.left_out[0].reason


def test_networks_and_other_augmentations_take_them(tmp_path):
    archive(tmp_path, 4)
    text = MATRIX.replace('model = "simple_cnn"', 'model = ["simple_cnn", "basic_cnn", "resnet18", "vgg16"]')
    text += 'image_size = 48\n[defaults]\naugment = { flip = "horizontal", brightness = 0.1, contrast = 0.1, erase = 0.1 }\n'
    assert len(plan(tmp_path, text).cells) == 4


def test_channels_that_stand_first_are_told_from_many_channels(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.zeros((9, 3, 16, 16), np.uint8), y=np.arange(9) % 3)
    assert "whose channels stand first, where they should be last" in problems(tmp_path, MATRIX)
    told = refusal(tmp_path / "own.npz", tmp_path, source="npz:own.npz")
    assert "channels come last: save x.transpose(0, 2, 3, 1)" in told


def test_pictures_keep_what_is_opaque_as_a_fourth_channel_when_asked(tmp_path, monkeypatch):
    root = tmp_path / "own"
    for label in range(2):
        for number in range(3):
            photograph(root / f"c{label}" / f"{number}.png", 10 * label + number, "RGBA", (12, 10))
        draw(root / f"c{label}" / "plain.jpg")
    arrays, meta = prepared(root, tmp_path, color="4-channel", image_size=10)
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    expected = resize_array(np.asarray(Image.open(root / "c0" / "0.png")), 10, 4)
    assert any((image == expected).all() for image in images)
    assert sum((image[..., 3] == 255).all() for image in images) == 2
    assert meta["notes"] == []
    monkeypatch.setenv("BENCH_PREPARED_GIB", SMALL)
    small = prepare("folder:own", 10, "4-channel", tmp_path / "small", location=str(root))
    assert (open_array(small, "train_images")[:] == arrays["train_images"]).all()
    assert json.loads((small / "meta.json").read_text())["fingerprint"] == meta["fingerprint"]
    folder = '[matrix]\ndataset = "own"\nmodel = "simple_cnn"\nstrategy = "scratch"\n[dataset.own]\nsource = "folder:own"\nimage_size = 16\n'
    assert only(tmp_path, f"{folder}color = 4\n").data.channels == 4
    assert "with transparency four" in plan(tmp_path, f"{folder}color = 12\n").left_out[0].reason


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_figures_show_what_can_be_seen_and_say_which_channels(channels):
    shown = replace(sample_images(channels=channels), data=replace(DIGITS, color=f"{channels}-channel", image_size=8))
    for figure in (draw_training_images("x", shown), draw_mistakes("x", [predictions()], shown)):
        words = " ".join(
            text.get_text().replace("\n", " ") for text in figure.findobj(lambda each: hasattr(each, "get_text"))
        )
        assert f"Of the {channels} channels of the images" in words
        assert all(
            image.get_array().shape[-1] in {3, 8}
            for axes in figure.findobj(lambda each: hasattr(each, "images"))
            for image in axes.images
        )
    assert overlay(shown.test[0], np.ones((8, 8), np.float32)).shape == (8, 8, 3)


RUN = (
    MATRIX.replace('"simple_cnn"', '["simple_cnn", "mine"]')
    + """
[defaults]
epochs = 6
batch_size = 16
image_size = 16
validation_fraction = 0.2
learning_rate = 0.01
augment = { flip = "horizontal" }
tta = 1
[plugins]
models = ["mine.py"]
[model.mine]
architecture = "plugin:mine"
"""
)
MINE = """\
import keras

def mine(input_shape, num_classes):
    assert input_shape == (16, 16, 4)
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(num_classes, activation="softmax")(x))
"""
TORCH = """\
import torch

def mine(input_shape, num_classes):
    channels, height, width = input_shape
    assert (channels, height, width) == (4, 16, 16)
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, num_classes),
    )
"""


def learned(folder: Path, mine: str, backends: str) -> Workplace:
    place = Workplace(folder)
    archive(folder, 4)
    place.write(mine, "mine.py")
    place.write(RUN.replace("[dataset.own]", f"{backends}\n[dataset.own]", 1))
    done = place.run("run", "--allow-plugins")
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.tf
def test_cells_of_four_channels_are_trained_shown_explained_and_ask_for_such_pictures(tmp_path):
    place = learned(tmp_path, MINE, "")
    cells = place.document("list", "cells")
    assert {cell["color"] for cell in place.document("plan")["cells"]} == {"4-channel"}
    assert len(cells) == 2
    report = place.run("report", "--figures", "figures", "--select", "model=simple_cnn")
    assert report.returncode == 0
    assert list((tmp_path / "figures").glob("samples*.png"))
    explained = place.run("explain", "model=simple_cnn", "--output", "why")
    assert explained.returncode == 0, explained.stderr
    Image.new("RGB", (16, 16)).save(tmp_path / "rgb.png")
    photograph(tmp_path / "rgba.png", 0, "RGBA", (20, 16))
    assert place.run("predict", "model=simple_cnn", "rgba.png").returncode == 0
    answer = place.run("predict", "model=simple_cnn", "rgb.png")
    assert answer.returncode == 2
    assert "expected a picture with the 4 channels of the images that the cell was trained on" in answer.stderr


@pytest.mark.exhaustive
@pytest.mark.tf
@pytest.mark.parametrize(
    ("backend", "mine"), [("jax", MINE), ("torch", MINE), ("", TORCH)], ids=["jax", "torch", "module"]
)
def test_cells_of_four_channels_are_trained_on_every_backend(tmp_path, backend, mine):
    """The proof that stays is the one above."""
    if find_spec(backend or "torch") is None:
        pytest.skip(f"{backend or 'torch'} is not installed")
    place = learned(tmp_path, mine, f'backend = "{backend}"' if backend else "")
    assert {row["status"] for row in place.document("list", "cells")} == {"completed"}
