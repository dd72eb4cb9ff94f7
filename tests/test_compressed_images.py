"""Images that stay compressed give the bits of decoded ones, in any order, and say what has become of their files."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import signal
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from cli_workplace import Workplace
from own_data import classes, draw
from PIL import Image
from training_cells import DIGITS, cell, history, job, run_worker, stage

from benchmark import events, layout
from benchmark.catalog.cache import PreparedDirectories
from benchmark.errors import DataError
from benchmark.files import sha256_of
from benchmark.images.compressed_images import CompressedImages, open_array
from benchmark.reporting.figures.drawing.prepared_images import open_images
from benchmark.reporting.figures.images.training_images import draw_training_images
from benchmark.training.data.dataset import ExampleSet, open_dataset
from benchmark.training.data.fingerprint import StreamedFingerprint, fingerprint_of
from benchmark.training.data.preparing import decoding, sources
from benchmark.training.data.preparing.sources import DatasetRequest, new_images, save_labels
from benchmark.training.data.preparing.streamed_parts import PartWriter
from benchmark.training.data.repeated_images_count import image_digest
from benchmark.training.data.splits import Split
from benchmark.training.programs.prepare import is_complete, prepare

SMALL = "0.0000001"
"""So many GiB that no image has room."""


def photograph(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (23, 17), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8), mode).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    return two_classes(tmp_path / "own")


def two_classes(root: Path) -> Path:
    """A folder with two classes of pictures of every kind: JPEG, PNG, grey, transparent, turned."""
    for label in range(2):
        for number in range(6):
            photograph(root / f"c{label}" / f"{number}.jpg", 10 * label + number)
        photograph(root / f"c{label}" / "grey.png", label, "L")
        photograph(root / f"c{label}" / "transparent.png", label, "RGBA")
        exif = Image.Exif()
        exif[0x0112] = 6
        photograph(root / f"c{label}" / "turned é.jpg", label, exif=exif)
    return root


@pytest.fixture
def archive(tmp_path):
    path, generator = tmp_path / "own.npz", np.random.default_rng(0)
    np.savez(path, x=generator.integers(0, 256, (30, 9, 11, 3)).astype(np.uint8), y=np.arange(30) % 3)
    return path


@pytest.fixture
def both(tmp_path, monkeypatch, folder, archive):
    """Prepares a source twice: decoded, and compressed."""

    def prepared(source, **changes):
        location = {"folder": folder, "npz": archive}.get(source.partition(":")[0])
        wish = {"image_size": 12, "color": "rgb", **({"location": str(location)} if location else {}), **changes}
        monkeypatch.delenv("BENCH_PREPARED_GIB", raising=False)
        whole = prepare(source, cache_root=tmp_path / "whole", **wish)
        monkeypatch.setenv("BENCH_PREPARED_GIB", SMALL)
        return whole, prepare(source, cache_root=tmp_path / "small", **wish)

    return prepared


def meta_of(directory):
    return json.loads((directory / "meta.json").read_text())


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("folder:own", {}),
        ("folder:own", {"color": "grey", "background": "#123456"}),
        ("folder:own", {"resize": "crop"}),
        ("npz:own.npz", {}),
        ("digits", {"color": "grey", "image_size": 16}),
    ],
    ids=str,
)
def test_pixels_labels_and_fingerprint_are_those_of_decoded_images(both, source, changes):
    whole, small = both(source, **changes)
    assert whole.name == small.name
    assert meta_of(whole)["fingerprint"] == meta_of(small)["fingerprint"] == fingerprint_of(small)
    for part in ("train", "test"):
        expected, found = (open_array(directory, f"{part}_images") for directory in (whole, small))
        assert isinstance(found, CompressedImages)
        assert not (small / f"{part}_images.npy").exists()
        assert (found.shape, found.dtype, len(found)) == (expected.shape, expected.dtype, len(expected))
        assert np.array_equal(found[:], expected)
        assert np.array_equal(found[2], expected[2])
        assert np.array_equal(found[np.array([3, 0, 3])], expected[[3, 0, 3]])
        assert np.array_equal(*(np.load(each / f"{part}_labels.npy") for each in (whole, small)))
    assert is_complete(small)
    assert any("are decoded while training" in note for note in meta_of(small)["notes"])
    assert not any("are decoded while training" in note for note in meta_of(whole)["notes"])


def test_a_folder_takes_no_room_beside_itself(both):
    _, small = both("folder:own")
    assert sorted(path.suffix for path in small.glob("train_images*")) == [".json", ".npy", ".paths"]
    assert sum(path.stat().st_size for path in small.glob("train_images*")) < 3000


@pytest.mark.parametrize(
    "which",
    [
        3, -1, np.int64(2), slice(None), slice(2, 9, 3), slice(None, None, -1), [4, 1, 1], np.array([0, -2]), np.arange(0),
        np.arange(6).reshape(2, 3), (3, slice(None), slice(2, 5), 0), (slice(0, 4), 2), ([1, 5], slice(1, 3)), (..., 0), None,
        ([1, 2], [3, 4]), np.arange(12) % 2 == 0,
    ],
    ids=str,
)  # fmt: skip
def test_they_are_indexed_as_arrays_are(both, which):
    whole, small = (open_array(directory, "train_images") for directory in both("folder:own", color="grey"))
    whole, small = whole[:12], small.at(np.arange(12))
    assert isinstance(small, CompressedImages)
    got = small[which] if which is not None else np.asarray(small)
    expected = whole[which] if which is not None else whole
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert (got == expected).all()


def test_other_processes_open_them_themselves(both):
    _, small = both("folder:own")
    images = open_array(small, "train_images").at(np.array([4, 0, 2])).at(np.array([2, 0]))
    content = pickle.dumps(images)
    assert len(content) < 1000
    assert (pickle.loads(content)[:] == open_array(small, "train_images")[[2, 4]]).all()
    assert (images.shape, images.dtype, images.ndim, len(images)) == ((2, 12, 12, 3), np.uint8, 4, 2)
    with pytest.raises(IndexError):
        images[2]
    assert sum(1 for _ in images) == 2


SCRIPT = """\
import json, os
from pathlib import Path
import numpy as np
from benchmark import cell

