"""Users' archives of arrays made into prepared datasets, and what is said when they are not as they should be."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from own_data import prepared, refusal

from benchmark.errors import DataError
from benchmark.images.pictures import resize_array
from benchmark.matrix.cell import Data
from benchmark.scheduling.programs.preparation import _argument
from benchmark.training.data.dataset import open_dataset
from benchmark.training.programs.prepare import main, prepare

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


def test_images_of_an_archive_are_cropped_and_padded_where_that_is_asked_for(tmp_path):
    tall = np.random.default_rng(0).integers(0, 256, (12, 20, 9), dtype=np.uint8)
    archive = packed(tmp_path, x_train=tall, y_train=Y, x_test=tall, y_test=Y)
    arrays = {
        how: prepared(archive, tmp_path, "npz:own.npz", resize=how)[0]["train_images"]
        for how in ("squeeze", "crop", "pad")
    }
    assert np.array_equal(arrays["crop"][3], resize_array(tall[3, ..., None], 8, 1, "crop"))
    assert np.array_equal(arrays["squeeze"], prepared(archive, tmp_path, "npz:own.npz")[0]["train_images"])
    assert not arrays["pad"][:, :, [0, 1, 6, 7]].any()
    assert np.abs(arrays["pad"][:, :, 2:6].astype(float).mean() - tall.mean()) < 5


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
        "npz:own.npz: x is nearly black: its brightest value is 1 of 255; if that is meant to be white, save x * (255 / 1)"
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
        (
            {"x": X, "y": Y.astype(np.float32)},
            "expected integer labels [n], found float32 of shape (12,); save y.astype('int64')",
        ),
        ({"x": X, "y": Y > 0}, "found bool of shape (12,); save y.astype('int64')"),
        ({"x": X, "y": Y + 0.5}, "expected integer labels [n], found float64 of shape (12,)"),
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
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "a pointer of Git LFS in the archive's place; `git lfs pull`" in refusal(path, tmp_path, "npz:own.npz")
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


@pytest.mark.parametrize("part", ["train", "test"])
def test_classes_without_images_are_said_whatever_the_source(tmp_path, part):
    sides = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    keep = Y != 1
    sides |= {f"x_{part}": X[keep], f"y_{part}": Y[keep]}
    _, meta = prepared(packed(tmp_path, **sides), tmp_path, "npz:own.npz")
    assert [note for note in meta["notes"] if " image of 1, so that nothing can be " in note] == meta["notes"]
    assert len(meta["notes"]) == 1
