"""Groups in archives, loaders, rows and datasets of TFDS: read for each image, never in two parts, and said where they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from own_data import prepared, refusal
from test_matrix_own import only, plan
from test_training_own_tfds import build
from test_training_plugin_data import made, refused

from benchmark.training.data.preparing.image_groups import group_text
from benchmark.training.programs.prepare import prepare

MATRIX = """\
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"
[defaults]
groups = "site"
[dataset.own]
source = "npz:own.npz"
num_classes = 2
"""
SITES = np.array([f"site {number // 5}" for number in range(60)])


def archive(folder, **arrays):
    images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None], (60, 16, 16))
    labels = np.arange(60) % 2
    whole = {"x": images, "y": labels}
    halves = {"x_train": images[:40], "y_train": labels[:40], "x_test": images[40:], "y_test": labels[40:]}
    np.savez(folder / "own.npz", **(whole if "site" in arrays or not arrays else halves), **arrays)
    return folder / "own.npz"


def sites_of(arrays, part):
    """What the pixels of the images say of their sites, by the number that is stored of each."""
    return {
        (int(number), image.flat[0] // 5)
        for number, image in zip(arrays[f"{part}_groups"], arrays[f"{part}_images"], strict=True)
    }


@pytest.mark.parametrize("sites", [SITES, np.arange(60) // 5, (np.arange(60) // 5)[:, None], np.char.encode(SITES)])
def test_whole_groups_of_an_archive_are_split_off(tmp_path, sites):
    arrays, _ = prepared(archive(tmp_path, site=sites), tmp_path, source="npz:own.npz", groups="site")
    train, test = (sites_of(arrays, part) for part in ("train", "test"))
    assert len(train | test) == 12
    assert not {site for _, site in train} & {site for _, site in test}
    assert not {number for number, _ in train} & {number for number, _ in test}


def test_groups_of_given_splits_stand_beside_them(tmp_path):
    path = archive(tmp_path, site_train=SITES[:40], site_test=SITES[40:])
    arrays, _ = prepared(path, tmp_path, source="npz:own.npz", groups="site")
    assert len(sites_of(arrays, "train")) == 8
    assert len(sites_of(arrays, "test")) == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"site_train": SITES[:40], "site_test": SITES[35:55]}, "the group 'site 7' of `site` is in x_train and in x_test: expected each"),
        ({"site_train": SITES[:40], "site_test": SITES[20:40]}, "the group 'site 4' of `site` is in x_train and in x_test, as 3 more are"),
        ({"site_train": SITES[:40]}, 'expected the array site_test, because groups = "site", found x_train'),
        ({"site": SITES[:50]}, "site: expected integers or texts [60], the group of each image, found <U7 of shape (50,)"),
        ({"site": np.linspace(0, 1, 60)}, "expected integers or texts [60], the group of each image, found float64"),
        ({"site": np.zeros(60, int)}, "expected groups of `site` of which one can be spared for the test set, found none"),
    ],
)  # fmt: skip
def test_groups_that_are_no_groups_are_refused(tmp_path, arrays, message):
    assert message in refusal(archive(tmp_path, **arrays), tmp_path, source="npz:own.npz", groups="site")


def test_a_matrix_knows_which_groups_an_archive_has(tmp_path):
    archive(tmp_path, site=SITES)
    assert only(tmp_path, MATRIX).data.groups == "site"
    archive(tmp_path)
    assert (
        "npz:own.npz has no arrays site_train and site_test, nor site beside x"
        in plan(tmp_path, MATRIX).left_out[0].reason
    )
    archive(tmp_path, site_train=SITES[:40])
    assert plan(tmp_path, MATRIX).left_out
    archive(tmp_path, site_train=SITES[:40], site_test=SITES[40:])
    assert only(tmp_path, MATRIX).data.groups == "site"


LOADER = """\
import numpy as np

def mine(split):
    count, first = {"train": (12, 0), "test": (6, 12), "val": (4, 18)}[split]
    numbers = np.arange(first, first + count, dtype=np.uint8)
    images, labels, sites = np.zeros((count, 8, 8), np.uint8) + numbers[:, None, None], numbers % 3, numbers // 2
    RETURN