(images, labels), (test, _) = cell.train, cell.test
same = [int(images[np.arange(len(images))[::-1]].sum(dtype=np.int64)), int(np.asarray(test).sum(dtype=np.int64))]
kind = [type(images).__name__, images.shape[0] == len(labels), images.ndim, str(images.dtype)]
kept = json.loads(Path(os.environ["BENCH_CELL"]).read_text())["arrays"]["train"]
Path(cell.settings["file"]).write_text(json.dumps([same, kind, {**kept, "first": int(np.load(kept["indices"])[0])}, images[0].tolist()]))
cell.epoch(train_loss=1.0)
cell.finish(probabilities=np.full((len(test), len(cell.class_names)), 1 / len(cell.class_names)))
"""
COMMAND = """\
[matrix]
dataset = "own"
strategy = "scratch"
model = "script"
[defaults]
epochs = 1
[dataset.own]
image_size = 12
color = "rgb"
SOURCE
[model.script]
command = ["python", "look.py", "{file}"]
file = "FILE"
"""


@pytest.mark.process
@pytest.mark.parametrize("source", ["folder", "npz"])
def test_a_command_reads_images_that_stay_compressed_as_it_reads_arrays(tmp_path, folder, archive, source):
    place = Workplace(tmp_path)
    place.write(SCRIPT, "look.py")
    seen = {}
    for room in ("1", SMALL):
        cache = {"BENCH_PREPARED_GIB": room, "BENCH_CACHE": str(tmp_path / f"cache{room}")}
        own = 'source = "folder:own"' if source == "folder" else 'source = "npz:own.npz"\nnum_classes = 3'
        place.write(COMMAND.replace("SOURCE", own).replace("FILE", f"{room}.json"))
        done = place.run("run", "--allow-plugins", **cache)
        assert done.returncode == 0, done.stderr
        seen[room] = json.loads((tmp_path / f"{room}.json").read_text())
    (whole, kind, _, first), (same, lazy, kept, own_first) = seen["1"], seen[SMALL]
    assert (whole, first) == (same, own_first)
    assert (kind[0], lazy) == ("memmap", ["CompressedImages", True, 4, "uint8"])
    assert kept["images"] is None
    # as the page for other languages describes it
    facts = json.loads(Path(kept["compressed"]["facts"]).read_text())
    places = np.load(kept["compressed"]["places"])
    begin, end = places[kept["first"]][:2]
    if source == "npz":
        content = Path(kept["compressed"]["packed"]).read_bytes()[begin:end]
        differences = np.frombuffer(zlib.decompress(content), np.uint8).reshape(facts["shape"][1:])
        assert np.cumsum(differences, axis=1, dtype=np.uint8).tolist() == first
    else:
        path = Path(kept["compressed"]["paths"]).read_bytes()[begin:end].decode()
        assert Path(path).stat().st_size == places[kept["first"]][2]
        assert facts["resize"] == "squeeze"


def test_figures_decode_the_pictures_that_they_show(both, tmp_path, folder):
    _, small = both("folder:own")
    data = dataclasses.replace(
        DIGITS, source="folder:own", location=str(folder), image_size=12, color="rgb", num_classes=2
    )
    shown = open_images(data, tmp_path / "small")
    assert isinstance(shown.training, CompressedImages)
    assert PreparedDirectories(tmp_path / "small").of(data) == small
    assert draw_training_images("own", shown).axes
    (folder / "c0" / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"0\.jpg cannot be read any more"):
        [shown.training[number] for number in range(len(shown.training))]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_come_in_the_order_asked_for_with_their_labels(both, size):
    whole, small = both("folder:own")
    examples = [
        ExampleSet(open_array(each, "train_images"), Split(np.arange(8), np.arange(8, dtype=np.int32)))
        for each in (whole, small)
    ]
    order = np.random.default_rng(0).permutation(8)
    for (x, y), (images, labels) in zip(*(each.batches(size, order) for each in examples), strict=True):
        assert np.array_equal(x, images)
        assert np.array_equal(y, labels)


def test_no_thread_stays_when_an_epoch_is_broken_off(both):
    _, small = both("digits", color="grey", image_size=16)
    before = threading.active_count()
    batches = ExampleSet(open_array(small, "train_images"), Split(np.arange(1437), np.zeros(1437, int))).batches(32)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_a_cell_opens_both_alike(both):
    whole, small = both("digits", color="grey", image_size=16)
    opened = [open_dataset(each, DIGITS, 0, one_hot=False) for each in (whole, small)]
    assert opened[0].fingerprint == opened[1].fingerprint
    for part in ("training", "validation", "test"):
        first, second = (getattr(each, part) for each in opened)
        assert np.array_equal(first.split.indices, second.split.indices)


@pytest.mark.parametrize("change", ["rewritten", "removed", "touched"])
def test_a_file_that_changed_is_named(both, folder, change):
    _, small = both("folder:own")
    images = open_array(small, "train_images")
    paths = (small / "train_images.paths").read_bytes()
    begin, end, *_ = np.load(small / "train_images.places.npy")[0]
    path = Path(os.fsdecode(paths[begin:end]))
    assert path.is_relative_to(folder)
    match change:
        case "rewritten":
            photograph(path, 99, size=(50, 50))
        case "removed":
            path.unlink()
        case "touched":
            os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=path.name):
        list(images.batches([np.arange(len(images))]))
    with pytest.raises(DataError, match=path.name):
        images[0]


def test_damaged_content_is_a_data_error(both):
    _, small = both("npz:own.npz")
    with (small / "train_images.packed").open("r+b") as file:
        file.write(b"rubbish")
    with pytest.raises(DataError, match="image 0 of a prepared dataset is damaged"):
        open_array(small, "train_images")[0]
    data = DIGITS
    with pytest.raises(DataError, match=r"changed since it was made: expected the sha256 .* found"):
        open_dataset(small, data, 0, one_hot=False)


def test_a_copied_cache_is_believed_after_its_digests_are_compared(both, tmp_path):
    _, small = both("digits", color="grey", image_size=16)
    copy = tmp_path / "copy" / small.name
    shutil.copytree(small, copy, copy_function=shutil.copyfile)
    assert len(open_dataset(copy, DIGITS, 0, one_hot=False).test) == 360


@pytest.mark.parametrize("name", ["train_images.packed", "train_images.places.npy", "test_images.json"])
def test_a_missing_file_is_prepared_again(both, name):
    _, small = both("npz:own.npz")
    (small / name).unlink()
    assert not is_complete(small)


def test_damaged_transparent_and_changed_files_are_told_as_for_decoded_images(both, folder, monkeypatch):
    (folder / "c0" / "3.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"3\.jpg cannot be read as JPEG or PNG"):
        both("folder:own")
    monkeypatch.setenv("BENCH_PREPARED_GIB", SMALL)
    with pytest.raises(DataError, match=r"3\.jpg cannot be read as JPEG or PNG"):
        prepare("folder:own", 12, "rgb", folder.parent / "other", location=str(folder))
    photograph(folder / "c0" / "3.jpg", 3)
    whole, small = both("folder:own")
    notes = [
        [note for note in meta_of(each)["notes"] if "decoded while training" not in note] for each in (whole, small)
    ]
    assert notes[0] == notes[1]
    assert "2 of 18 images are transparent" in notes[0][0]


def test_what_has_room_is_decoded_and_only_the_rest_compressed(tmp_path, monkeypatch):
    root = classes(tmp_path / "own", {"a": 20, "b": 20})
    # 32 training images of 3 x 64 bytes have no room, 8 test images have
    monkeypatch.setenv("BENCH_PREPARED_GIB", str(32 * 192 * 0.9 / 2**30))
    directory = prepare("folder:own", 8, "rgb", tmp_path / "cache", location=str(root))
    assert isinstance(open_array(directory, "train_images"), CompressedImages)
    assert not isinstance(open_array(directory, "test_images"), CompressedImages)
    assert meta_of(directory)["fingerprint"] == fingerprint_of(directory)


def test_images_decoded_by_several_processes_come_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "IMAGES_FOR_A_PROCESS", 2)
    monkeypatch.setattr(decoding, "_IMAGES_OF_A_TASK", 2)
    files = in_order(tmp_path)
    for processes in (1, 3):
        request = DatasetRequest("folder:own", 8, "grey", processes=processes)
        states = np.zeros(len(files), np.uint8) if processes == 1 else shared(len(files))
        digests = shared(len(files), np.uint64)
        pixels = np.concatenate([each.copy() for each in decoding.decode_in_order(files, states, digests, request)])
        assert pixels[:, 0, 0, 0].tolist() == list(range(len(files)))
        assert states.tolist() == [decoding.DECODED] * len(files)
        assert digests.tolist() == [image_digest(each) for each in pixels]


def test_a_process_that_dies_while_it_decodes_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "IMAGES_FOR_A_PROCESS", 2)
    monkeypatch.setattr(decoding, "PROGRESS_SECONDS", 0.05)
    own = os.getpid()

    def killed(*_):
        assert os.getpid() != own
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(decoding, "_decode_into", killed)
    files, request = in_order(tmp_path), DatasetRequest("folder:own", 8, "grey", processes=2)
    with pytest.raises(DataError, match="was ended by SIGKILL"):
        list(decoding.decode_in_order(files, shared(len(files)), shared(len(files), np.uint64), request))


def in_order(root):
    for number in range(25):
        draw(root / f"{number:02}.png", number, mode="L")
    return sorted(os.scandir(root), key=lambda entry: entry.name)


def shared(count, kind=np.uint8):
    import mmap

    return np.frombuffer(mmap.mmap(-1, count * np.dtype(kind).itemsize), kind)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_the_fingerprint_is_right_in_whatever_order_images_come(tmp_path, monkeypatch, order):
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3)).astype(np.uint8)
    found = {}
    for gibibytes in ("1", SMALL):
        monkeypatch.setenv("BENCH_PREPARED_GIB", gibibytes)
        directory = tmp_path / gibibytes
        directory.mkdir()
        stream = StreamedFingerprint(directory)
        request = DatasetRequest("npz:own", 5, "rgb", stream=stream)
        for part in ("train", "test"):
            array = new_images(directory, part, 4, request)
            for number in order:
                array[number] = images[number]
            array.flush()
            save_labels(directory, part, np.array([0, 0, 1, 1], dtype=np.int32))
        found[gibibytes] = (stream.hexdigest(), fingerprint_of(directory))
    assert len({each for pair in found.values() for each in pair}) == 1


@pytest.mark.parametrize("room", [0, 7, 299, 1000])
def test_images_that_come_one_after_another_are_compressed_once_they_take_too_much(tmp_path, monkeypatch, room):
    images = np.random.default_rng(0).integers(0, 256, (600, 3, 3, 1)).astype(np.uint8)
    monkeypatch.setenv("BENCH_PREPARED_GIB", str((9 * room + 128) / 2**30))
    request = DatasetRequest("plugin:own", 3, "grey")
    with PartWriter(tmp_path, "train", request) as writer:
        for number, image in enumerate(images):
            writer.add(image, number)
    array = open_array(tmp_path, "train_images")
    assert isinstance(array, CompressedImages) == (room < 600)
    assert np.array_equal(array[:], images)
    assert next(file.suffix for file in layout.array_files(tmp_path, "train_images")) == (
        ".npy" if room > 600 else ".json"
    )


def test_slices_may_be_written_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_PREPARED_GIB", SMALL)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 2)).astype(np.uint8)
    monkeypatch.setattr(DatasetRequest, "channels", 2)
    array = sources.new_images(tmp_path, "train", 5, DatasetRequest("npz:own", 4, "rgb"))
    array[:3], array[3:] = images[:3], images[3:]
    array.flush()
    assert np.array_equal(open_array(tmp_path, "train_images")[:], images)


@pytest.mark.tf
@pytest.mark.parametrize(
    "backend", ["tensorflow", *(pytest.param(each, marks=pytest.mark.exhaustive) for each in ("jax", "torch"))]
)
def test_a_cell_comes_to_the_same_bits_and_goes_on_to_them(both, tmp_path, backend):
    """Features of frozen layers, augmentation, views of test images; SIGTERM in the middle of an epoch."""
    pytest.importorskip(backend)
    whole, small = both("digits", color="grey", image_size=16)
    first, second = stage(train="last:2", epochs=2), stage(train="all", augment=(("flip", "horizontal"),))
    wanted = cell(stages=(first, second), tta=1, backend=backend)
    decoded = run_worker(job(wanted, tmp_path / "1", whole), backend=backend)
    stopped = run_worker(job(wanted, tmp_path / "2", small), faults="stop-in-epoch:3", backend=backend)
    assert stopped.told[-1] == events.Interrupted(2)
    resumed = run_worker(
        job(wanted, tmp_path / "3", small, earlier_directories=(str(tmp_path / "2"),)), backend=backend
    )
    assert history(resumed) == history(decoded)
    for name in (layout.WEIGHTS, *list(layout.PREDICTIONS.values())[:2]):
        assert sha256_of(tmp_path / "1" / name) == sha256_of(tmp_path / "3" / name)


@pytest.mark.tf
def test_a_file_that_changes_while_a_cell_trains_ends_it_as_a_data_error(both, tmp_path, folder):
    _, small = both("folder:own")
    photograph(folder / "c0" / "grey.png", 77, "L", size=(9, 9))
    photograph(folder / "c1" / "grey.png", 77, "L", size=(9, 9))
    own = dataclasses.replace(
        DIGITS, source="folder:own", image_size=12, color="rgb", num_classes=2, validation_fraction=0.0
    )
    failed = run_worker(job(cell(data=own), tmp_path / "1", small)).one(events.Failed)
    assert failed.cause == "data_error"
    assert "grey.png has changed since its dataset was prepared; run again" in failed.message
