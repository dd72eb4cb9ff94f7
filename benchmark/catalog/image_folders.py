"""Finds the images of a folder with class folders, by names, sizes and times; no image is opened.

    flowers/rose/1.jpg              flowers/train/rose/1.jpg        flowers/train/rose/1.jpg
    flowers/tulip/2.png             flowers/test/rose/2.jpg         flowers/val/rose/2.jpg

All images in class folders, or training and test images apart: a folder `train` that holds folders itself means the
latter. Hidden files, and files that do not end like JPEG or PNG files, are no images.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")
"""Names for the folder of test images; the first existing one is used."""

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Which folders hold the class folders of a source.

    Attributes:
        train: Parent of the class folders of the training images, or of all images.
        test: Parent of those of the test images; None when test images are to be split off.
        unused: Other folders, which are not read.
    """

    train: Path
    test: Path | None
    unused: tuple[str, ...] = ()


def find_layout(root: Path) -> FolderLayout:
    """Find the class folders below a folder.

    Raises:
        OSError: The folder is missing or cannot be read.
    """
    names = subfolders(root)
    if TRAIN not in names or not subfolders(root / TRAIN):
        return FolderLayout(root, None)
    test = next((name for name in TESTS if name in names and subfolders(root / name)), None)
    unused = tuple(name for name in names if name not in {TRAIN, test})
    return FolderLayout(root / TRAIN, root / test if test else None, unused)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def image_names(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a class folder, and of everything else in it; both sorted."""
    with os.scandir(folder) as entries:
        files = sorted((entry.name, entry.is_file()) for entry in entries)
    images = {
        name for name, is_file in files if is_file and not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS)
    }
    return sorted(images), [name for name, _ in files if name not in images]


def folder_state(root: Path) -> str:
    """A sha256 of the names, sizes and times of all images; it changes when one is added, removed or written.

    Raises:
        OSError: The folder is missing or cannot be read.
    """
    digest = hashlib.sha256()
    layout = find_layout(root)
    for part in filter(None, (layout.train, layout.test)):
        for name in subfolders(part):
            for image in image_names(part / name)[0]:
                status = (part / name / image).stat()
                place = f"{part.relative_to(root)}/{name}/{image}"
                digest.update(f"{place!r} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
