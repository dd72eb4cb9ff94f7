"""Datasets of TFDS that bench does not know made into prepared ones, and what is said when that cannot be done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import DataError
from benchmark.images.compressed_images import CompressedImages, open_array
from benchmark.images.pictures import resize_array
from benchmark.training.programs.prepare import prepare


def build(
    data_dir: Path, counts: dict[str, int], channels: int = 3, unlabelled: tuple[str, ...] = (), **changes
) -> Path:
    """A TFDS dataset of one's own, `own_shapes`: so many images in each split; returns its folder."""
    shape = (*changes.get("size", (8, 8)), channels)
    import tensorflow_datasets as tfds

    def info(self):
        image = tfds.features.Image(shape=shape, encoding_format="png")
        label = (
            {"labels": changes["labels"]}
            if "labels" in changes
            else {"label": tfds.features.ClassLabel(names=["x", "y"])}
        )
        features = tfds.features.FeaturesDict({"image": image, **label, **changes.get("more", {})})
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", *label))

    def examples(split):
        for number in range(counts[split]):
            image = changes["draw"](number) if "draw" in changes else np.full(shape, number, np.uint8)
            label = {} if "labels" in changes else {"label": -1 if split in unlabelled else number % 2}
            more = changes["values"](number) if "values" in changes else {}
            yield f"{split}{number:03}", {"image": image, **label, **more}

    members = {
        "VERSION": tfds.core.Version(changes.get("version", "1.0.0")),
        "pkg_dir_path": data_dir,
        "_info": info,
        "_split_generators": lambda self, manager: {split: examples(split) for split in counts},
        "_generate_examples": None,
    }
    kind = type("OwnShapes", (tfds.core.GeneratorBasedBuilder,), members, skip_registration=True)
    builder = kind(data_dir=data_dir)
    builder.download_and_prepare()
    return Path(builder.data_path)


@pytest.mark.tf
def test_a_tfds_dataset_that_was_built_again_is_prepared_again(tmp_path):
    def train(place: Path) -> int:
        directory = prepare("tfds:own_shapes", 8, "rgb", tmp_path, data_directory=str(place), offline=True)
        return len(np.load(directory / "train_labels.npy"))

    first = build(tmp_path / "one", {"train": 10, "test": 4})
    assert train(tmp_path / "one") == 10
    shutil.rmtree(first)
    build(tmp_path / "one", {"train": 6, "test": 4})
    assert train(tmp_path / "one") == 6, "the same version and folder, built again"
    build(tmp_path / "one", {"train": 8, "test": 4}, version="1.0.1")
    assert train(tmp_path / "one") == 8, "a newer version beside it"
    build(tmp_path / "two", {"train": 12, "test": 4})
    assert train(tmp_path / "two") == 12, "another folder"
    before = set(tmp_path.glob("prepared/*"))
    assert (train(tmp_path / "one"), train(tmp_path / "two")) == (8, 12)
    assert set(tmp_path.glob("prepared/*")) == before, "what did not change is not prepared again"


@pytest.mark.tf
def test_pictures_become_squares_as_pillow_makes_them(tmp_path):
    def draw(number):
        return np.random.default_rng(number).integers(0, 256, (30, 21, 3), dtype=np.uint8)

    build(tmp_path, {"train": 4, "test": 2}, size=(30, 21), draw=draw)
    directories = set()
    for how in ("squeeze", "crop", "pad"):
        directory = prepare(
            "tfds:own_shapes", 16, "rgb", tmp_path, data_directory=str(tmp_path), offline=True, resize=how
        )
        directories.add(directory)
        images = np.load(directory / "train_images.npy")
        for image in map(draw, range(4)):
            expected = resize_array(image, 16, 3, how).astype(int)
            assert min(np.abs(expected - other).max() for other in images) <= 1
    assert len(directories) == 3


@pytest.mark.tf
@pytest.mark.parametrize(
    ("counts", "unlabelled", "test", "notes"),
    [
        ({"train": 10, "validation": 4, "test": 6}, (), 6, 0),
        ({"train": 10, "validation": 4, "test": 6}, ("test",), 4, 1),
        ({"train": 10, "validation": 4}, (), 4, 0),
        ({"train": 10, "validation": 4, "test": 6}, ("test", "validation"), 2, 2),
        ({"train": 10, "test": 6}, ("test",), 2, 1),
    ],
)
def test_the_test_set_is_a_split_with_labels(counts, unlabelled, test, notes, tmp_path):
    build(tmp_path, counts, unlabelled=unlabelled)
    directory = prepare("tfds:own_shapes", 8, "rgb", tmp_path, data_directory=str(tmp_path), offline=True)
    assert len(np.load(directory / "test_labels.npy")) == test
    said = [note for note in json.loads((directory / "meta.json").read_text())["notes"] if "without a label" in note]
    assert len(said) == notes


