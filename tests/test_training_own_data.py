"""Users' folders and archives made into prepared datasets, and what is said when they are not as they should be."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.catalog import cache
from benchmark.catalog.cache import PreparedDirectories, data_notes
from benchmark.catalog.image_folders import class_content, folder_state
from benchmark.errors import UserError
from benchmark.files import is_own_folder, make_own_folder
from benchmark.matrix.cell import Data
from benchmark.reporting.figures.drawing.figure_files import make_folder
from benchmark.scheduling.programs.preparation import _argument
from benchmark.scheduling.run_options import RunOptions
from benchmark.training.data import decoding
from benchmark.training.data.dataset import open_dataset
from benchmark.training.data.images import decode_image
from benchmark.training.process.failures import DataError
from benchmark.training.programs.prepare import main, prepare


def draw(path: Path, value: int = 100, size: tuple[int, int] = (12, 10), mode: str = "RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if len(mode) == 1 else (value,) * len(mode)).save(path, **options)


def classes(root: Path, counts: dict[str, int]) -> Path:
    """Class folders with so many pictures, each of its own brightness."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(root / name / f"{number:02}.png", 10 * label + number)
    return root


def prepared(root: Path, cache: Path, source: str = "folder:own", **changes):
    wish = {"image_size": 8, "color": "grey", **changes}
    directory = prepare(source, wish.pop("image_size"), wish.pop("color"), cache, location=str(root), **wish)
    arrays = {path.stem: np.load(path) for path in directory.glob("*.npy")}
    return arrays, json.loads((directory / "meta.json").read_text())


def refusal(root: Path, cache: Path, source: str = "folder:own", **changes) -> str:
    with pytest.raises(DataError) as caught:
        prepared(root, cache, source, **changes)
    return str(caught.value)


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
        f"folder:own: test_fraction is not used, for there is a folder {name}",
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


@pytest.mark.parametrize("part", ["train", "test"])
def test_classes_without_images_are_said_whatever_the_source(tmp_path, part):
    sides = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    keep = Y != 1
    sides |= {f"x_{part}": X[keep], f"y_{part}": Y[keep]}
    _, meta = prepared(packed(tmp_path, **sides), tmp_path, "npz:own.npz")
    assert [note for note in meta["notes"] if " image of 1, so that nothing can be " in note] == meta["notes"]
    assert len(meta["notes"]) == 1


# ---- many files


def many(root: Path, count: int = 900) -> Path:
    for number in range(count):
        place = root / f"class_{number % 3}" / f"{number:04}.{'png' if number % 2 else 'jpg'}"
        draw(place, number % 251, size=(9 + number % 5, 8))
    return root


@pytest.mark.parametrize("processes", [2, 3, 64])
def test_several_processes_come_to_the_arrays_of_one(tmp_path, processes):
    root = many(tmp_path / "own")
    alone, meta = prepared(root, tmp_path / "alone")
    together, others = prepared(root, tmp_path / "together", processes=processes)
    assert {name: array.tobytes() for name, array in alone.items()} == {
        name: array.tobytes() for name, array in together.items()
    }
    assert meta["fingerprint"] == others["fingerprint"]


def test_damaged_and_transparent_images_are_counted_over_all_processes(tmp_path):
    root = many(tmp_path / "own")
    for number in (7, 8, 9, 10):
        Image.new("RGBA", (8, 8), (1, 2, 3, 100)).save(next(root.rglob(f"{number:04}.*")).with_suffix(".png"))
    _, meta = prepared(root, tmp_path, processes=3)
    assert any("4 of 902 images are transparent" in note for note in meta["notes"])
    for number in range(100, 140):
        next(root.rglob(f"{number:04}.*")).write_bytes(b"none")
    told = refusal(root, tmp_path, processes=3)
    assert told.count("cannot be read as JPEG or PNG") == 5
    assert "(39 more cannot be read)" in told
    assert "… and 35 more" in told


def test_a_process_that_dies_while_it_decodes_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    root, parent = many(tmp_path / "own"), os.getpid()

    def dying(*arguments):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode_image(*arguments)

    monkeypatch.setattr(decoding, "decode_image", dying)
    assert "a process that decoded images was ended by SIGKILL" in refusal(root, tmp_path, processes=2)
    assert not list((tmp_path / "prepared").glob("own*"))


def test_a_look_takes_time_in_proportion_to_the_files(tmp_path):
    taken = []
    for count in (4_000, 16_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}.png").touch()
        began = time.process_time()
        images, others = class_content(folder)
        taken.append(time.process_time() - began)
        assert ([image.name for image in images][:2], len(images), others) == (["000000.png", "000001.png"], count, [])
    assert taken[1] < 8 * max(taken[0], 0.005)


