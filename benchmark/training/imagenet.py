"""ImageNet weights of Keras Applications: found in the cache, verified by md5, given to Keras as a path. Imports no Keras itself.

Keras itself would delete a cached file whose digest does not match, and then try to download it. It is never let near
an unverified file here, and a worker downloads nothing: `bench prepare` does, through `fetch`.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmark.training.causes import DataError

_BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Where Keras publishes the weights of one network without its top, and their digest."""

    url: str
    md5: str

    @property
    def path(self) -> Path:
        """Where the file lies in Keras's cache: `$KERAS_HOME/models`, by default `~/.keras/models`."""
        home = os.environ.get("KERAS_HOME")
        root = Path(home).expanduser() if home else Path.home() / ".keras"
        return root / "models" / self.url.rpartition("/")[2]


PUBLISHED = {
    "vgg16": PublishedWeights(
        f"{_BASE_URL}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"
    ),
    "resnet50": PublishedWeights(
        f"{_BASE_URL}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"
    ),
}


def verified_path(name: str) -> Path:
    """The cached weights file of `name`, after comparing its md5.

    Raises:
        DataError: None is published, or it is missing or damaged; the message names address, digest and place.
    """
    published = _published(name)
    path = published.path
    cure = (
        f"run `bench prepare` on a machine with internet, or download {published.url} to {path} (md5 {published.md5})"
    )
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise DataError(f"the ImageNet weights of {name} are not at {path}: {error.strerror}; {cure}") from error
    if found != published.md5:
        raise DataError(f"{path} is not the published file: expected md5 {published.md5}, found {found}; {cure}")
    return path


def _published(name: str) -> PublishedWeights:
    if name not in PUBLISHED:
        raise DataError(f"no ImageNet weights are published for {name}; they exist for {', '.join(sorted(PUBLISHED))}")
    return PUBLISHED[name]


def fetch(name: str) -> Path:
    """The verified weights file of `name`, downloaded into Keras's cache when it is not there.

    Raises:
        DataError: It cannot be downloaded, or what came is not the published file, which is then thrown away; a file
            that was there before stays as it is.
    """
    published = _published(name)
    if published.path.exists():
        return verified_path(name)
    aside = published.path.with_name(f".{published.path.name}.{os.getpid()}.partial")
    published.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        digest = _download(published.url, aside)
        if digest != published.md5:
            raise DataError(f"{published.url} gave a file with md5 {digest}, expected {published.md5}; try again")
        aside.replace(published.path)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); put {published.url} "
            f"(md5 {published.md5}) at {published.path}"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return published.path


def _download(url: str, path: Path) -> str:
    """Fetches `url` into `path`, synced to disk; returns its md5."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as file:  # noqa: S310  https
        while piece := answer.read(1 << 20):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