"""
FORMS = {
    "arrays": "return images, labels, sites",
    "lists": "return [images, labels.tolist(), [str(site) for site in sites]]",
    "triples": "return zip(images, labels, sites)",
    "mapping": 'return {"images": images, "labels": labels, "site": sites}',
    "mappings": 'return ({"image": image, "label": label, "site": site} for image, label, site in zip(images, labels, sites))',
    "batches": "return iter([(images[:, :, :, None], labels, sites)])",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_loader_gives_the_group_of_each_image(tmp_path, form):
    text = LOADER.replace("RETURN", FORMS[form])
    arrays, _ = made(tmp_path, text, groups="site")
    assert [len(set(arrays[f"{part}_groups"].tolist())) for part in ("train", "test")] == [6, 3]
    arrays, _ = made(tmp_path, text)
    assert "train_groups" not in arrays, "nobody asked for them"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("return images, labels", 'expected (images, labels, groups), because groups = "site", found images and labels alone'),
        ("return images, labels, sites[1:]", "expected as many groups as images for the split train, found 11 and 12"),
        ("return images, labels, [None] * count", "site: expected a text or a number, the group of an image, found None"),
        ("return images, labels, np.full(count, np.nan)", "site: expected a text or a number, the group of an image, found nan"),
        ("return images, labels, numbers % 2", "the group '0' of `site` is in train and in test, as 1 more are"),
        ('return {"images": images, "labels": labels}', "expected the keys images, labels, site, found no site among images, labels"),
    ],
)  # fmt: skip
def test_what_a_loader_does_wrong_with_groups_is_said(tmp_path, form, message):
    assert message in refused(tmp_path, LOADER.replace("RETURN", form), groups="site")


def test_validation_images_of_the_source_share_no_group_with_the_others(tmp_path):
    text = LOADER.replace("(4, 18)", "(4, 10)").replace("RETURN", FORMS["arrays"])
    told = refused(tmp_path, text, groups="site", validation="source")
    assert "is in train and in validation, as 0 more" not in told
    assert "the group '5' of `site` is in train and in validation" in told


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (np.int64(3), "3"), (np.str_("a"), "a"), (b"\xc3\xa9", "é"), (1.5, "1.5")]
)
def test_a_group_has_one_name(value, text):
    assert group_text(value) == text
    with pytest.raises(ValueError, match="expected a text or a number"):
        group_text([value, value])


@pytest.mark.tf
def test_a_feature_of_a_tfds_dataset_names_groups(tmp_path):
    import tensorflow_datasets as tfds

    place = tmp_path / "texts"
    build(place, {"train": 20}, more={"site": tfds.features.Text()}, values=lambda number: {"site": f"s{number // 4}"})
    wish = {"data_directory": str(place), "offline": True, "groups": "site"}
    directory = prepare("tfds:own_shapes", 8, "rgb", tmp_path, **wish)
    train, test = (np.load(directory / f"{part}_groups.npy") for part in ("train", "test"))
    assert (len(set(train.tolist())), len(set(test.tolist()))) == (4, 1)
    assert not set(train.tolist()) & set(test.tolist())
    assert sorted(np.load(directory / "train_labels.npy").tolist()) == [0] * 8 + [1] * 8
    told = refusal(None, tmp_path, source="tfds:own_shapes", **{**wish, "groups": "patient"})
    assert 'groups = "patient", but there is no such feature; found image, label, site' in told
    place = tmp_path / "numbers"
    build(
        place,
        {"train": 8, "test": 8},
        more={"site": tfds.features.Scalar(np.int64)},
        values=lambda number: {"site": number},
    )
    wish["data_directory"] = str(place)
    assert "of `site` is in train and in test, as 7 more are" in refusal(
        None, tmp_path, source="tfds:own_shapes", **wish
    )


@pytest.mark.tf
@pytest.mark.parametrize("kind", ["sequence", "row", "truth values", "one label"])
@pytest.mark.parametrize("counts", [{"train": 12, "test": 4, "validation": 4}, {"train": 20}], ids=str)
def test_several_labels_of_a_tfds_dataset_are_rows_of_0_and_1(tmp_path, kind, counts):
    import tensorflow_datasets as tfds

    names = ["x", "y", "z"]

    def row(number):
        return (
            [number % 2, number // 2 % 2, number // 4 % 2]
            if kind != "one label"
            else [number % 3 == each for each in range(3)]
        )

    def value(number):
        held = [place for place, one in enumerate(row(number)) if one]
        return {
            "sequence": held, "row": np.array(row(number), np.int64), "truth values": np.array(row(number), bool), "one label": held and held[0],
        }[kind]  # fmt: skip

    feature = {
        "sequence": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
        "row": tfds.features.Tensor(shape=(3,), dtype=np.int64),
        "truth values": tfds.features.Tensor(shape=(3,), dtype=np.bool_),
        "one label": tfds.features.ClassLabel(names=names),
    }[kind]
    build(tmp_path, counts, labels=feature, values=lambda number: {"labels": value(number)})
    wish = {
        "data_directory": str(tmp_path),
        "offline": True,
        "multi_label": True,
        "validation": "source" if "test" in counts else "split",
    }
    directory = prepare("tfds:own_shapes", 8, "rgb", tmp_path, **wish)
    parts = {
        part: (np.load(directory / f"{part}_labels.npy"), np.load(directory / f"{part}_images.npy"))
        for part in ("train", "test")
    }
    assert sum(len(labels) for labels, _ in parts.values()) == (16 if "test" in counts else 20)
    for labels, images in parts.values():
        assert labels.dtype == np.uint8
        assert labels.tolist() == [[int(one) for one in row(int(image.flat[0]))] for image in images]
    if "test" in counts:
        assert np.load(directory / "validation_labels.npy").shape == (4, 3)
    stated = json.loads((directory / "meta.json").read_text())["class_names"]
    assert stated == (["0", "1", "2"] if kind in {"row", "truth values"} else names)
    if kind == "sequence" and "test" in counts:
        told = refusal(None, tmp_path, source="tfds:own_shapes", **{**wish, "multi_label": False})
        assert "set multi_label = true, because labels holds several" in told


@pytest.mark.tf
def test_numbers_other_than_0_and_1_are_no_rows_of_labels(tmp_path):
    import tensorflow_datasets as tfds

    feature = tfds.features.Tensor(shape=(3,), dtype=np.int64)
    build(tmp_path, {"train": 4, "test": 4}, labels=feature, values=lambda number: {"labels": np.array([0, number, 1])})
    wish = {"data_directory": str(tmp_path), "offline": True, "multi_label": True}
    assert "expected 0 or 1 for each class in labels, found other numbers" in refusal(
        None, tmp_path, source="tfds:own_shapes", **wish
    )
