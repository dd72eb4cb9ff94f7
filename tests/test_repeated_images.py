"""Test images that stand in the training set are counted when a dataset is prepared, and said by what shows its results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_workplace import Workplace
from own_data import prepared
from PIL import Image

MATRIX = """\
[matrix]
dataset = "own"
model = "script"
strategy = "scratch"
[defaults]
epochs = 1
[dataset.own]
source = "npz:own.npz"
num_classes = 2
[model.script]
command = ["python", "script.py"]
"""
HALF = str(2700 / 2**30)
"""So many GiB that test images alone have room."""
SCRIPT = """\
import numpy as np
from benchmark import cell
cell.finish(probabilities=np.full((len(cell.test[0]), 2), 0.5))
"""


def archive(folder, repeated):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16)).astype(np.uint8)
    images[30 : 30 + repeated] = images[:repeated]
    labels = np.arange(40) % 2
    np.savez(folder / "own.npz", x_train=images[:30], y_train=labels[:30], x_test=images[30:], y_test=labels[30:])
    return folder / "own.npz"


def folder(root, repeated):
    """Pictures in folders of classes: 12 to train on, and 6 for the test, of which some show the pixels of others in other files."""
    for number in range(18):
        part, pixels = ("train", number) if number < 12 else ("test", number - 12 if number < 12 + repeated else number)
        file = root / "own" / part / f"c{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(pixels).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(picture).save(file, compress_level=number % 9)
    return root / "own"


def parquet(root, repeated):
    """The same pictures as rows, of which nobody knows beforehand how many there are."""
    rows = pytest.importorskip("pyarrow.parquet")
    tables = pytest.importorskip("pyarrow")
    (root / "rows").mkdir()
    for part in ("train", "test"):
        files = sorted(folder(root, repeated).glob(f"{part}/*/*.png"))
        table = tables.table(
            {"image": [file.read_bytes() for file in files], "label": [int(file.parent.name[1:]) for file in files]}
        )
        rows.write_table(table, root / "rows" / f"{part}.parquet")
    return root / "rows"


SOURCES = {"npz:own.npz": archive, "folder:own": folder, "parquet:rows": parquet}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("room", ["32", "0", HALF])
@pytest.mark.parametrize("repeated", [0, 5])
def test_repeated_images_are_counted_however_images_are_kept(tmp_path, monkeypatch, repeated, room, source):
    monkeypatch.setenv("BENCH_PREPARED_GIB", room)
    arrays, meta = prepared(SOURCES[source](tmp_path, repeated), tmp_path, source=source, image_size=16)
    kept = [f"{part}_images" in arrays for part in ("train", "test")]
    assert kept == {"32": [True, True], "0": [False, False], HALF: [False, True]}[room]
    assert meta["repeated_test_images"] == repeated
    assert [note for note in meta["notes"] if "decoded while training" not in note] == []


def test_a_test_set_that_is_split_off_is_compared_with_what_is_left(tmp_path, monkeypatch):
    images = np.tile(np.random.default_rng(0).integers(0, 256, (40, 16, 16)).astype(np.uint8), (2, 1, 1))
    np.savez(tmp_path / "own.npz", x=images, y=np.arange(80) % 2)
    counts = []
    for room in ("32", "0"):
        monkeypatch.setenv("BENCH_PREPARED_GIB", room)
        _, meta = prepared(tmp_path / "own.npz", tmp_path / room, source="npz:own.npz", image_size=16)
        counts.append(meta["repeated_test_images"])
    assert counts[0] == counts[1] > 0


def test_preparing_and_reporting_say_so(tmp_path):
    place, note = (
        Workplace(tmp_path),
        "npz:own.npz: 7 of 10 test images stand in the training set as well, pixel for pixel",
    )
    archive(tmp_path, 7)
    place.write(MATRIX)
    place.write(SCRIPT, "script.py")
    assert note in place.run("prepare").stderr
    assert note in place.run("run", "--allow-plugins").stderr
    document = json.loads(place.call("report", "--format", "json").stdout)
    assert any(note in each for each in document["notes"])
    place.call("report", "--output", "report.md")
    assert place.call("report", "--check", "report.md").exit_code == 0
    assert place.call("report", "--check", "report.md", BENCH_CACHE=str(tmp_path / "other")).exit_code == 2
