"""Loaders of one's own: what a user's function gives becomes a prepared dataset, and what it does wrong is said with its line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_workplace import Workplace
from own_data import prepared, refusal
from test_matrix_own import plan, problems

from benchmark.errors import UserError
from benchmark.files import sha256_of
from benchmark.matrix.trust import require_consent

ARRAYS = """\
import numpy as np

def mine(split):
    count = {"train": 12, "test": 6, "val": 3}[split]
    images = np.zeros((count, 10, 12, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    return images, np.arange(count) % 3
"""
PAIRS = """\
import numpy as np

def mine(split):
    for number in range({"train": 12, "test": 6, "val": 3}[split]):
        yield np.full((10 + number, 12), number, np.uint8), number % 3
"""
BATCHES = """\
import numpy as np

def mine(split):
    count = {"train": 12, "test": 6, "val": 3}[split]
    return iter([(np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8), np.arange(count) % 3)])
"""
NO_TEST = ARRAYS.replace(
    '    count = {"train": 12, "test"',
    '    if split != "train":\n        return None\n    count = {"train": 12, "test"',
)
MATRIX = """\
[matrix]
dataset = "mine"
model = "simple_cnn"
strategy = "scratch"
[plugins]
datasets = ["my_data.py"]
[defaults]
epochs = 1
[dataset.mine]
source = "plugin:mine"
num_classes = 3
image_size = 16
color = "grey"
"""


def wish(folder, text, **changes):
    file = folder / "my_data.py"
    file.write_text(text)
    return {"code": sha256_of(file.read_bytes()), "file": str(file), "allow_plugins": True, **changes}


def made(tmp_path, text, **changes):
    return prepared(None, tmp_path, source="plugin:mine", **wish(tmp_path, text, **changes))


def refused(tmp_path, text, **changes):
    return refusal(None, tmp_path, source="plugin:mine", **wish(tmp_path, text, **changes))


@pytest.mark.parametrize("text", [ARRAYS, PAIRS, BATCHES], ids=["arrays", "pairs", "batches"])
def test_arrays_pairs_and_batches_become_the_same_dataset(tmp_path, text):
    arrays, meta = made(tmp_path, text, validation="source")
    assert arrays["train_images"].shape == (12, 8, 8, 1)
    for part, count in (("train", 12), ("test", 6), ("validation", 3)):
        assert arrays[f"{part}_images"][:, 4, 4, 0].tolist() == list(range(count))
        assert arrays[f"{part}_labels"].tolist() == [number % 3 for number in range(count)]
    assert meta["class_names"] == ["0", "1", "2"]


def test_without_test_images_a_share_is_split_off_and_val_is_not_asked_for(tmp_path):
    text = NO_TEST.replace("    if split", '    assert split != "val"\n    if split')
    arrays, _ = made(tmp_path, text, test_fraction=0.25)
    assert (len(arrays["train_labels"]), len(arrays["test_labels"])) == (9, 3)
    values = [*arrays["train_images"][:, 0, 0, 0], *arrays["test_images"][:, 0, 0, 0]]
    assert sorted(values) == list(range(12))
    assert 'for validation = "source", found none' in refused(tmp_path, NO_TEST, validation="source")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('["cat", "ant", "bee"][number % 3]', [2, 0, 1]),
        ("np.eye(3, dtype=np.uint8)[number % 3]", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("[number % 3, 1]", [[1, 1, 0], [0, 1, 0], [0, 1, 1]]),
        ('["a", "b", "c"][: number % 3 + 1]', [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    ],
    ids=["names", "rows", "lists", "lists of names"],
)
def test_labels_are_numbers_names_rows_or_lists(tmp_path, labels, expected):
    several = isinstance(expected[0], list)
    arrays, meta = made(tmp_path, PAIRS.replace("number % 3\n", labels + "\n"), multi_label=several)
    assert arrays["test_labels"][:3].tolist() == expected
    assert len(meta["class_names"]) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def other(split):\n    return None\n", "my_data.py: expected a function mine, found other"),
        ("def mine(split):\n    return None\n", "my_data.py:1: expected images and labels for the split train, found None"),
        ("def mine(split):\n    x = 1\n    raise KeyError('gone')\n", "my_data.py:3: KeyError: 'gone'"),
        ("def mine(split):\n    import sys\n    sys.exit(3)\n", "my_data.py:3: SystemExit: 3"),
        ("def mine():\n    return None\n", "my_data.py:1: TypeError: mine() takes 0 positional arguments but 1 was given"),
        ("def mine(split)\n", "my_data.py:1: SyntaxError"),
        ("mine = 3\n", "expected mine to be a function that returns images and labels, found 3"),
        ("def mine(split):\n    return 7\n", "expected (images, labels), an iterator of such pairs, or None for the split train, found int"),
        ("def mine(split):\n    yield 7\n", "expected pairs of an image and its label, found int 7"),
        (PAIRS.replace("np.uint8)", "float)"), "train image 0: expected uint8 [h, w], [h, w, 1] or [h, w, 3], found float64"),
        (PAIRS.replace("12), number", "12, 2), number"), "found uint8 of shape (10, 12, 2)"),
        (ARRAYS.replace("% 3", "% 3 - 1"), "train image 0: expected labels from 0 to 1, found -1"),
        (ARRAYS.replace("np.arange(count) % 3", "np.arange(count - 1)"), "expected as many labels as images for the split train, found 11 and 12"),
        (ARRAYS.replace("np.arange(count) % 3", "[0.5] * count"), "expected labels that are all integers from 0, or all texts, found float 0.5"),
        (ARRAYS.replace("np.arange(count) % 3", "np.eye(3)[np.arange(count) % 3]"), "expected one label, found 3 labels; set multi_label = true"),
        (ARRAYS.replace('"train": 12', '"train": 0'), "expected images in the split train, found none"),
        (PAIRS.replace("yield", "number == 5 and 1 / 0\n        yield"), "my_data.py:5: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_a_function_does_wrong_is_said_with_its_line(tmp_path, text, expected):
    message = refused(tmp_path, text)
    assert expected in message
    assert message.startswith(("plugin:mine: ", str(tmp_path)))


def test_a_function_that_was_edited_or_not_trusted_is_not_run(tmp_path):
    text = "raise SystemExit('it ran')\n"
    assert "is not trusted and was not run" in refused(tmp_path, text, allow_plugins=False)
    assert "it has changed: run again" in refused(tmp_path, text, code="0" * 64)


def test_what_a_function_iterates_over_is_never_in_memory_as_a_whole(tmp_path):
    text = """\
import numpy as np

def mine(split):
    for number in range({"train": 3000, "test": 30}[split]):
        yield np.zeros((200, 200, 3), np.uint8), number % 3
"""
    order = {
        "source": "plugin:mine",
        "image_size": 128,
        "color": "rgb",
        "cache_root": str(tmp_path),
        **wish(tmp_path, text),
    }
    script = (
        "import sys, tracemalloc\n"
        "from benchmark.training.programs.prepare import main\n"
        "tracemalloc.start()\n"
        "main([sys.argv[1]])\n"
        "print(tracemalloc.get_traced_memory()[1])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, json.dumps(order)], capture_output=True, text=True, check=True
    )
    assert int(ended.stdout.split()[-1]) < 30e6  # bytes, of 147e6 of pixels


def test_the_plan_reads_a_loader_and_never_runs_it_and_its_code_is_in_the_id(tmp_path):
    (tmp_path / "my_data.py").write_text("raise SystemExit\ndef mine(split): ...\n")
    (first,) = plan(tmp_path, MATRIX).cells
    assert (first.data.source, first.data.num_classes, first.data.multi_label) == ("plugin:mine", 3, False)
    (tmp_path / "my_data.py").write_text("raise SystemExit\ndef mine(split): return None\n")
    (other,) = plan(tmp_path, MATRIX).cells
    assert first.cell_id != other.cell_id
    with pytest.raises(UserError, match=r"my_data.py \(dataset mine\)"):
        require_consent([other], "bench run", allowed=False)
    require_consent([other], "bench predict", allowed=False, with_data=False)
    require_consent([other], "bench run", allowed=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('datasets = ["my_data.py"]\n', ""), 'expected a function of a file of [plugins], or of an installed package, got "plugin:mine"; name its file in [plugins] datasets'),
        (("datasets", "data"), "plugins.data: expected models"),
        (("num_classes = 3\n", ""), "`num_classes`, because plugin:mine is not a source that bench knows"),
    ],
)  # fmt: skip
def test_what_a_matrix_says_wrong_about_loaders_is_refused(tmp_path, change, expected):
    (tmp_path / "my_data.py").write_text(ARRAYS)
    assert expected in problems(tmp_path, MATRIX.replace(*change))


@pytest.mark.slow
def test_prepare_asks_for_consent_and_says_what_went_wrong(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    place.write(ARRAYS.replace("return images", "print('hello')\n    return images"), "my_data.py")
    asked = place.run("prepare")
    assert (asked.returncode, "my_data.py (dataset mine)" in asked.stderr) == (2, True)
    assert "1 dataset ready" in place.run("prepare", "--allow-plugins").stderr
    place.write("def mine(split):\n    raise OSError('no disk')\n", "my_data.py")
    failed = place.run("prepare", "--allow-plugins")
    assert (failed.returncode, "my_data.py:2: OSError: no disk" in failed.stderr) == (2, True)
