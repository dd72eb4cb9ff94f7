"""Users' own files that definitions name: where they lie, and what can be told of them without opening pictures.

A definition keeps what was found out here beside its own keys, under names that no TOML key can have there, so that it
is handed on by `extends` like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.catalog.image_folders import class_folders, find_layout
from benchmark.catalog.npz_headers import ArrayFacts, array_facts
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Definition
from benchmark.matrix.reading.plugins import Plugins

LOCATION, IMAGE_FACTS, CODE, FILE = "@location", "@image_facts", "@code", "@file"
FILE_KINDS = ("folder", "npz")
_NO_PARAMETERS = {"architecture", "extends", "summary", CODE, FILE}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a look from outside tells of a user's images; None where it does not.

    Attributes:
        problem: Why nothing could be told.
    """

    classes: int | None = None
    image_size: int | None = None
    color: str | None = None
    problem: str = ""


def located(
    definitions: Mapping[str, Sequence[Definition]], base: Path, plugins: Plugins, problems: Problems
) -> dict[str, Sequence[Definition]]:
    """The definitions with what is known of the files that they name.

    Args:
        definitions: Users' own, by family.
        base: The folder of the matrix file, which relative paths start from.
        plugins: What the matrix and installed packages offer.
        problems: Takes plug-ins that do not exist.
    """
    return {
        **definitions,
        "dataset": [_located_dataset(one, base) for one in definitions["dataset"]],
        "model": [_located_model(one, plugins, problems) for one in definitions["model"]],
    }


def _located_dataset(definition: Definition, base: Path) -> Definition:
    source = definition.own.get("source")
    if source is None:
        return definition
    kind, _, path = str(source).partition(":")
    found: dict[str, Any] = {LOCATION: None, IMAGE_FACTS: None}
    if kind in FILE_KINDS and path:
        place = (base / Path(path).expanduser()).resolve()
        found = {LOCATION: str(place), IMAGE_FACTS: image_facts(kind, place)}
    return replace(definition, own={**definition.own, **found})


def _located_model(definition: Definition, plugins: Plugins, problems: Problems) -> Definition:
    architecture = definition.own.get("architecture")
    if architecture is None:
        return definition
    offer = plugins.source_of(str(architecture), (*definition.path, "architecture"), problems)
    found = {CODE: offer.code if offer else None, FILE: offer.file if offer else None}
    return replace(definition, own={**definition.own, **found})


def image_facts(kind: str, place: Path) -> ImageFacts:
    """Counts the class folders of a folder; reads the shapes in an archive."""
    try:
        if kind == "folder":
            return ImageFacts(classes=len(class_folders(find_layout(place).train)))
        return _array_image_facts(array_facts(place))
    except FileNotFoundError as error:
        return ImageFacts(problem=f"{error.strerror}; correct the path (relative ones start at the matrix file)")
    except (OSError, ValueError) as error:
        return ImageFacts(problem=getattr(error, "strerror", None) or str(error))


def _array_image_facts(arrays: Mapping[str, ArrayFacts]) -> ImageFacts:
    images = arrays.get("x_train") or arrays.get("x")
    if images is None or len(images.shape) not in (3, 4):
        return ImageFacts(problem="no array x_train or x of images [n, h, w] or [n, h, w, c]")
    height, width, *channels = images.shape[1:]
    return ImageFacts(
        image_size=height if height == width and 8 <= height <= 1024 else None,
        color={1: "grey", 3: "rgb"}.get(channels[0] if channels else 1),
    )


def declared_classes(own: Mapping[str, Any]) -> int | None:
    """How many classes a source has by its definition, or else by a look at its folder."""
    if own.get("class_names"):
        return len(own["class_names"])
    found: ImageFacts | None = own.get(IMAGE_FACTS)
    declared: int | None = own.get("num_classes")
    return declared if declared is not None or found is None else found.classes


def parameters_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """What the definition of a model gives to the function that builds it, our own or a plug-in's."""
    return {key: value for key, value in own.items() if key not in _NO_PARAMETERS}
