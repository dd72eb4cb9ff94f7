"""Prepares images that stand in rows: Parquet files, datasets of Hugging Face, and WebDataset shards.

Splits go by the usual names: `train`; `test`, or else `validation` (`val`, `valid`, `dev`) for the test set. Rows are read one
after the other; images are bytes of JPEG or PNG, or arrays [h, w] or [h, w, c] of bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.catalog.source_files.image_folders import some
from benchmark.catalog.source_files.row_files import split_files
from benchmark.catalog.source_files.split_names import VALIDATION_ROWS
from benchmark.errors import DataError
from benchmark.images.pictures import WHITE, decode_image, resize_array
from benchmark.training.data.preparing.image_groups import group_text
from benchmark.training.data.preparing.sources import NO_VALIDATION, DatasetRequest, SourceSummary, check_channels
from benchmark.training.data.preparing.streamed_parts import PartWriter, finish_parts
from benchmark.training.process.offline import forbidden_network

_IMAGE_COLUMNS, _LABEL_COLUMNS = ("image", "img"), ("label", "labels")
_IMAGES = (".jpg", ".jpeg", ".png")
_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image with its label; `place` is where it stands, for messages."""

    image: Any
    label: Any
    group: Any
    place: str


@dataclass(frozen=True, slots=True)
class RowSource:
    """The splits of a source, by their names, and the names of the labels 0, 1, … where it says them."""

    splits: Mapping[str, Callable[[], Iterator[ImageRow]]]
    class_names: Sequence[str] | None = None


