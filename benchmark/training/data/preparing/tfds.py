"""Prepares datasets of TensorFlow Datasets: its builders download, verify and prepare them, images are decoded here.

Images of other sizes are resized bilinearly with antialiasing to a square. Grey is the luma of ITU-R BT.601, as
`tf.image.rgb_to_grayscale` has it. Several labels an image are a sequence of class labels, or numbers 0 and 1, one for each class.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark import layout
from benchmark.catalog.channels import is_convertible
from benchmark.catalog.facts import SOURCES
from benchmark.errors import DataError
from benchmark.files import sha256_of
from benchmark.training.data.preparing.image_groups import group_text, numbered_groups
from benchmark.training.data.preparing.sources import (
    NO_VALIDATION,
    DatasetRequest,
    SourceSummary,
    new_images,
    save_labels,
)
from benchmark.training.data.preparing.streamed_parts import split_off_test
from benchmark.training.data.preparing.tfds_features import NO_LABEL, TfdsFeatures
from benchmark.training.process.offline import forbidden_network

_CONFIGS = {"imagenette": "imagenette/160px-v2"}
"""The configuration that the bare name of a dataset means where it comes in several sizes."""

_BATCH = 256
_LOGGER = logging.getLogger(__name__)


def prepare_tfds(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the arrays of a prepared dataset into `directory`.

    The test set is the split `test`, else `validation`: the first of them whose examples all have labels. Where there is
    none, a share of each class of `train` is split off, always the same.

    Raises:
        DataError: No such dataset, it cannot be downloaded, it is damaged, or it holds no labelled images.
    """
    builder = available(request, directory.parent)
    name = request.source.removeprefix("tfds:")
    features = TfdsFeatures.of(name, builder, request)
    _check_channels(name, features, request)
    labels: dict[str, NDArray[Any]] = {}
    groups: dict[str, list[str]] = {}
    with _readable(builder):
        test, notes = _test_split(name, builder, features)
        for part, split in (
            ("train", "train"),
            ("test", test),
            ("validation", _own_validation(builder, test, request)),
        ):
            if split is not None:
                labels[part], groups[part] = _write_split(builder, features, split, part, request, directory)
                save_labels(directory, part, labels[part])
    numbers = numbered_groups(groups, request)
    known = SOURCES.get(request.source)
    names = list(known.class_names) if known else features.class_names(request)
    for part in numbers.keys() - {"validation"}:
        save_labels(directory, part, labels[part], numbers[part])
    if test is None:
        split_off_test(directory, labels["train"], request, names, numbers.get("train"))
    return SourceSummary(names, notes)


def available(request: DatasetRequest, locks: Path) -> Any:
    """The builder of a dataset, which is downloaded and prepared by TFDS where it is not there yet.

    Args:
        request: With the name and TFDS's folder.
        locks: A folder for the file by which other processes wait.

    Raises:
        DataError: No such dataset, or it cannot be downloaded.
    """
    # TensorFlow reads it at import: its messages do not belong on stderr, which carries progress
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    name = request.source.removeprefix("tfds:")
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(layout.lock_file(locks / f"tfds-{sha256_of(name.encode())[:12]}")):
        # made under the lock: a builder knows only what was prepared before it was made
        builder = _builder(name, request)
        if not builder.is_prepared():
            _download(name, builder, request)
    return builder


def _builder(name: str, request: DatasetRequest) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    # its ten retries with growing pauses would take 205 s without a word where there is no network
    downloader.MAX_RETRIES = 0
    tfds.disable_progress_bar()
    data_directory = request.data_directory or os.environ.get("TFDS_DATA_DIR")
    try:
        with forbidden_network():
            return tfds.builder(_CONFIGS.get(name, name), data_dir=data_directory)
    except tfds.core.registered.DatasetNotFoundError as error:
        # not the message of TFDS, which lists all of its hundreds of datasets
        near = difflib.get_close_matches(name.partition("/")[0].partition(":")[0], tfds.list_builders(), 1)
        hint = f"; did you mean `tfds:{near[0]}`?" if near else ""
        raise DataError(f"TFDS has no dataset {name!r}{hint}") from error
    except (ValueError, KeyError) as error:
        raise DataError(f"TFDS cannot make the dataset {name!r}: {error!s:.500}") from error


