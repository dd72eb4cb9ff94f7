"""Folders of very many images: decoded by several processes, looked at once, and guarded against change."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from own_data import classes, draw, prepared, refusal
from PIL import Image

from benchmark.catalog import cache
from benchmark.catalog.source_files.image_folders import class_content, folder_state
from benchmark.images.pictures import decode_image
from benchmark.matrix.cell import Data
from benchmark.scheduling.run_options import RunOptions
from benchmark.training.data.preparing import decoding


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
        # the least of three: what else the machine does makes some slower
        each = []
        for _ in range(3):
            began = time.thread_time()
            images, others = class_content(folder)
            each.append(time.thread_time() - began)
        taken.append(min(each))
        assert ([image.name for image in images][:2], len(images), others) == (["000000.png", "000001.png"], count, [])
    assert taken[1] < 8 * max(taken[0], 0.005)


def test_a_command_looks_once_at_a_source_whatever_its_cells_make_of_it(tmp_path, monkeypatch):
    root = classes(tmp_path / "own", {"a": 4, "b": 4})
    looks = []

    def counted(folder, **options):
        looks.append(folder)
        return folder_state(folder, **options)

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
