"""Test images that stand in the training set are counted when a dataset is prepared, and said by what shows its results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_workplace import Workplace
from own_data import prepared

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


@pytest.mark.parametrize("repeated", [0, 1, 7])
def test_repeated_images_are_counted(tmp_path, repeated):
    _, meta = prepared(archive(tmp_path, repeated), tmp_path, source="npz:own.npz", image_size=16)
    assert meta["repeated_test_images"] == repeated
    assert meta["notes"] == []


def test_images_that_stay_compressed_are_not_decoded_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_PREPARED_GIB", "0")
    _, meta = prepared(archive(tmp_path, 7), tmp_path, source="npz:own.npz", image_size=16)
    assert "repeated_test_images" not in meta


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
