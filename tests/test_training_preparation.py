from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cli_workplace import children_seconds
from training_archives import put_cifar10, put_imagenette

from benchmark.catalog.cache import prepared_directory
from benchmark.catalog.facts import SOURCES
from benchmark.errors import DataError
from benchmark.training.data.fingerprint import fingerprint_of
from benchmark.training.data.preparing.digits import digits_arrays, enlarge
from benchmark.training.data.preparing.tfds import prepare_tfds  # noqa: F401  imports no TensorFlow by itself
from benchmark.training.programs.prepare import is_complete, prepare


def program(**wanted):
    done = subprocess.run(
        [sys.executable, "-m", "benchmark.training.programs.prepare", json.dumps(wanted)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_digits_are_the_real_ones_split_once_and_for_all():
    from sklearn.datasets import load_digits

    arrays, names = digits_arrays(8, 1)
    assert names == list(SOURCES["digits"].class_names)
    assert arrays["train_images"].shape == (1437, 8, 8, 1)
    assert arrays["test_images"].shape == (360, 8, 8, 1)
    everything = np.concatenate([arrays["train_images"], arrays["test_images"]]).reshape(-1, 64)
    real = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, everything)) == sorted(map(bytes, real))
    assert np.bincount(arrays["test_labels"]).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]


def test_digits_never_change(tmp_path):
    # the numbers of every recorded result rest on these bits
    directory = prepare("digits", 16, "grey", tmp_path)
    known = "6679c16d1fc674e24c8531f29b4a559c65854a760dba9a27cb5918b846cb0bad"
    assert json.loads((directory / "meta.json").read_text())["fingerprint"] == fingerprint_of(directory) == known


def test_enlarging_agrees_with_pillow():
    from PIL import Image

    image = np.random.default_rng(0).random((8, 8))
    for size in (8, 16, 21, 28):
        ours = enlarge(image[None], size)[0]
        theirs = Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
        assert np.allclose(ours, np.asarray(theirs), atol=1e-6)


def test_colour_is_three_equal_channels():
    arrays, _ = digits_arrays(16, 3)
    assert arrays["train_images"].shape[-1] == 3
    assert np.array_equal(arrays["train_images"][..., 0], arrays["train_images"][..., 2])


def test_a_dataset_is_prepared_once(tmp_path):
    first = prepare("digits", 16, "grey", tmp_path)
    written = (first / "meta.json").stat().st_mtime_ns
    assert prepare("digits", 16, "grey", tmp_path) == first == prepared_directory("digits", 16, "grey", tmp_path)
    assert (first / "meta.json").stat().st_mtime_ns == written


def test_many_at_once_make_one_dataset_and_no_rubbish(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        wanted = {"source": "digits", "image_size": 16, "color": "grey", "cache_root": str(tmp_path)}
        answers = list(pool.map(lambda _: program(**wanted), range(3)))
    assert {code for code, _ in answers} == {0}
    assert len({answer["fingerprint"] for _, answer in answers}) == 1
    assert not [path for path in (tmp_path / "prepared").iterdir() if "partial" in path.name]


def test_an_incomplete_one_is_made_anew_and_leftovers_go(tmp_path):
    directory = prepare("digits", 16, "grey", tmp_path)
    (directory / "test_labels.npy").write_bytes(b"cut")
    leftover = directory.with_name(f".{directory.name}.123.partial")
    leftover.mkdir()
    assert not is_complete(directory)
    assert is_complete(prepare("digits", 16, "grey", tmp_path))
    assert not leftover.exists()


def test_a_finished_dataset_is_used_from_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    directory = prepare("digits", 16, "grey", tmp_path)
    monkeypatch.setattr("benchmark.training.programs.prepare.FileLock", None)
    assert prepare("digits", 16, "grey", tmp_path) == directory


def test_sizes_colours_and_sources_lie_apart_and_users_paths_do_not_get_in(tmp_path):
    paths = {
        prepared_directory(source, size, color, tmp_path)
        for source in ("digits", "tfds:mnist", "folder:../../etc", "folder:/etc/passwd")
        for size in (16, 28)
        for color in ("grey", "rgb")
    }
    assert len(paths) == 16
    assert {path.parent for path in paths} == {tmp_path / "prepared"}
    assert all("etc" not in path.name for path in paths)


def test_the_program_prepares_digits_fast_and_without_tensorflow(tmp_path):
    began = children_seconds()
    code, answer = program(source="digits", image_size=16, color="grey", cache_root=str(tmp_path))
    assert code == 0
    assert answer["directory"] == str(prepared_directory("digits", 16, "grey", tmp_path))
    assert children_seconds() - began < 5
    probe = (
        "import sys; from benchmark.training.programs.prepare import prepare; prepare('digits', 8, 'grey', sys.argv[1]);"
        "print({'tensorflow', 'keras', 'sklearn', 'tensorflow_datasets'} & sys.modules.keys())"
    )
    heavy = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], capture_output=True, check=True, text=True)
    assert heavy.stdout.strip() == "set()"


