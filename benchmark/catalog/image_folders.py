"""Folders of images in class folders, seen from outside: names, sizes and times; no picture is opened.

    flowers/rose/1.jpg              flowers/train/rose/1.jpg        flowers/train/rose/1.jpg
    flowers/tulip/2.png             flowers/test/rose/2.jpg         flowers/val/rose/2.jpg

A folder `train` that holds folders itself makes it the second kind. Hidden files, and files that are neither JPEG nor
PNG by their ending, are no images.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")
"""Names of the folder with the test images, the first that is there."""

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the class folders of a source lie.

    Attributes:
        train: Holds the class folders of the training images, or of all images.
        test: Holds those of the test images; None when they are to be split off.
        unused: Folders beside these that are not read.
    """

    train: Path
    test: Path | None
    unused: tuple[str, ...] = ()


def layout(root: Path) -> Layout:
    """How a folder is laid out.

    Raises:
        OSError: It is not there, or cannot be read.
    """
    names = subfolders(root)
    if TRAIN not in names or not subfolders(root / TRAIN):
        return Layout(root, None)
    test = next((name for name in TESTS if name in names and subfolders(root / name)), None)
    unused = tuple(name for name in names if name not in {TRAIN, test})
    return Layout(root / TRAIN, root / test if test else None, unused)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def images(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images of a class folder, sorted, and of what else lies there."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_file()) for entry in entries)
    pictures = [name for name, is_file in found if is_file and _is_image(name)]
    return pictures, [name for name, _ in found if name not in set(pictures)]


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS)


def folder_state(root: Path) -> str:
    """A digest of the names, sizes and times of all images; other when one is added, removed or written.

    Raises:
        OSError: The folder is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    found = layout(root)
    for part in filter(None, (found.train, found.test)):
        for name in subfolders(part):
            for picture in images(part / name)[0]:
                status = (part / name / picture).stat()
                place = f"{part.relative_to(root)}/{name}/{picture}"
                digest.update(f"{place!r} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
