"""Artifacts below a URL, such as `s3://bucket/folder`: files are put there and fetched, whole or not at all.

Any file system of fsspec will do that can be written and that other processes see. Credentials are those that its library
finds (environment, files of its own, the role of the computer); they are in no URL and no message.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from benchmark import faults
from benchmark.errors import StorageError, UserError
from benchmark.files import appearing, sha256_of
from benchmark.results.artifacts.artifact_url import checked_url, cure_for
from benchmark.text import one_line, without_passwords

T = TypeVar("T")

_WHOLE_BY_THEMSELVES = frozenset({"s3", "gcs", "abfs"})
"""What is put there appears at once, under its name: no file of another name has to be renamed."""

_TRIES, _TRIES_OF_FILES = 4, 7
"""How often something is tried; files of attempts for about a minute, for what they cost would be lost."""

_PAUSE_SECONDS = 0.5
"""Before the second try; it doubles with each."""

_S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2, "mode": "standard"}}}
"""A server that does not answer is noticed before it has stalled a run."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What a listing tells of a file: its size, and when it was written in seconds since 1970, infinite if unknown."""

    size_bytes: int
    written: float


@functools.cache
def store_of(url: str) -> ArtifactStore:
    """The store of a URL; one for each in a process."""
    return ArtifactStore(url)


class ArtifactStore:
    """Files below a URL; names are relative to it, with `/` between their parts.

    All methods raise `StorageError` with the URL and the cure when they fail, after having tried again, for a server may be
    away for a moment; and `UserError` where the URL cannot be used on this computer at all (see `checked_url`).
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def check(self) -> None:
        """Tries whether files can be written, read and deleted."""
        name, content = f".try-{os.urandom(4).hex()}.partial", b"bench"
        self.write(name, content)
        if self.read(name) != content:
            raise StorageError(f"{self.url}: expected to read what was written there, found something else")
        self.remove([name])

    def put(self, source: Path, name: str) -> None:
        """Copies a file there, whole or not at all, in the place of one of that name."""
        size = source.stat().st_size

        def copy() -> None:
            target = self._path(name)
            aside = self._path(f"{_parent(name)}.{PurePosixPath(name).name}.{os.urandom(4).hex()}.partial")
            target_first = target if self._is_whole else aside
            faults.point("upload")
            if not self._is_whole:
                self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(source), target_first)
            stored = int(self._fs.size(target_first) or 0)
            if stored != size:
                raise OSError(f"expected {size} bytes of {name}, found {stored}")
            if not self._is_whole:
                self._fs.mv(aside, target)

        self._try(f"{name} cannot be written", copy, _TRIES_OF_FILES)

    def get(self, name: str, target: Path, sha256: str | None = None) -> None:
        """Copies a file from there to `target`, whole or not at all, verified where its digest is known."""

        def copy() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with appearing(target) as aside:
                self._fs.get_file(self._path(name), str(aside))
                if sha256 is not None and (actual := sha256_of(aside)) != sha256:
                    raise OSError(f"expected the sha256 {sha256}, found {actual}")

        self._try(f"{name} cannot be read", copy, _TRIES_OF_FILES)

    def write(self, name: str, content: bytes) -> None:
        """Makes a small file of this content."""

        def copy() -> None:
            path = self._path(name)
            if not self._is_whole:
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, content)

        self._try(f"{name} cannot be written", copy)

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None when there is none."""

        def content() -> bytes | None:
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                self._require_bucket()
                return None

        return self._try(f"{name} cannot be read", content)

    def sha256(self, name: str) -> str:
        """The digest of the content that a file has there, in hex; it is read in pieces."""

        def digest() -> str:
            with self._fs.open(self._path(name), "rb", block_size=8 << 20, cache_type="readahead") as file:
                return sha256_of(file)

        return self._try(f"{name} cannot be read", digest)

    def files(self, below: str = "") -> dict[str, StoredFile]:
        """All files in a folder and those below, by name; none where it does not exist."""

        def listing() -> dict[str, StoredFile]:
            start = self._path(below)
            try:
                found = self._fs.find(start, detail=True, **({"refresh": True} if self._protocol == "s3" else {}))
            except FileNotFoundError:
                return {}
            root = f"{self._root}/"
            return {
                path.removeprefix(root): StoredFile(int(facts.get("size") or 0), _written(facts))
                for path, facts in found.items()
                if path.startswith(root) and facts.get("type") == "file"
            }

        return self._try(f"{below or 'it'} cannot be listed", listing)

    def remove(self, names: Iterable[str]) -> None:
        """Deletes files; those that are not there are no mistake."""

        def delete() -> None:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._path(name))

        self._try("files cannot be deleted", delete)

    def remove_below(self, folder: str) -> None:
        """Deletes a folder with all that is in it; best effort."""
        with contextlib.suppress(StorageError):
            if names := list(self.files(folder)):
                self.remove(names)
            if self._protocol == "file":
                self._fs.rm(self._path(folder), recursive=True)

    # ---- the file system

    @functools.cached_property
    def _opened(self) -> tuple[Any, str]:
        checked_url(self.url)
        import fsspec

        protocol = self.url.partition("://")[0]
        options: dict[str, Any] = dict(_S3) if protocol in {"s3", "s3a"} else {}
        system, root = fsspec.url_to_fs(self.url, use_listings_cache=False, **options)
        return system, str(root).rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    @property
    def _protocol(self) -> str:
        protocol = self._fs.protocol
        return str(protocol if isinstance(protocol, str) else protocol[0])

    @property
    def _is_whole(self) -> bool:
        return self._protocol in _WHOLE_BY_THEMSELVES

    def _path(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/"):
            raise StorageError(f"{self.url}: {name} leads out of the artifacts")
        return "/".join([self._root, *parts])

    def _require_bucket(self) -> None:
        """A bucket that does not exist is no empty one."""
        if self._is_whole:
            self._fs.ls(self._root.partition("/")[0], detail=False)

    def _try(self, what: str, act: Callable[[], T], tries: int = _TRIES) -> T:
        for number in range(tries):
            try:
                return act()
            except (StorageError, UserError):
                raise
            except Exception as error:
                cure = cure_for(error, self.url)
                if cure is not None or number == tries - 1:
                    reason = without_passwords(one_line(str(error) or type(error).__name__))[:500]
                    advice = cure or "Is the server there, and its address right (AWS_ENDPOINT_URL)? Then run again"
                    raise StorageError(f"{self.url}: {what}: {reason.rstrip('.')}. {advice}") from error
                time.sleep(_PAUSE_SECONDS * 2**number)
        raise AssertionError


def _written(facts: dict[str, Any]) -> float:
    """When a file was written, by what a listing says; each library says it in its own way."""
    value = next((facts[name] for name in ("LastModified", "mtime", "updated", "last_modified") if name in facts), None)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value) if isinstance(value, int | float) else float("inf")


def _parent(name: str) -> str:
    return "".join(f"{part}/" for part in PurePosixPath(name).parts[:-1])
