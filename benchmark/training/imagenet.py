"""ImageNet weights of Keras Applications: found in the cache, verified by md5, given to Keras as a path.

Keras itself would delete a cached file whose digest does not match, and then try to download it. It is never let near
an unverified file here, and a worker downloads nothing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import keras

from benchmark.training.causes import DataError
from benchmark.training.files import sha256_of
from benchmark.training.models import Network
from benchmark.training.weights import check_finite

_BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"


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
    published = PUBLISHED.get(name)
    if published is None:
        raise DataError(f"no ImageNet weights are published for {name}; they exist for {', '.join(sorted(PUBLISHED))}")
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


def load_imagenet(network: Network) -> str:
    """Loads the published weights into the backbone; returns the file's sha256.

    Raises:
        DataError: See `verified_path`; or the file does not fit.
    """
    path = verified_path(network.core.name)
    digest = sha256_of(path)
    features = network.core.get_layer(network.backbone[-1]).output
    try:
        keras.Model(network.core.input, features).load_weights(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} does not fit {network.core.name}: {error}") from error
    check_finite(network.core, str(path))
    return digest