def prepare_rows(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the arrays of a prepared dataset into `directory`.

    Raises:
        DataError: The source is missing, damaged, or has no images with labels.
    """
    source = _OPENERS[request.source.partition(":")[0]](request)
    names, notes = _names_of_parts(source.splits, request)
    parts = {}
    for part, name in names.items():
        with PartWriter(directory, part, request) as writer:
            for row in source.splits[name]():
                writer.add(_pixels(row, request), row.label, _group(row, request))
        parts[part] = writer
    return finish_parts(parts, request, directory, source.class_names, notes)


def _names_of_parts(splits: Mapping[str, Any], request: DatasetRequest) -> tuple[dict[str, str], list[str]]:
    """Which split is for which part, and what is to be said of others."""
    if "train" not in splits:
        raise DataError(f"{request.source}: expected a split train, found {some(list(splits)) or 'none'}")
    validation = next((name for name in VALIDATION_ROWS if name in splits), None)
    test = "test" if "test" in splits else validation
    names = {"train": "train", **({"test": test} if test else {})}
    if request.validation == "source":
        if validation is None or test == validation:
            raise DataError(
                NO_VALIDATION.format(source=request.source, expected="a split validation beside train and test")
            )
        names["validation"] = validation
    unused = sorted(splits.keys() - set(names.values()))
    return names, [f"{request.source}: the split {name} is not used" for name in unused]


def _group(row: ImageRow, request: DatasetRequest) -> str | None:
    if request.groups is None:
        return None
    if row.group is None:
        raise DataError(f"{row.place}: expected a value of {request.groups}, the column of groups, found none")
    try:
        return group_text(row.group)
    except ValueError as error:
        raise DataError(f"{row.place}: {request.groups}: {error}") from error


def _pixels(row: ImageRow, request: DatasetRequest) -> Any:
    image = row.image
    if isinstance(image, Mapping):  # as `datasets` keeps images
        content, path = image.get("bytes"), image.get("path")
        image = content if content is not None else Path(path) if path else None
    if isinstance(image, bytes | Path):
        opened = io.BytesIO(image) if isinstance(image, bytes) else image
        try:
            return decode_image(
                opened, request.image_size, request.channels, request.background or WHITE, request.resize
            ).pixels
        except DataError as error:
            reason = str(error).partition(": ")[2]
            raise DataError(f"{row.place} cannot be read as JPEG or PNG: {reason}; remove or replace it") from error
    if image is None:
        raise DataError(f"{row.place}: expected an image, found none")
    array = np.asarray(image)
    array = (
        array.astype(np.uint8)
        if array.dtype.kind in "iu" and array.size and 0 <= array.min() <= array.max() <= 255
        else array
    )
    shaped = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or shaped.ndim != 3:
        raise DataError(
            f"{row.place}: expected bytes of a JPEG or PNG, or an array [h, w] or [h, w, c] 0..255, found {array.dtype} {array.shape}"
        )
    check_channels(array, row.place, request)
    return resize_array(shaped, request.image_size, request.channels, request.resize)


def _column(wanted: str | None, usual: Sequence[str], there: Sequence[str], key: str, request: DatasetRequest) -> str:
    """The column to read: the one that is asked for, or the first of the usual ones."""
    name = wanted or next((each for each in usual if each in there), None)
    if name is None or name not in there:
        expected = f"the column {wanted}, as {key} says" if wanted else f"a column {' or '.join(usual)}, or {key}"
        raise DataError(f"{request.source}: expected {expected}, found {', '.join(there)[:300] or 'no columns'}")
    return name


# ---- Parquet


def _open_parquet(request: DatasetRequest) -> RowSource:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = _files(request, ".parquet")
    try:
        schema = pq.read_schema(next(iter(files.values()))[0])
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{request.source}: {next(iter(files.values()))[0]} cannot be read as Parquet: {error!s:.200}"
        ) from error
    features = _features(schema.metadata)
    image, label, names = _columns(
        request, schema.names, features, [field.name for field in schema if _may_be_image(field.type)]
    )
    columns = [image, label, *_group_column(request, schema.names)]

    def rows(paths: Sequence[Path]) -> Iterator[ImageRow]:
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    number = 0
                    for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                        for values in batch.to_pylist():
                            yield ImageRow(
                                values[image], values[label], values.get(request.groups or ""), f"{path}, row {number}"
                            )
                            number += 1
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path} cannot be read as Parquet: {error!s:.200}; write it again") from error

    return RowSource({name: partial(rows, paths) for name, paths in files.items()}, names)


def _may_be_image(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """What `datasets` has written into the metadata of a Parquet file about its columns; empty where it has not."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _columns(
    request: DatasetRequest, there: Sequence[str], features: Mapping[str, Any], images: Sequence[str]
) -> tuple[str, str, Sequence[str] | None]:
    """The columns of images and of labels, and the names of the classes where they are known."""
    typed = [
        name for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == "Image"
    ]
    classes = [name for name, feature in features.items() if _class_names(feature) is not None]
    image = _column(request.image_column, [*typed, *_IMAGE_COLUMNS, *images], there, "image_column", request)
    label = _column(request.label_column, [*classes, *_LABEL_COLUMNS], there, "label_column", request)
    return image, label, _class_names(features.get(label))


def _class_names(feature: Any) -> Sequence[str] | None:
    """The names of a class label, or of a list of such."""
    if isinstance(feature, dict) and feature.get("_type") in {"Sequence", "List", "LargeList"}:
        feature = feature.get("feature")
    feature = feature[0] if isinstance(feature, list) and len(feature) == 1 else feature
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
        return [str(name) for name in feature["names"]]
    return None


def _group_column(request: DatasetRequest, there: Sequence[str]) -> list[str]:
    if request.groups is None:
        return []
    return [_column(request.groups, (), there, "groups", request)]


# ---- Hugging Face