def test_an_unknown_source_is_said(tmp_path):
    code, answer = program(source="tv", image_size=16, color="grey", cache_root=str(tmp_path))
    assert code == 3
    assert "unknown data source 'tv'" in answer["error"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    put_cifar10(directory, per_batch=20, test=30)
    put_imagenette(directory, train=40, test=20)
    return directory


@pytest.fixture
def cifar10(archives, tmp_path) -> dict[str, object]:
    """What is asked for, with TFDS's own files still to be made."""
    where = {"cache_root": str(tmp_path), "data_directory": str(archives), "offline": True}
    return {"source": "tfds:cifar10", "image_size": 32, "color": "rgb", **where}


@pytest.mark.tf
def test_cifar10_goes_through_the_real_builder(cifar10):
    directory = prepare(**cifar10)
    images, labels = (np.load(directory / f"train_{name}.npy") for name in ("images", "labels"))
    assert (images.shape, images.dtype, labels.dtype) == ((100, 32, 32, 3), np.uint8, np.int32)
    assert np.bincount(labels).tolist() == [10] * 10
    for image, label in zip(images, labels, strict=True):
        column, row = label % 4 * 8, label // 4 * 8
        assert image[row : row + 8, column : column + 8, label % 3].min() >= 180
    assert json.loads((directory / "meta.json").read_text())["class_names"] == list(SOURCES["tfds:cifar10"].class_names)
    small = prepare(**{**cifar10, "image_size": 16, "color": "grey"})
    assert np.load(small / "test_images.npy").shape == (30, 16, 16, 1)


@pytest.mark.tf
@pytest.mark.exhaustive  # many at once, above
def test_of_two_that_find_nothing_one_makes_the_files_of_tfds(cifar10):
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(program, **cifar10)
        small = prepare(**{**cifar10, "image_size": 16, "color": "grey"})
        code, answer = other.result()
    assert code == 0, answer
    assert np.load(small / "test_images.npy").shape == (30, 16, 16, 1)


def test_larger_images_of_one_size_are_kept_as_they_come_and_enlarged_by_the_network(tmp_path):
    native = prepared_directory("tfds:cifar10", 32, "rgb", tmp_path)
    assert prepared_directory("tfds:cifar10", 224, "rgb", tmp_path) == native
    assert prepared_directory("tfds:cifar10", 24, "rgb", tmp_path) != native
    assert len({prepared_directory("tfds:imagenette", size, "rgb", tmp_path) for size in (64, 160, 224)}) == 3
    assert prepared_directory("digits", 16, "grey", tmp_path) != prepared_directory("digits", 8, "grey", tmp_path)


@pytest.mark.tf
def test_imagenette_of_varying_shapes_becomes_squares_and_its_test_set_is_the_validation_split(archives, tmp_path):
    directory = prepare("tfds:imagenette", 64, "rgb", tmp_path, data_directory=str(archives))
    images, labels = (np.load(directory / f"test_{name}.npy") for name in ("images", "labels"))
    assert images.shape == (20, 64, 64, 3)
    for image, label in zip(images, labels, strict=True):
        column, row = label % 4 * 16, label // 4 * 16
        square = image[row + 4 : row + 12, column + 4 : column + 12, label % 3]
        assert square.mean() > 150
    assert json.loads((directory / "meta.json").read_text())["class_names"][0] == "tench"


@pytest.mark.tf
def test_an_absent_dataset_is_said_at_once_with_files_digests_and_cure(tmp_path):
    began = time.process_time()
    with pytest.raises(DataError) as caught:
        prepare("tfds:mnist", 28, "grey", tmp_path, offline=True, data_directory=str(tmp_path / "tfds"))
    message = str(caught.value)
    assert time.process_time() - began < 30
    assert "`bench prepare --manual-dir FOLDER`" in message
    assert (
        "train-images-idx3-ubyte.gz (sha256 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609)"
        in message
    )
    assert str(tmp_path / "tfds") in message
    assert "\n" not in message


@pytest.mark.tf
def test_wrong_archives_in_a_manual_directory_are_refused_by_their_digest(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"not it")
    with pytest.raises(DataError, match="NonMatchingChecksumError"):
        prepare(
            "tfds:cifar10",
            32,
            "rgb",
            tmp_path,
            offline=True,
            manual_directory=str(manual),
            data_directory=str(tmp_path / "tfds"),
        )


@pytest.mark.tf
def test_a_misspelt_dataset_gets_the_nearest_name(tmp_path):
    with pytest.raises(DataError, match="did you mean `tfds:mnist`"):
        prepare("tfds:minst", 28, "grey", tmp_path, offline=True)


@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_damaged_tfds_dataset_is_said_with_its_folder(archives, tmp_path):
    data = tmp_path / "tfds"
    put_cifar10(data, per_batch=10, test=10)
    wanted = {"source": "tfds:cifar10", "cache_root": str(tmp_path / "cache"), "data_directory": str(data)}
    assert program(image_size=32, color="rgb", **wanted)[0] == 0
    record = next(data.glob("cifar10/*/cifar10-train.tfrecord*"))
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 1
    record.write_bytes(content)
    code, answer = program(image_size=16, color="rgb", **wanted)
    assert code == 3
    assert f"{record.parent} is damaged" in answer["error"]
