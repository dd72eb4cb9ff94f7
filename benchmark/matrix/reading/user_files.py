"""Finds the user's files that definitions name, and what is known of them without decoding images.

The results are stored among a definition's own keys, under names that no TOML key has there, so that `extends` inherits
them as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.catalog.channels import are_channels_first, color_named
from benchmark.catalog.facts import SCRIPT, TORCH
from benchmark.catalog.source_files.absent_files import absence_of
from benchmark.catalog.source_files.image_folders import class_folders, find_layout
from benchmark.catalog.source_files.label_tables import LabelTableError, read_label_table, table_path
from benchmark.catalog.source_files.npz_headers import array_facts, has_several_labels
from benchmark.catalog.source_files.row_files import split_files
from benchmark.catalog.source_files.split_names import TEST, TRAIN, VALIDATION, VALIDATION_ROWS, sets_of
from benchmark.catalog.tfds_builds import built_splits
from benchmark.catalog.torch_models import TIMM, TORCHVISION
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Definition
from benchmark.matrix.reading.plugins import Plugins

LOCATION, IMAGE_FACTS, CODE, FILE, FOLDER, FRAMEWORK = (
    "@location",
    "@image_facts",
    "@code",
    "@file",
    "@folder",
    "@framework",
)
FILE_KINDS = ("folder", "npz", "parquet", "webdataset")
ROW_KINDS = ("parquet", "hf", "webdataset")
"""Sources whose images stand in rows, with a column of labels."""
_NO_PARAMETERS = {"architecture", "command", "extends", "summary", CODE, FILE, FOLDER, FRAMEWORK}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a source without decoding images; None where it is unknown.

    Attributes:
        image_size: Height and width in pixels.
        multi_label: Whether images have several labels.
        splits: Which of `train`, `val` and `test` it has.
        columns: What `groups` may name: columns of its table of labels, arrays of an archive; empty without any.
        problem: Why nothing is known.
        mistake: What is wrong with a file that is there.
    """

    classes: int | None = None
    image_size: int | None = None
    color: str | None = None
    multi_label: bool | None = None
    splits: frozenset[str] | None = None
    columns: tuple[str, ...] = ()
    problem: str = ""
    mistake: str = ""


def located(
    definitions: Mapping[str, Sequence[Definition]], base: Path, plugins: Plugins, problems: Problems
) -> dict[str, Sequence[Definition]]:
    """Returns the definitions with what is known of the files that they name.

    Args:
        definitions: The user's definitions, by family.
        base: The folder of the matrix file, from which relative paths start.
        plugins: The plug-ins of the matrix and of installed packages.
        problems: Plug-ins that do not exist are added to it.
    """
    return {
        **definitions,
        "dataset": [_located_dataset(definition, base, plugins, problems) for definition in definitions["dataset"]],
        "model": [_located_model(definition, base, plugins, problems) for definition in definitions["model"]],
    }


def _located_dataset(definition: Definition, base: Path, plugins: Plugins, problems: Problems) -> Definition:
    source = definition.own.get("source")
    if source is None:
        return definition
    kind, _, path = str(source).partition(":")
    place = str((base / Path(path).expanduser()).resolve()) if kind in (*FILE_KINDS, "hf") and path else None
    if kind == "hf" and place is not None and not Path(place).exists():
        place = None  # a name in the cache of `datasets`
    offer = plugins.source_of(str(source), "datasets", (*definition.path, "source"), problems)
    facts = {LOCATION: place, CODE: offer.code if offer else None, FILE: offer.file if offer else None}
    return replace(definition, own={**definition.own, **facts})


def _located_model(definition: Definition, base: Path, plugins: Plugins, problems: Problems) -> Definition:
    architecture = definition.own.get("architecture")
    if "command" in definition.own and architecture is None:
        return replace(definition, own={**definition.own, "architecture": SCRIPT, FOLDER: str(base.resolve())})
    if architecture is None:
        return definition
    if str(architecture).startswith((TORCHVISION, TIMM)):
        return replace(definition, own={**definition.own, CODE: None, FILE: None, FRAMEWORK: TORCH})
    offer = plugins.source_of(str(architecture), "models", (*definition.path, "architecture"), problems)
    facts = {CODE: offer.code, FILE: offer.file, FRAMEWORK: offer.framework} if offer else dict.fromkeys((CODE, FILE))
    return replace(definition, own={**definition.own, **facts})