def _open_hub(request: DatasetRequest) -> RowSource:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{request.source}: expected the package datasets, found none; pip install 'benchmark-matrix[hf]'"
        ) from error
    name = request.source.partition(":")[2]
    place = Path(request.location) if request.location else None
    try:
        with forbidden_network():
            if place is not None and any((place / mark).exists() for mark in ("dataset_dict.json", "state.json")):
                loaded = datasets.load_from_disk(str(place))
            else:
                loaded = datasets.load_dataset(str(place or name))
    except Exception as error:
        raise DataError(
            f"{request.source}: expected a dataset that `save_to_disk` wrote, a folder of data files, or one in the cache of "
            f"`datasets`, found none that can be read ({type(error).__name__}: {error!s:.200}); nothing is downloaded here: save it "
            "with datasets.load_dataset(…).save_to_disk(PATH)"
        ) from error
    splits = dict(loaded) if hasattr(loaded, "keys") else {"train": loaded}
    first = next(iter(splits.values()))
    image, label, names = _columns(request, first.column_names, first.features.to_dict(), ())
    group = _group_column(request, first.column_names)

    def rows(split: str) -> Iterator[ImageRow]:
        whole = splits[split].select_columns(list(dict.fromkeys([image, label, *group])))
        if isinstance(whole.features[image], datasets.Image):
            whole = whole.cast_column(image, datasets.Image(decode=False))
        for number, values in enumerate(whole):
            yield ImageRow(
                values[image],
                values[label],
                values.get(request.groups or ""),
                f"{request.source}, {split} row {number}",
            )

    return RowSource({name: partial(rows, name) for name in splits}, names)


# ---- WebDataset


def _open_shards(request: DatasetRequest) -> RowSource:
    files = _files(request, ".tar")

    def rows(paths: Sequence[Path]) -> Iterator[ImageRow]:
        for path in paths:
            yield from _samples(path, request)

    return RowSource({name: partial(rows, paths) for name, paths in files.items()})


def _samples(path: Path, request: DatasetRequest) -> Iterator[ImageRow]:
    """Files of a shard that follow each other and differ in their endings alone belong to one image."""
    sample: dict[str, bytes] = {}
    key = None
    try:
        with tarfile.open(path, "r|*") as shard:
            for member in shard:
                if not member.isfile() or (file := shard.extractfile(member)) is None:
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if (folder, stem) != key and key is not None:
                    yield from _row(path, "/".join(filter(None, key)), sample, request)
                    sample = {}
                key = (folder, stem)
                sample[f".{ending.lower()}"] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a tar file: {error!s:.200}; write it again") from error
    if key is not None:
        yield from _row(path, "/".join(filter(None, key)), sample, request)


def _row(path: Path, key: str, sample: Mapping[str, bytes], request: DatasetRequest) -> Iterator[ImageRow]:
    place = f"{path}, {key}"
    if not sample:
        return
    wanted = (f".{request.image_column.lower()}",) if request.image_column else _IMAGES
    image = next((sample[ending] for ending in wanted if ending in sample), None)
    if image is None:
        raise DataError(f"{place}: expected an image ({', '.join(wanted)}), found {some(list(sample))}")
    record: Any = {}
    if ".json" in sample:
        try:
            record = json.loads(sample[".json"])
        except ValueError as error:
            raise DataError(f"{place}.json: expected JSON, found something else: {error!s:.100}") from error
        record = record if isinstance(record, dict) else {}
    yield ImageRow(image, _label(place, sample, record, request), record.get(request.groups or ""), place)


def _label(place: str, sample: Mapping[str, bytes], record: Mapping[str, Any], request: DatasetRequest) -> Any:
    """The label of a sample: `.cls` (a number), `.txt` (a name), or `label` or `labels` of `.json`."""
    for name in (request.label_column,) if request.label_column else (*_LABEL_COLUMNS, "cls"):
        if name in record:
            return record[name]
    for ending in (f".{request.label_column}",) if request.label_column else (".cls", ".txt"):
        if ending in sample:
            try:
                text = sample[ending].decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{place}{ending}: expected a number or a name in UTF-8") from error
            return int(text) if text.isdecimal() else text
    asked = request.label_column or ".cls, .txt, or label of .json"
    raise DataError(f"{place}: expected a label ({asked}), found {some(list(sample))}")


def _files(request: DatasetRequest, ending: str) -> Mapping[str, Sequence[Path]]:
    try:
        return split_files(Path(request.location or ""), ending)
    except (OSError, ValueError) as error:
        raise DataError(f"{request.source}: {error}") from error


_OPENERS: Mapping[str, Callable[[DatasetRequest], RowSource]] = {
    "parquet": _open_parquet,
    "hf": _open_hub,
    "webdataset": _open_shards,
}