def test_a_command_looks_once_at_a_source_whatever_its_cells_make_of_it(tmp_path, monkeypatch):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})
    looks = []

    def counted(folder):
        looks.append(folder)
        return folder_state(folder)

    monkeypatch.setattr(cache, "folder_state", counted)
    options = RunOptions("test", tmp_path, tmp_path)
    for size, color in ((8, "grey"), (16, "grey"), (8, "rgb")):
        options.directories.of(Data("folder:own", None, 2, size, color, None, None, 0.1, location=str(root)))
    assert looks == [root]


@contextlib.contextmanager
def opened_folders(*folders):
    """Counts from outside how often any process opens each of some folders."""
    libc, opened = ctypes.CDLL(None), Counter()
    listener = libc.inotify_init1(os.O_NONBLOCK)
    names = {libc.inotify_add_watch(listener, os.fsencode(each), 0x20): each for each in folders}  # IN_OPEN
    try:
        yield opened
        events = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                events += os.read(listener, 1 << 16)
        while events:
            watch, mask, _, length = struct.unpack("iIII", events[:16])
            opened[names[watch]] += bool(mask & 0x40000000)  # IN_ISDIR
            events = events[16 + length :]
    finally:
        os.close(listener)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_class_folder_is_looked_at_once_when_it_is_prepared(tmp_path):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})
    with opened_folders(root / "a", root / "b") as opened:
        _, first = prepared(root, tmp_path)
    assert opened == {root / "a": 1, root / "b": 1}
    with opened_folders(root / "a", root / "b") as opened:
        assert prepared(root, tmp_path)[1] == first
    assert opened == {root / "a": 1, root / "b": 1}


@pytest.mark.parametrize("change", ["other", "gone", "later"])
def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_is_kept(tmp_path, monkeypatch, change):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})

    def changing(path, *arguments):
        image = decode_image(path, *arguments)
        if path.name == "01.png":
            if change == "gone":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes() + b"more" * (change == "other"))
        return image

    monkeypatch.setattr(decoding, "decode_image", changing)
    assert "1.png: the files changed while they were read" in refusal(root, tmp_path)
    assert not list((tmp_path / "prepared").glob("own*"))


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


# ---- archives

X = np.arange(12 * 9 * 9, dtype=np.int64).reshape(12, 9, 9) % 256
Y = np.arange(12) % 3


def packed(folder: Path, **arrays) -> Path:
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_an_archive_with_a_test_set_is_taken_as_it_is(tmp_path):
    path = packed(tmp_path, x_train=X.astype(np.uint8), y_train=Y, x_test=X[:3], y_test=Y[:3, None])
    arrays, meta = prepared(path, tmp_path, "npz:own.npz", image_size=9)
    assert (arrays["train_images"][..., 0] == X).all()
    assert (arrays["test_images"][..., 0] == X[:3]).all()
    assert arrays["test_labels"].tolist() == [0, 1, 2]
    assert arrays["test_labels"].dtype == np.int32
    assert meta["class_names"] == ["0", "1", "2"]
    assert meta["notes"] == []


def test_floats_are_taken_for_shares_of_full_brightness_when_none_is_above_one(tmp_path):
    whole, _ = prepared(packed(tmp_path, x=X, y=Y), tmp_path, "npz:own.npz", image_size=9)
    shares, _ = prepared(packed(tmp_path, x=(X / 255).astype(np.float32), y=Y), tmp_path, "npz:own.npz", image_size=9)
    floats, _ = prepared(packed(tmp_path, x=X.astype(np.float64), y=Y), tmp_path, "npz:own.npz", image_size=9)
    assert whole["train_images"].tobytes() == shares["train_images"].tobytes() == floats["train_images"].tobytes()


def test_images_of_an_archive_are_resized_and_coloured(tmp_path):
    colour = np.zeros((12, 6, 4, 3), np.uint8)
    colour[..., 1] = 100
    arrays, meta = prepared(
        packed(tmp_path, x=colour, y=Y), tmp_path, "npz:own.npz", image_size=16, class_names=["a", "b", "c", "d"]
    )
    assert arrays["train_images"].shape[1:] == (16, 16, 1)
    assert set(np.unique(arrays["train_images"])) == {59}  # 0.587 of green
    assert meta["class_names"] == ["a", "b", "c", "d"]
    assert meta["notes"] == [
        "npz:own.npz: no training image of d, so that nothing can be learned there",
        "npz:own.npz: no test image of d, so that nothing can be measured there",
    ]