def image_facts(own: Mapping[str, Any]) -> ImageFacts | None:
    """Returns what the files of a source tell, by the keys of its definition; None where it has none.

    Folders and tables are listed and the headers of archives are read; no image is opened.
    """
    kind, _, name = str(own.get("source")).partition(":")
    if kind == "tfds":
        return ImageFacts(splits=built_splits(name))
    if own.get(LOCATION) is None:
        return None
    place = Path(own[LOCATION])
    try:
        if "labels_file" in own:
            return _table_facts(place, own)
        if kind == "folder":
            return _folder_facts(place)
        if kind in ROW_KINDS:
            return ImageFacts(splits=_row_splits(kind, place))
        return _array_image_facts(place, own.get("multi_label"))
    except LabelTableError as error:
        return ImageFacts(mistake=str(error))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if kind == "npz" and (absence := absence_of(place, "archive")):
            return ImageFacts(problem=absence)
        if isinstance(error, FileNotFoundError):
            return ImageFacts(problem=f"{error.strerror}; correct the path (relative ones start at the matrix file)")
        return ImageFacts(problem=getattr(error, "strerror", None) or str(error))


def _folder_facts(place: Path) -> ImageFacts:
    layout = find_layout(place)
    splits = sets_of(has_test=bool(layout.test), has_validation=bool(layout.validation))
    return ImageFacts(classes=len(class_folders(layout.train)), multi_label=False, splits=splits)


def _row_splits(kind: str, place: Path) -> frozenset[str] | None:
    """Which of `train`, `val` and `test` a source of rows has, as far as its names say; None where they do not."""
    if kind == "hf":
        record = place / "dataset_dict.json"
        names = set(json.loads(record.read_text(encoding="utf-8"))["splits"]) if record.is_file() else None
    else:
        names = set(split_files(place, ".parquet" if kind == "parquet" else ".tar"))
    if names is None:
        return None
    return sets_of(has_test=TEST in names, has_validation=not names.isdisjoint(VALIDATION_ROWS))


def _table_facts(place: Path, own: Mapping[str, Any]) -> ImageFacts:
    table = read_label_table(table_path(place, own["labels_file"]))
    known = own.get("class_names")
    several = bool(own.get("multi_label", table.has_several_labels))
    table.check_labels(known, multi_label=several)
    if own.get("multi_label") is False and table.has_several_labels:
        row = next(row for row, labels in enumerate(table.labels) if len(labels) > 1)
        raise LabelTableError(
            f"{table.place(row)}: expected one label beside multi_label = false, found {len(table.labels[row])}; leave out "
            "multi_label"
        )
    classes = len(table.class_names) if known is None else len(known)
    return ImageFacts(classes=classes, multi_label=several, splits=table.sides, columns=table.columns)


def _array_image_facts(place: Path, multi_label: bool | None) -> ImageFacts:
    arrays = array_facts(place)
    images = arrays.get("x_train") or arrays.get("x")
    if images is None or len(images.shape) not in (3, 4):
        return ImageFacts(problem="no array x_train or x of images [n, h, w] or [n, h, w, c]")
    if are_channels_first(images.shape):
        return ImageFacts(
            problem=f"images of the shape {images.shape}, whose channels stand first, where they should be last"
        )
    height, width, *channels = images.shape[1:]
    labels, name = arrays.get("y_train") or arrays.get("y"), "y_train" if "y_train" in arrays else "y"
    several = labels is not None and len(labels.shape) == 2 and labels.shape[1] > 1
    if several and multi_label is None:
        # rows with one 1 each are one label an image in another form, which is refused when the archive is prepared
        several = has_several_labels(place, name)
    splits = {TRAIN} | {part for part in (TEST, VALIDATION) if f"x_{part}" in arrays and f"y_{part}" in arrays}
    return ImageFacts(
        classes=labels.shape[1] if labels is not None and several else None,
        multi_label=several,
        splits=frozenset(splits),
        columns=_group_arrays(arrays),
        image_size=height if height == width and 8 <= height <= 1024 else None,
        color=color_named(channels[0] if channels else 1),
    )


def _group_arrays(arrays: Collection[str]) -> tuple[str, ...]:
    """What `groups` may name in an archive: `site` where there are `site_train` and `site_test`, or `site` beside `x`."""
    if "x_train" not in arrays:
        return tuple(sorted(set(arrays) - {"x", "y"}))
    bases = {name.removesuffix("_train") for name in arrays if name.endswith("_train")} - {"x", "y"}
    return tuple(sorted(base for base in bases if f"{base}_test" in arrays))


def declared_classes(own: Mapping[str, Any]) -> int | None:
    """Returns how many classes a source has by its definition, or else by its folders; None when unknown."""
    if own.get("class_names"):
        return len(own["class_names"])
    found: ImageFacts | None = own.get(IMAGE_FACTS)
    declared: int | None = own.get("num_classes")
    return declared if declared is not None or found is None else found.classes


def parameters_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a model's definition gives to the function that builds it, or to its command."""
    return {key: value for key, value in own.items() if key not in _NO_PARAMETERS}


def is_multi_label(own: Mapping[str, Any]) -> bool:
    """Whether an image of a source may have several labels: by its definition, else by its files."""
    seen: ImageFacts | None = own.get(IMAGE_FACTS)
    return bool(own.get("multi_label", seen and seen.multi_label))
