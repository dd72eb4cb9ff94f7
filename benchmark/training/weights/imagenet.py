"""Published weights of Keras Applications, torchvision and timm: from their caches, verified, and downloaded into them.

`keras.utils.get_file` deletes a cached file whose digest does not match and downloads it again, so it is not used. A
worker downloads nothing: `bench prepare` and `bench run` have called `fetch` before. For MobileNet and MobileNetV2 Keras
publishes no digest: their arrays are compared with the network, as those of a user's own file. Imports no Keras.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from benchmark.catalog.keras_applications import PUBLISHED, PublishedWeights
from benchmark.catalog.torch_models import TIMM, TORCHVISION_WEIGHTS
from benchmark.errors import DataError
from benchmark.files import appearing
from benchmark.training.weights.timm_hub import timm_file

_LOGGER = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 20
_LOG_EVERY_SECONDS = 0.5
_PIECE_BYTES = 1 << 20


def verified_content(name: str) -> bytes:
    """The published weights of an architecture from Keras's cache, read once, so that what is verified is what is used.

    Raises:
        DataError: None are published, or they are missing or damaged; the message names address, digest and place.
    """
    if name.startswith(TIMM):
        return timm_file(name).read_bytes()
    published = _published(name)
    try:
        content = published.path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the ImageNet weights of {name} are not at {published.path}: {error.strerror}; {_cure(published)}"
        ) from error
    digest = hashlib.new(published.algorithm, content, usedforsecurity=False).hexdigest()
    if published.digest is not None and not digest.startswith(published.digest):
        raise DataError(
            f"{published.path} is not the published file: expected {published.stamp}, found {digest}; move it away, and "
            f"{_cure(published)}"
        )
    return content


def fetch(name: str, *, offline: bool = False, manual_directory: str | None = None) -> Path:
    """The verified weights file of an architecture: from the cache, else from a folder of the user, else downloaded.

    Args:
        name: Of the architecture.
        offline: Whether downloads are forbidden.
        manual_directory: A folder in which the user may have put the published file.

    Raises:
        DataError: It cannot be obtained, or is not the published file. A file that was there before stays as it is.
    """
    if name.startswith(TIMM):
        return timm_file(name, offline=offline)
    published = _published(name)
    manual = Path(manual_directory or "") / published.url.rpartition("/")[2]
    if published.path.exists():
        verified_content(name)
    elif manual_directory is not None and manual.is_file():
        _keep(name, published, lambda: manual.open("rb"), str(manual))
    elif offline:
        verified_content(name)  # says that they are missing
    else:
        _keep(
            name,
            published,
            lambda: urllib.request.urlopen(published.url, timeout=_TIMEOUT_SECONDS),  # noqa: S310  https, from our table
            published.url,
        )
    return published.path


def _published(name: str) -> PublishedWeights:
    published = PUBLISHED.get(name) or TORCHVISION_WEIGHTS.get(name)
    if published is None:
        raise DataError(
            f"no ImageNet weights are published for {name}; they exist for the networks of Keras Applications, torchvision "
            "and timm"
        )
    return published


def _cure(published: PublishedWeights) -> str:
    return (
        f"run `bench prepare` with a network; or put {published.url} ({published.stamp}) at {published.path}, or into "
        "a folder for `bench prepare --manual-dir FOLDER`"
    )


def _keep(name: str, published: PublishedWeights, open_source: Callable[[], BinaryIO], source: str) -> None:
    """Copies the file into Keras's cache, where it appears whole and verified or not at all."""
    digest = hashlib.new(published.algorithm, usedforsecurity=False)
    try:
        published.path.parent.mkdir(parents=True, exist_ok=True)
        with open_source() as incoming, appearing(published.path) as aside:
            with aside.open("xb") as file:
                for piece in _pieces(incoming):
                    digest.update(piece)
                    file.write(piece)
            if published.digest is not None and not digest.hexdigest().startswith(published.digest):
                raise DataError(f"{source} is {digest.hexdigest()}, expected {published.stamp}; nothing was kept of it")
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); {_cure(published)}"
        ) from error


def _pieces(incoming: Any) -> Iterator[bytes]:
    """Reads a file or an HTTP response piece by piece and logs the progress."""
    headers = getattr(incoming, "headers", None)
    length = int(headers.get("Content-Length") or 0) if headers is not None else 0
    done, logged_at = 0, monotonic()
    while piece := incoming.read(_PIECE_BYTES):
        done += len(piece)
        if monotonic() - logged_at >= _LOG_EVERY_SECONDS:
            logged_at = monotonic()
            _LOGGER.info("downloaded %d of %s MiB", done >> 20, length >> 20 or "?")
        yield piece
    if length and done != length:
        raise http.client.IncompleteRead(b"", length - done)