@pytest.mark.tf
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_images_of_other_channels_are_no_damage_and_the_way_on_is_named(channels, color, tmp_path):
    build(tmp_path, {"train": 4, "test": 4}, channels=channels)
    with pytest.raises(DataError) as caught:
        prepare("tfds:own_shapes", 8, color, tmp_path, data_directory=str(tmp_path), offline=True)
    message = str(caught.value)
    assert f"have {channels} channels: expected 1 (grey) or 3 (RGB)" in message
    assert "folder:PATH" in message
    assert not {"damaged", "delete"} & set(message.split())


@pytest.mark.tf
def test_training_images_without_labels_are_refused_with_the_way_on(tmp_path):
    build(tmp_path, {"train": 4, "test": 4}, unlabelled=("train",))
    with pytest.raises(DataError, match=r"the split train of .* has images without a label: .*Build it without them"):
        prepare("tfds:own_shapes", 8, "rgb", tmp_path, data_directory=str(tmp_path), offline=True)


@pytest.mark.tf
def test_a_tfds_dataset_without_a_test_set_is_split(tmp_path):
    from training_archives import put_flowers

    put_flowers(tmp_path / "tfds", 40)
    directory = prepare(
        "tfds:tf_flowers", 16, "rgb", tmp_path, data_directory=str(tmp_path / "tfds"), test_fraction=0.25
    )
    labels = {part: np.load(directory / f"{part}_labels.npy") for part in ("train", "test")}
    assert np.bincount(labels["train"]).tolist() == [6] * 5
    assert np.bincount(labels["test"]).tolist() == [2] * 5
    assert np.load(directory / "test_images.npy").shape == (10, 16, 16, 3)
    assert json.loads((directory / "meta.json").read_text())["class_names"][0] == "dandelion"
    assert not (directory / "all_images.npy").exists()


@pytest.mark.tf
def test_image_and_label_are_found_among_the_features(tmp_path):
    import tensorflow_datasets as tfds

    from benchmark.training.data.preparing.tfds_features import feature_names

    class About:
        def __init__(self, features, supervised):
            self.info = self
            self.features, self.supervised_keys = tfds.features.FeaturesDict(features), supervised

    image, label, text = tfds.features.Image(), tfds.features.ClassLabel(num_classes=3), tfds.features.Text()
    assert feature_names("x", About({"image": image, "label": label}, ("image", "label"))) == ("image", "label")
    assert feature_names("x", About({"photo": image, "kind": label, "text": text}, None)) == ("photo", "kind")
    assert feature_names("x", About({"image": image, "mask": image, "label": label}, ("image", "mask"))) == (
        "image",
        "label",
    )
    with pytest.raises(DataError, match="does not hold images with one label each"):
        feature_names("x", About({"image": image, "text": text}, ("image", "text")))


@pytest.mark.tf
@pytest.mark.parametrize(("name", "near"), [("tf_flower", "tf_flowers"), ("beens/x:1.0.0", "beans"), ("qqqqqq", None)])
def test_an_unknown_name_gives_the_nearest_and_not_hundreds(tmp_path, name, near):
    with pytest.raises(DataError) as caught:
        prepare(f"tfds:{name}", 16, "rgb", tmp_path, offline=True)
    told = str(caught.value)
    assert len(told) < 200
    assert (f"did you mean `tfds:{near}`?" in told) == (near is not None)


@pytest.mark.tf
@pytest.mark.parametrize("counts", [{"train": 10, "test": 6}, {"train": 20}], ids=str)
def test_images_that_stay_compressed_are_those_of_decoded_ones(tmp_path, monkeypatch, counts):
    build(tmp_path, counts, draw=lambda number: np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8))
    found = []
    for gibibytes in ("1", "0"):
        monkeypatch.setenv("BENCH_PREPARED_GIB", gibibytes)
        cache = tmp_path / gibibytes
        directory = prepare("tfds:own_shapes", 5, "rgb", cache, data_directory=str(tmp_path), offline=True)
        images = [open_array(directory, f"{part}_images")[:].tolist() for part in ("train", "test")]
        found.append((images, json.loads((directory / "meta.json").read_text())["fingerprint"]))
        assert isinstance(open_array(directory, "test_images"), CompressedImages) == (gibibytes == "0")
    assert found[0] == found[1]
