"""How many images a source has, and what the forecast makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_workplace import Workplace
from PIL import Image

from benchmark.catalog.image_counts import ImageCounts, image_counts

MATRIX = """
[matrix]
dataset = ["own"]
model = "simple_cnn"
strategy = "scratch"
[dataset.own]
source = "{source}"
image_size = 12
color = "grey"
num_classes = 2
"""


def folder(root, **counts):
    """Classes of so many images each, in folders named `train_cat`, `cat` …"""
    for name, count in counts.items():
        place = root.joinpath(*name.split("_"))
        place.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(place / f"{number}.png")
    return root


def test_published_sources_are_counted_by_the_classes_that_are_kept():
    assert image_counts("digits", None, None).all == 1797
    assert image_counts("digits", None, (0, 1)).all < 400


def test_folders_are_counted_by_class_and_split(tmp_path):
    whole = folder(tmp_path / "whole", cat=3, dog=4)
    assert image_counts("folder:whole", str(whole), None) == ImageCounts(7, None)
    assert image_counts("folder:whole", str(whole), (1,)) == ImageCounts(4, None)
    split = folder(tmp_path / "split", train_cat=3, train_dog=4, val_cat=1, val_dog=1, test_cat=2, test_dog=2)
    counts = image_counts("folder:split", str(split), None)
    assert (counts, counts.all) == (ImageCounts(7, 4, 2), 13)


@pytest.mark.parametrize(
    ("names", "counts"),
    [(("x",), ImageCounts(9, None)), (("x_train", "x_test"), ImageCounts(9, 9)), (("images",), None)],
)
def test_arrays_are_counted_by_their_headers(tmp_path, names, counts):
    np.savez(tmp_path / "a.npz", **{name: np.zeros((9, 2, 2), np.uint8) for name in names})
    assert image_counts("npz:a.npz", str(tmp_path / "a.npz"), None) == counts


@pytest.mark.parametrize("source", ["folder:away", "npz:away.npz", "plugin:mine", "parquet:away"])
def test_what_is_not_there_or_has_to_be_opened_is_not_counted(tmp_path, source):
    assert image_counts(source, str(tmp_path / "away"), None) is None


def forecast_seconds(place: Workplace) -> float:
    """What `bench plan` expects of all cells together."""
    return sum(cell["forecast_seconds"] for cell in json.loads(place.call("plan", "--format", "json").stdout)["cells"])


def test_the_forecast_grows_with_the_images_before_anything_has_run(tmp_path):
    place = Workplace(tmp_path)
    seconds = []
    for count in (20, 40_000):
        np.savez_compressed(tmp_path / f"{count}.npz", x=np.zeros((count, 8, 8), np.uint8), y=np.arange(count) % 2)
        place.write(MATRIX.format(source=f"npz:{count}.npz"))
        assert "10,000 are taken" not in place.call("plan").output
        seconds.append(forecast_seconds(place))
    assert seconds[1] > 5 * seconds[0]


def test_tables_of_labels_are_counted_by_their_rows(tmp_path):
    (tmp_path / "whole.csv").write_text("file,label\n1.png,cat\n2.png,dog\n3.png,dog\n")
    (tmp_path / "split.csv").write_text(
        "file,label,split\n1.png,cat,train\n2.png,dog,val\n3.png,dog,test\n4.png,cat,test\n"
    )
    (tmp_path / "no_test.csv").write_text("file,label,split\n1.png,cat,train\n2.png,dog,val\n")
    counts = {
        name: image_counts("folder:own", str(tmp_path), None, f"{name}.csv") for name in ("whole", "split", "no_test")
    }
    assert counts == {"whole": ImageCounts(3, None), "split": ImageCounts(1, 2, 1), "no_test": ImageCounts(1, 1)}
    assert image_counts("folder:own", str(tmp_path), (1,), "whole.csv") == ImageCounts(2, None)


def test_the_plan_says_where_the_images_are_not_counted(tmp_path):
    (tmp_path / "plug.py").write_text("def mine(split):\n    raise AssertionError\n")
    place = Workplace(tmp_path)
    place.write(MATRIX.format(source="plugin:mine") + '[plugins]\ndatasets = ["plug.py"]\n')
    assert "how many images 1 cell will have is unknown until they are prepared: 10,000 are taken" in " ".join(
        place.call("plan").output.split()
    )
