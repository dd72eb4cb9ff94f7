"""Users' folders made into prepared datasets, and what is said when they are not as they should be."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_data import classes, draw, prepared, refusal
from PIL import Image

from benchmark.catalog.cache import PreparedDirectories, data_notes
from benchmark.errors import DataError, UserError
from benchmark.files import is_own_folder, make_own_folder
from benchmark.images.pictures import decode_image
from benchmark.matrix.cell import Data
from benchmark.reporting.figures.drawing.figure_files import make_folder
from benchmark.training.data.dataset import open_dataset
from benchmark.training.programs.prepare import prepare

# ---- folders


def test_class_folders_become_labels_and_a_share_of_each_is_for_the_test(tmp_path):
    root = classes(tmp_path / "own", {"b": 10, "a": 20, "ç": 2})
    arrays, meta = prepared(root, tmp_path)
    assert meta["class_names"] == ["a", "b", "ç"]
    assert np.bincount(arrays["train_labels"]).tolist() == [16, 8, 1]
    assert np.bincount(arrays["test_labels"]).tolist() == [4, 2, 1]
    assert arrays["train_images"].shape == (25, 8, 8, 1)
    # every picture once: a has brightness 10 … 29, b 0 … 9, ç 20 and 21
    values = [*arrays["train_images"][:, 0, 0, 0], *arrays["test_images"][:, 0, 0, 0]]
    assert sorted(values) == sorted([*range(10), *range(10, 30), 20, 21])


def test_the_split_is_the_same_wherever_the_folder_lies_and_one_class_does_not_move_another(tmp_path):
    first, _ = prepared(classes(tmp_path / "one", {"a": 20, "b": 10}), tmp_path)
    second, _ = prepared(classes(tmp_path / "two", {"a": 20, "b": 13}), tmp_path)
    third, meta = prepared(classes(tmp_path / "three", {"a": 20, "b": 10}), tmp_path)
    assert first["test_images"].tobytes() == third["test_images"].tobytes()
    assert (first["test_images"][first["test_labels"] == 0] == second["test_images"][second["test_labels"] == 0]).all()
    assert len(meta["fingerprint"]) == 64


def test_the_test_fraction_is_the_users(tmp_path):
    root = classes(tmp_path / "own", {"a": 20, "b": 10})
    arrays, _ = prepared(root, tmp_path, test_fraction=0.5)
    assert np.bincount(arrays["test_labels"]).tolist() == [10, 5]


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_folders_of_training_and_test_images_are_taken_as_they_are(tmp_path, name):
    classes(tmp_path / "own" / "train", {"a": 3, "b": 2})
    classes(tmp_path / "own" / name, {"b": 1})
    classes(tmp_path / "own" / "other", {"a": 1})
    arrays, meta = prepared(tmp_path / "own", tmp_path, test_fraction=0.5)
    assert arrays["train_labels"].tolist() == [0, 0, 0, 1, 1]
    assert arrays["test_labels"].tolist() == [1]
    assert meta["notes"] == [
        "folder:own: the folder other is not used",
        f"folder:own: test_fraction is not used, because there is a folder {name}",
        "folder:own: no test image of a, so that nothing can be measured there",
    ]


def test_a_class_may_be_called_train_and_pictures_without_a_class_are_no_test_set(tmp_path):
    arrays, meta = prepared(classes(tmp_path / "own", {"plane": 3, "test": 2, "train": 4}), tmp_path)
    assert meta["class_names"] == ["plane", "test", "train"]
    classes(tmp_path / "contest" / "train", {"a": 5, "b": 5})
    draw(tmp_path / "contest" / "test" / "1.png")
    arrays, meta = prepared(tmp_path / "contest", tmp_path)
    assert meta["class_names"] == ["a", "b"]
    assert len(arrays["test_labels"]) == 2
    assert meta["notes"] == ["folder:own: the folder test is not used"]


def test_what_is_no_picture_is_skipped_with_a_note(tmp_path):
    root = classes(tmp_path / "own", {"a": 3, "b": 3})
    (root / ".git").mkdir()
    (root / "a" / ".hidden.png").touch()
    (root / "a" / "Thumbs.db").touch()
    (root / "b" / "more").mkdir()
    (root / "readme.md").touch()
    arrays, meta = prepared(root, tmp_path)
    assert len(arrays["train_labels"]) + len(arrays["test_labels"]) == 6
    assert meta["notes"] == [
        f"{root}: 3 skipped, hidden or neither JPEG nor PNG by their ending: a/.hidden.png, a/Thumbs.db, b/more"
    ]


def test_class_names_give_the_order_of_the_labels(tmp_path):
    root = classes(tmp_path / "own", {"a": 4, "b": 2})
    arrays, meta = prepared(root, tmp_path, class_names=["b", "a"])
    assert meta["class_names"] == ["b", "a"]
    assert np.bincount(arrays["train_labels"]).tolist() == [1, 3]
    assert "these stand on one side only: b, c" in refusal(root, tmp_path, class_names=["a", "c"])


def test_damaged_pictures_are_named_all_at_once(tmp_path):
    root = classes(tmp_path / "own", {"a": 9, "b": 3})
    for number in range(7):
        (root / "a" / f"{number:02}.png").write_bytes(b"no picture")
    draw(root / "b" / "cut.jpg", size=(200, 200))
    (root / "b" / "cut.jpg").write_bytes((root / "b" / "cut.jpg").read_bytes()[:500])
    Image.new("RGB", (5, 5)).save(root / "b" / "other.png", "GIF")
    told = refusal(root, tmp_path)
    assert told.count("cannot be read as JPEG or PNG") == 5
    assert "… and 4 more" in told
    assert not list((tmp_path / "prepared").glob("own*"))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "expected at least two class folders"),
        ({"a": 2}, "expected at least two class folders"),
        ({"a": 2, "b": 1}, "expected at least two images of b"),
    ],
)
def test_a_folder_with_too_little_in_it_is_refused(tmp_path, counts, expected):
    root = tmp_path / "own"
    root.mkdir()
    assert expected in refusal(classes(root, counts), tmp_path)


def test_a_folder_that_is_not_there_or_does_not_fit_is_refused(tmp_path):
    assert f"expected a folder of class folders at {tmp_path / 'own'}, found nothing; put it there" in refusal(
        tmp_path / "own", tmp_path
    )
    classes(tmp_path / "new" / "train", {"a": 2, "b": 2})
    classes(tmp_path / "new" / "test", {"c": 2})
    assert "folders of classes that the training images do not have: c" in refusal(tmp_path / "new", tmp_path)
    classes(tmp_path / "bare" / "train", {"a": 2})
    (tmp_path / "bare" / "train" / "b").mkdir()
    classes(tmp_path / "bare" / "test", {"a": 2})
    assert "found none in b" in refusal(tmp_path / "bare", tmp_path)


def test_what_is_prepared_belongs_to_the_files_as_they_are(tmp_path):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})
    data = Data("folder:own", None, 2, 8, "grey", None, None, 0.1, location=str(root))

    def place() -> Path:
        return PreparedDirectories(tmp_path).of(data)

    first = place()
    assert first == prepare("folder:own", 8, "grey", tmp_path, location=str(root))
    draw(root / "a" / "new.png")
    second = place()
    os.utime(root / "b" / "01.png", ns=(5, 5))
    third = place()
    (root / "b" / "notes.txt").touch()
    assert len({first, second, third}) == 3
    assert place() == third
    moved = root.rename(tmp_path / "moved")
    assert place() != third
    assert str(moved) not in str(place())


def test_the_matrix_and_the_folder_must_agree_on_the_number_of_classes(tmp_path):
    root = classes(tmp_path / "own", {"a": 8, "b": 8})
    directory = prepare("folder:own", 8, "grey", tmp_path, location=str(root))
    data = Data("folder:own", None, 3, 8, "grey", None, None, 0.25, location=str(root))
    with pytest.raises(DataError, match="expected 3 classes, as the matrix says, found 2: a, b; set num_classes = 2"):
        open_dataset(directory, data, 0, one_hot=False)


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "jpe", "jfif", "jif", "pjpeg", "pjp", "png", "PNG", "apng"])
def test_jpeg_and_png_are_known_by_all_their_endings(tmp_path, ending):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})
    draw(root / "b" / f"more.{ending}", format="PNG" if "png" in ending.lower() else "JPEG")
    arrays, meta = prepared(root, tmp_path)
    assert len(arrays["train_labels"]) + len(arrays["test_labels"]) == 9
    assert meta["notes"] == []


E = "\u00e9"
"""A letter in one piece; in two it is `e` and U+0301, as macOS used to keep names."""


@pytest.mark.parametrize("train", [E, "e\u0301"])
@pytest.mark.parametrize("test", [E, "e\u0301"])
def test_a_letter_is_one_however_it_is_encoded(tmp_path, train, test):
    classes(tmp_path / "own" / "train", {f"caf{train}": 3, "cafz": 3, "ca": 3})
    classes(tmp_path / "own" / "test", {f"caf{test}": 1, "cafz": 1, "ca": 1})
    arrays, meta = prepared(tmp_path / "own", tmp_path)
    assert meta["class_names"] == ["ca", "cafz", "caf\u00e9"]
    assert arrays["test_images"][:, 0, 0, 0].tolist() == [20, 10, 0]
    for given in (E, "e\u0301"):
        _, meta = prepared(tmp_path / "own", tmp_path, class_names=[f"caf{given}", "ca", "cafz"])
        assert meta["class_names"] == ["caf\u00e9", "ca", "cafz"]


def test_two_folders_of_one_name_are_refused(tmp_path):
    root = classes(tmp_path / "own", {f"caf{E}": 3, "cafe\u0301": 3, "z": 3})
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system has one form of letters only")
    assert f"two folders of one name, whose letters are only encoded differently: caf{E}" in refusal(root, tmp_path)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("own/plum", "/nowhere/plum"),
        ("own/train/plum", "../../nowhere"),
        ("own/test/plum", "plum"),  # a circle
        ("own/train/a/picture.jpg", "../../.git/annex/objects/picture.jpg"),
        ("own/test/b/picture.PNG", "nowhere"),
    ],
)
def test_links_that_lead_nowhere_are_missing_data(tmp_path, place, target):
    classes(tmp_path / "own" / "train", {"a": 3, "b": 3})
    classes(tmp_path / "own" / "test", {"a": 1, "b": 1})
    link = tmp_path / place
    link.symlink_to(target)
    told = refusal(tmp_path / "own", tmp_path)
    assert f"{link.parent}: expected files or folders, found links that lead nowhere: {link.name}" in told
    assert "bring back what they lead to" in told


@pytest.mark.parametrize("name", ["plum.dvc", "a/picture.jpg.dvc"])
def test_what_dvc_has_not_fetched_is_missing_data(tmp_path, name):
    root = classes(tmp_path / "own", {"a": 3, "b": 3})
    (root / name).touch()
    assert f"missing, because DVC keeps them elsewhere: {Path(name).stem}; `dvc pull`" in refusal(root, tmp_path)
    if "/" in name:
        draw(root / name.removesuffix(".dvc"))
    else:
        classes(root, {"plum": 2})
    assert prepared(root, tmp_path)


def test_links_that_lead_to_data_and_broken_ones_that_matter_to_nobody_are_no_fault(tmp_path):
    root = classes(tmp_path / "own", {"a": 3, "b": 3})
    classes(tmp_path / "elsewhere", {"c": 3})
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "a" / "linked.png").symlink_to(tmp_path / "elsewhere" / "c" / "00.png")
    (root / "a" / "notes.txt").symlink_to("nowhere")
    (root / ".hidden").symlink_to("nowhere")
    arrays, meta = prepared(root, tmp_path)
    assert meta["class_names"] == ["a", "b", "c"]
    assert len(arrays["train_labels"]) + len(arrays["test_labels"]) == 10


@pytest.mark.parametrize("place", ["own", "own/b", "own/b/00.png"])
def test_what_may_not_be_read_is_named(tmp_path, monkeypatch, place):
    root, locked = classes(tmp_path / "own", {"a": 3, "b": 3}), str(tmp_path / place)

    def guarded(function):
        def checked(path, *rest, **options):
            if str(path) == locked:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *rest, **options)

        return checked

    # root may read everything, so that taking the right away would show nothing
    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    monkeypatch.setattr(Image, "open", guarded(Image.open))
    told = refusal(root, tmp_path)
    assert locked in told
    assert "Permission denied" in told


def test_a_new_empty_class_folder_is_refused_by_name_with_the_rest_in_the_cache(tmp_path):
    root = classes(tmp_path / "own", {"a": 3, "b": 3})
    assert prepared(root, tmp_path)
    (root / "plum").mkdir()
    assert "expected JPEG or PNG images in every class folder, found none in plum" in refusal(root, tmp_path)


# ---- many files


# ---- what bench made itself


@pytest.mark.parametrize("inside", ["", "train", "own/train"])
@pytest.mark.parametrize("name", ["results.artifacts", "cache", "figures", "exported"])
def test_folders_that_bench_made_are_no_classes(tmp_path, inside, name):
    root = tmp_path / "own"
    place = classes(root / inside, {"apple": 3, "pear": 3})
    make_own_folder(place / name / "deeper")
    draw(place / name / "confusion.png")
    assert is_own_folder(place / name)
    _, meta = prepared(root / inside.removesuffix("train"), tmp_path)
    assert meta["class_names"] == ["apple", "pear"]
    assert meta["notes"] == []


def test_folders_of_users_are_never_taken_for_benchs_own(tmp_path):
    root = classes(tmp_path / "own", {"apple": 3, "results.artifacts": 3})
    make_own_folder(root / "apple")
    make_own_folder(root)
    assert not is_own_folder(root / "apple")
    _, meta = prepared(root, tmp_path)
    assert meta["class_names"] == ["apple", "results.artifacts"]


@pytest.mark.parametrize("place", ["apple", "train/apple"])
def test_figures_are_refused_among_images(tmp_path, place):
    root = classes(tmp_path / "own", {place: 2})
    with pytest.raises(UserError, match="expected a folder for figures, found one among the images of"):
        make_folder(root / place, "--figures", [None, str(root)])
    for allowed in (root, root / "figures", root / "figures", tmp_path / "elsewhere"):
        make_folder(allowed, "--figures", [str(root)])
    assert is_own_folder(root / "figures")


def test_the_plan_says_which_classes_have_no_test_images_before_and_after_they_are_prepared(tmp_path):
    root = tmp_path / "own"
    classes(root / "train", {"a": 3, "b": 3, "plum": 3})
    classes(root / "test", {"a": 1})
    (root / "test" / "b").mkdir()
    data = Data("folder:own", None, 3, 8, "grey", None, None, 0.1, location=str(root))
    expected = ["folder:own: no test image of b, plum, so that nothing can be measured there"]
    assert data_notes([data, data], PreparedDirectories(tmp_path)) == expected
    _, meta = prepared(root, tmp_path)
    assert meta["notes"] == expected == data_notes([data], PreparedDirectories(tmp_path))
    assert data_notes([replace(data, location=str(tmp_path / "absent"))], PreparedDirectories(tmp_path)) == []
    assert data_notes([replace(data, source="digits", location=None)], PreparedDirectories(tmp_path)) == []


def test_a_class_of_one_training_image_is_said_and_is_data_of_its_own(tmp_path):
    arrays, meta = prepared(classes(tmp_path / "own", {"a": 4, "b": 2}), tmp_path)
    assert meta["notes"] == ["folder:own: one training image of b, which is never taken for validation"]
    plain = hashlib.sha256()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        plain.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode() + arrays[name].tobytes())
    assert meta["fingerprint"] != plain.hexdigest()


# ---- pictures


def test_pictures_of_every_kind_come_out_alike(tmp_path):
    for number, (mode, name) in enumerate(
        [
            ("L", "a.png"),
            ("RGB", "b.png"),
            ("RGBA", "c.png"),
            ("CMYK", "d.jpg"),
            ("1", "e.png"),
            ("P", "f.png"),
            ("LA", "g.png"),
        ]
    ):
        draw(tmp_path / name, 0 if mode in {"1", "P"} else 50 + number, mode=mode)
        for channels in (1, 3):
            assert decode_image(tmp_path / name, 9, channels).pixels.shape == (9, 9, channels)


def test_sixteen_bits_keep_their_range(tmp_path):
    values = np.array([[0, 257], [25700, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert decode_image(tmp_path / "deep.png", 2, 1).pixels[..., 0].tolist() == [[0, 1], [100, 255]]


def test_photographs_stand_upright(tmp_path):
    picture = Image.new("RGB", (20, 10))
    picture.paste((255, 255, 255), (0, 0, 10, 10))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: the left side of the file is the top of the picture
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = decode_image(tmp_path / "turned.jpg", 10, 1).pixels[..., 0]
    assert upright[:4].min() > 200
    assert upright[6:].max() < 50


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    draw(tmp_path / "big.png", size=(300, 300))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(DataError, match=r"big.png cannot be read"):
        decode_image(tmp_path / "big.png", 8, 3)