def _download(name: str, builder: Any, request: DatasetRequest) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=request.manual_directory)
    _LOGGER.info("downloading and verifying %s into %s", name, builder.data_path)
    try:
        with forbidden_network() if request.offline else nullcontext():
            builder.download_and_prepare(download_config=config)
    except FileExistsError:
        if not builder.is_prepared():  # else another program prepared it at the same time
            raise
    except Exception as error:
        raise DataError(_missing_message(name, builder, request, error)) from error


def _missing_message(name: str, builder: Any, request: DatasetRequest, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    files = ", ".join(
        f"{info.filename or url.rpartition('/')[2]} (sha256 {info.checksum})"
        for url, info in _downloads(builder).items()
    )
    tried = "and downloads are forbidden by --offline" if request.offline else "and could not be made"
    return (
        f"the dataset {name} is not prepared in {builder.data_path} {tried} ({reason}). Run `bench prepare` with a "
        f"network; or put the original files into a folder and run `bench prepare --manual-dir FOLDER`: {files}"
    )


def _downloads(builder: Any) -> dict[str, Any]:
    """Digests of the files that this configuration of a dataset needs, by their addresses."""
    infos = dict(builder.url_infos)
    config = builder.builder_config
    size = config.name.partition("px")[0] if config and "px" in config.name else None
    ending = f"2-{size}.tgz" if size else ""
    return {url: info for url, info in infos.items() if url.endswith(ending)} or infos


def _check_channels(name: str, features: TfdsFeatures, request: DatasetRequest) -> None:
    channels = features.channels
    if is_convertible(channels, request.channels):
        return
    expected = "1 (grey) or 3 (RGB)" if request.channels in {1, 3} else f"{request.channels}, as color says"
    raise DataError(
        f"the images of the TFDS dataset {name!r} have {channels} channels: expected {expected}. Set color = {channels}, build it "
        'with such images, or write these as files of 1 or 3 channels (`source = "folder:PATH"` or "npz:PATH")'
    )


def _test_split(name: str, builder: Any, features: TfdsFeatures) -> tuple[str | None, tuple[str, ...]]:
    """The split that serves as the test set, and what is to be said of others; None where no split has labels."""
    splits = builder.info.splits
    if "train" not in splits:
        raise DataError(f"the TFDS dataset {name!r} has no split `train`; it has {', '.join(sorted(splits))[:300]}")
    there = [split for split in ("test", "validation") if split in splits and splits[split].num_examples]
    unlabelled = []
    for split in there:
        if _has_labels(builder, features, split):
            break
        unlabelled.append(split)
    else:
        split = None
    instead = f"`{split}` is the test set" if split else "a share of `train` is the test set"
    return split, tuple(
        f"tfds:{name}: the split `{other}` has images without a label; {instead}" for other in unlabelled
    )


def _own_validation(builder: Any, test: str | None, request: DatasetRequest) -> str | None:
    """The source's own validation split, where it is asked for."""
    if request.validation != "source":
        return None
    splits = builder.info.splits
    if test == "validation" or "validation" not in splits or not splits["validation"].num_examples:
        expected = "a split `validation` beside `train` and `test`"
        raise DataError(NO_VALIDATION.format(source=request.source, expected=expected))
    return "validation"


def _has_labels(builder: Any, features: TfdsFeatures, split: str) -> bool:
    """Whether each example of a split has a label, or none of its several labels is missing; images are not decoded."""
    import tensorflow_datasets as tfds

    key = features.label
    examples = builder.as_dataset(split=split, decoders=tfds.decode.PartialDecoding({key: True}))
    # sequences of several lengths make no batch
    batches = examples if features.is_sequence else examples.batch(_BATCH)
    return all((example[key] >= 0).all() for example in batches.as_numpy_iterator())


def _write_split(
    builder: Any, features: TfdsFeatures, split: str, part: str, request: DatasetRequest, directory: Path
) -> tuple[NDArray[Any], list[str]]:
    """Writes the images of a split; returns its labels, [n] or rows of 0 and 1 [n, classes], and the groups of its images."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    encoded = builder.as_dataset(
        split=split,
        decoders={features.image: tfds.decode.SkipDecoding()},
        # one file after another, so that the order does not depend on the number of threads
        # (https://www.tensorflow.org/datasets/determinism)
        read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
    )
    channels = features.channels

    def decoded(example: Any) -> Any:
        image = tf.io.decode_image(example[features.image], channels=channels, expand_animations=False)
        image.set_shape((None, None, channels))
        image = tf.cast(image, tf.float32)
        if channels != request.channels:
            image = (tf.image.rgb_to_grayscale if channels == 3 else tf.image.grayscale_to_rgb)(image)
        image = _square(image, request.image_size, request.resize)
        group = example[features.group] if features.group else 0
        return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8), features.label_of(example), group

    count = builder.info.splits[split].num_examples
    images = new_images(directory, part, count, request)
    kind, missing = (np.int32, -1) if features.classes is None else (np.uint8, NO_LABEL)
    labels = np.full((count, features.classes) if features.classes else count, missing, dtype=kind)
    groups: list[str] = []
    filled = 0
    examples = encoded.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(2)
    for x, y, names in examples.as_numpy_iterator():
        images[filled : filled + len(x)] = x
        labels[filled : filled + len(x)] = y
        groups += [group_text(value) for value in names] if features.group else []
        filled += len(x)
        _LOGGER.info("decoded %d of %d images of %s", filled, count, split)
    if filled != count:
        raise DataError(
            f"{builder.data_path} holds {filled} of {count} examples of {split}; delete it, `bench prepare`"
        )
    if features.classes and (labels[labels != NO_LABEL] > 1).any():
        raise DataError(
            f"the split {split} of the TFDS dataset {builder.name!r}: expected 0 or 1 for each class in {features.label}, found other "
            "numbers; leave out multi_label where an image has one label"
        )
    if labels.size and (labels == missing).any():
        raise DataError(
            f"the split {split} of the TFDS dataset {builder.name!r} has images without a label: expected a label for "
            'each. Build it without them, or take labelled files (`source = "folder:PATH"` or "npz:PATH")'
        )
    images.flush()
    return labels, groups


def _square(image: Any, size: int, resize: str) -> Any:
    """A float image [h, w, c] as a square [size, size, c], as `images/pictures.py` `resize_image` has it."""
    import tensorflow as tf

    if resize == "squeeze":
        return tf.image.resize(image, (size, size), antialias=True)
    shape = tf.shape(image)[:2]
    if resize == "pad":
        inner = tf.maximum(tf.cast(tf.round(shape / tf.reduce_max(shape) * size), tf.int32), 1)
        before = tf.cast(tf.round((size - inner) / 2), tf.int32)
        small = tf.image.resize(image, inner, antialias=True)
        return tf.image.pad_to_bounding_box(small, before[0], before[1], size, size)
    # what `tf.image.resize` computes with; there it takes no box. As with Pillow's, pixels beside the box count at its edge
    side = tf.cast(tf.reduce_min(shape), tf.float32)
    scale = tf.fill([2], size / side)
    middle = (tf.cast(shape, tf.float32) - side) / 2
    return tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis], size=(size, size), scale=scale, translation=-middle * scale, kernel_type="triangle"
    )[0]


@contextmanager
def _readable(builder: Any) -> Iterator[None]:
    """Turns TensorFlow's errors about files into one that names the folder and the way on."""
    try:
        yield
    except Exception as error:
        what = f"{type(error).__name__}: {error!s:.300}"
        # a flipped bit, a truncated file, an empty one, a missing one
        if type(error).__name__ in {"DataLossError", "FailedPreconditionError", "NotFoundError"}:
            raise DataError(
                f"the prepared TFDS dataset {builder.data_path} is damaged ({what}); delete that folder and run "
                "`bench prepare`"
            ) from error
        # of a whole file: something that is no image, or not of the kind that the features say
        if type(error).__name__ == "InvalidArgumentError":
            raise DataError(
                f"the TFDS dataset {builder.data_path} holds an image that cannot be read: expected JPEG, PNG, GIF or BMP "
                f"with the channels that its features say, found {what}. Build it again with such images"
            ) from error
        raise