FLOATS = X / 255


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
@pytest.mark.parametrize(("low", "high"), [(0, 1.0001), (0, 1.1), (-0.05, 1), (-0.1, 1.02)])
def test_floats_that_overshoot_a_little_are_still_shares_of_full_brightness(tmp_path, dtype, low, high):
    floats = FLOATS.astype(dtype)
    exact, _ = prepared(packed(tmp_path, x=floats, y=Y), tmp_path, "npz:own.npz", image_size=9)
    places = (floats == 0).argmax(), (floats == 1).argmax()
    floats.flat[list(places)] = np.array([low, high]) * 0.999
    arrays, meta = prepared(packed(tmp_path, x=floats, y=Y), tmp_path, "npz:own.npz", image_size=9)
    assert arrays["train_images"].tobytes() == exact["train_images"].tobytes()
    assert meta["notes"] == []


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int64", ">i4"])
def test_integers_are_never_scaled_but_nearly_black_ones_are_said(tmp_path, dtype):
    binary = (X > 100).astype(dtype)
    arrays, meta = prepared(packed(tmp_path, x=binary, y=Y), tmp_path, "npz:own.npz", image_size=9)
    assert set(np.unique(arrays["train_images"])) == {0, 1}
    assert meta["notes"] == [
        "npz:own.npz: x is nearly black, for its brightest value is 1 of 255; if that is meant to be white, save x * (255 / 1)"
    ]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (FLOATS, X.astype(np.uint8)),
        (X.astype(np.uint8), FLOATS),
        (FLOATS, X.astype(np.float32)),
        (X.astype(np.float32), FLOATS),
        ((FLOATS > 0.5).astype(np.float32), (X > 100).astype(np.uint8)),
    ],
)
def test_training_and_test_images_of_two_ranges_are_refused(tmp_path, train, test):
    told = refusal(packed(tmp_path, x_train=train, y_train=Y, x_test=test, y_test=Y), tmp_path, "npz:own.npz")
    assert "expected training and test images of one range, found x_train with values 0.." in told


def test_black_images_are_of_any_range(tmp_path):
    for images in (FLOATS, X):
        path = packed(tmp_path, x_train=images, y_train=Y, x_test=np.zeros((3, 9, 9)), y_test=Y[:3])
        arrays, _ = prepared(path, tmp_path, "npz:own.npz", image_size=9)
        assert (arrays["train_images"][..., 0] == X).all()
        assert not arrays["test_images"].any()


NAN = np.full((12, 9, 9), np.nan)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": X}, "expected the arrays x_train, y_train, x_test, y_test, or x and y; found x"),
        ({"x": X[0], "y": Y}, "x: expected images [n, h, w], [n, h, w, 1] or [n, h, w, 3], found shape (9, 9)"),
        ({"x": X[..., None].repeat(4, -1), "y": Y}, "found shape (12, 9, 9, 4)"),
        ({"x": X - 1, "y": Y}, "expected values 0..255 (or floats 0..1), found -1 to 254"),
        ({"x": X * 3, "y": Y}, "found 0 to 765"),
        ({"x": NAN, "y": Y}, "x: expected finite values, found 972 that are NaN or infinite"),
        ({"x": np.where(FLOATS == 1, np.inf, FLOATS), "y": Y}, "that are NaN or infinite; replace or remove them"),
        ({"x": FLOATS * 1.5, "y": Y}, "expected floats 0..1 or 0..255, found 0 to 1.5, which is neither"),
        ({"x": FLOATS * 2 - 1, "y": Y}, "found -1 to 1; save the images as they are, not normalised"),
        ({"x": (X * 257).astype(np.uint16), "y": Y}, "save images of 16 bits as numpy.rint(x / 257).astype('uint8')"),
        ({"x": X.astype(np.uint8).view(np.int8), "y": Y}, "bytes of images are not signed: save x.view('uint8')"),
        ({"x": X.astype(str), "y": Y}, "expected integers 0..255 or floats, found <U21"),
        ({"x": X > 5, "y": Y}, "expected integers 0..255 or floats, found bool"),
        ({"x": X, "y": Y[:5]}, "expected as many labels as images, found 12 in x and 5"),
        ({"x": X, "y": np.eye(3)[Y]}, "for one-hot vectors save y.argmax(axis=1)"),
        ({"x": X, "y": Y - 1}, "expected labels 0, 1, …, found -1 to 1"),
        ({"x": X, "y": np.array([object()] * 12)}, "cannot be read as an .npz archive of plain arrays"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(tmp_path, arrays, expected):
    assert expected in refusal(packed(tmp_path, **arrays), tmp_path, "npz:own.npz")


@pytest.mark.parametrize(
    ("labels", "classes", "cure"),
    [
        (Y + 1, 3, "its labels are 1, 2, 3: count them from 0, that is, save y - 1"),
        (
            np.where(np.arange(12) > 9, 255, Y),
            3,
            "its labels are 0, 1, 2, 255: leave out the images with the label 255",
        ),
        (Y * 10, 3, "its labels are 0, 10, 20: number them 0, 1, …, that is, save numpy.unique"),
        (Y, 2, "set num_classes = 3"),
        (Y, 4, "set num_classes = 3"),
    ],
)
def test_the_cure_for_other_labels_than_the_matrix_says_is_the_right_one(tmp_path, labels, classes, cure):
    path = packed(tmp_path, x_train=X, y_train=labels, x_test=X, y_test=labels)
    directory = prepare("npz:own.npz", 9, "grey", tmp_path, location=str(path))
    data = Data("npz:own.npz", None, classes, 9, "grey", None, None, 0.25, location=str(path))
    with pytest.raises(DataError) as caught:
        open_dataset(directory, data, 0, one_hot=False)
    assert f"expected {classes} classes, as the matrix says" in str(caught.value)
    assert cure in str(caught.value)


def test_archives_that_are_missing_damaged_or_none_are_refused(tmp_path):
    path = tmp_path / "own.npz"
    assert f"there is no file {path}" in refusal(path, tmp_path, "npz:own.npz")
    path.write_bytes(b"PK\x03\x04 and no more")
    assert "expected an .npz archive, found something else" in refusal(path, tmp_path, "npz:own.npz")
    with path.open("wb") as file:
        np.save(file, X)
    assert "write it with numpy.savez" in refusal(path, tmp_path, "npz:own.npz")
    packed(tmp_path, x=X, y=Y)
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * 50 + content[250:])
    assert "cannot be read as an .npz archive" in refusal(path, tmp_path, "npz:own.npz")
    assert "found 2" in refusal(packed(tmp_path, x=X, y=Y), tmp_path, "npz:own.npz", class_names=["a", "b"])


