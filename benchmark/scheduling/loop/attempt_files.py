"""The files of attempts below the URL of artifacts: which ones an attempt needs from there, and how each is put there."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmark import layout
from benchmark.errors import StorageError
from benchmark.results.artifacts.artifact_store import ArtifactStore
from benchmark.scheduling.decisions.cell_decisions import Beginning

EARLIER_STATES = 2
"""States of so many earlier attempts are fetched: the newest, and one to fall back upon."""

_STATES = (layout.STATE, layout.SCRIPT_ARCHIVE)


class AttemptFiles:
    """Copies between a folder that attempts work in and a URL; waits until each copy is made.

    Args:
        store: What is below the URL.
        root: The folder, laid out as a folder of artifacts is.
    """

    def __init__(self, store: ArtifactStore, root: Path) -> None:
        self._store = store
        self._root = root

    def bring(self, beginning: Beginning, directories: Sequence[Path]) -> None:
        """Fetches the states, weights and stages that an attempt starts from.

        Args:
            beginning: What it starts from, as paths in the folder.
            directories: Of earlier attempts, newest first.

        Raises:
            StorageError: Something cannot be fetched, or the weights are not those that were recorded.
        """
        has_state = self._bring_states(directories)
        if beginning.parent_weights is not None:
            path, sha256 = beginning.parent_weights
            if not path.exists():
                self._store.get(self._name(path), path, sha256)
        for folder in () if has_state else beginning.shared_stages.values():
            for name in self._store.files(self._name(folder)):
                if name.endswith(f"/{layout.STATE}") and not (self._root / name).exists():
                    self._store.get(name, self._root / name)

    def _bring_states(self, directories: Sequence[Path]) -> bool:
        count = 0
        for directory in directories:
            if count == EARLIER_STATES:
                break
            if any((directory / name).exists() for name in (layout.STATE, layout.SCRIPT_STATE)):
                count += 1
                continue
            there = [name for name in self._store.files(self._name(directory)) if name.endswith(_STATES)]
            for name in there:
                self._store.get(name, self._root / name)
                if name.endswith(layout.SCRIPT_ARCHIVE):
                    _unpack(self._root / name)
            count += bool(there)
        return count > 0

    def put(self, path: Path) -> None:
        """Puts a file there as it is now: under another name it stays so when a newer one takes its place."""
        aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
        try:
            aside.hardlink_to(path)
            self._store.put(aside, self._name(path))
        except FileNotFoundError:
            # a state of a cell that has been finished meanwhile
            return
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        finally:
            aside.unlink(missing_ok=True)

    def put_script_state(self, directory: Path) -> None:
        """Puts the states and epochs of a command there, as they are now, in one file."""
        aside = directory / f".{layout.SCRIPT_ARCHIVE}.{os.urandom(4).hex()}.partial"
        try:
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for path in [directory / layout.SCRIPT_EPOCHS, *sorted((directory / layout.SCRIPT_STATE).rglob("*"))]:
                    # a program may delete older states meanwhile
                    with suppress(FileNotFoundError):
                        archive.write(path, path.relative_to(directory))
            self._store.put(aside, f"{self._name(directory)}/{layout.SCRIPT_ARCHIVE}")
        except OSError as error:
            raise StorageError(f"{directory}: its states cannot be read: {error.strerror}") from error
        finally:
            aside.unlink(missing_ok=True)

    def forget(self, directories: Sequence[Path]) -> None:
        """Deletes the states of attempts, and the folders that they worked in: a run may be longer than the disk is large."""
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)
        self._store.remove([f"{self._name(directory)}/{name}" for directory in directories for name in _STATES])

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _unpack(archive: Path) -> None:
    """Puts the states and epochs of a command where the attempt had them."""
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(archive.parent)
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(f"{archive}: the states of a command cannot be unpacked: {error}") from error
    archive.unlink(missing_ok=True)