def test_an_archive_that_claims_more_than_any_memory_holds_is_refused(tmp_path):
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(claim, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000)})
    path = packed(tmp_path, y=Y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", claim.getvalue())
    assert "cannot be read as an .npz archive of plain arrays: Unable to allocate" in refusal(
        path, tmp_path, "npz:own.npz"
    )


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


def test_a_request_that_is_too_long_for_an_argument_comes_in_a_file(tmp_path, capsys):
    names = [f"{number:05}" + "\u985e" * 75 for number in range(2500)]
    path = packed(tmp_path, x=X, y=Y)
    wish = {
        "source": "npz:own.npz",
        "image_size": 9,
        "color": "grey",
        "cache_root": str(tmp_path),
        "location": str(path),
    }
    argument = _argument({**wish, "class_names": names}, tmp_path / "wish.json")
    assert argument == str(tmp_path / "wish.json")
    assert _argument(wish, tmp_path / "other.json") == json.dumps(wish)
    assert main([argument]) == 0
    directory = Path(json.loads(capsys.readouterr().out)["directory"])
    assert json.loads((directory / "meta.json").read_text())["class_names"] == names


# ---- TFDS


def build(
    data_dir: Path, counts: dict[str, int], channels: int = 3, unlabelled: tuple[str, ...] = (), **changes
) -> Path:
    """A TFDS dataset of one's own, `own_shapes`: so many images in each split; returns its folder."""
    import tensorflow_datasets as tfds

    def info(self):
        image = tfds.features.Image(shape=(8, 8, channels), encoding_format="png")
        features = tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel(names=["x", "y"])})
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def examples(split):
        for number in range(counts[split]):
            image = np.full((8, 8, channels), number, np.uint8)
            yield f"{split}{number:03}", {"image": image, "label": -1 if split in unlabelled else number % 2}

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

    from benchmark.training.data.tfds import _keys

    class About:
        def __init__(self, features, supervised):
            self.info = self
            self.features, self.supervised_keys = tfds.features.FeaturesDict(features), supervised

    image, label, text = tfds.features.Image(), tfds.features.ClassLabel(num_classes=3), tfds.features.Text()
    assert _keys("x", About({"image": image, "label": label}, ("image", "label"))) == ("image", "label")
    assert _keys("x", About({"photo": image, "kind": label, "text": text}, None)) == ("photo", "kind")
    assert _keys("x", About({"image": image, "mask": image, "label": label}, ("image", "mask"))) == ("image", "label")
    with pytest.raises(DataError, match="does not hold images with one label each"):
        _keys("x", About({"image": image, "text": text}, ("image", "text")))


@pytest.mark.tf
@pytest.mark.parametrize(("name", "near"), [("tf_flower", "tf_flowers"), ("beens/x:1.0.0", "beans"), ("qqqqqq", None)])
def test_an_unknown_name_gives_the_nearest_and_not_hundreds(tmp_path, name, near):
    with pytest.raises(DataError) as caught:
        prepare(f"tfds:{name}", 16, "rgb", tmp_path, offline=True)
    told = str(caught.value)
    assert len(told) < 200
    assert (f"did you mean `tfds:{near}`?" in told) == (near is not None)
