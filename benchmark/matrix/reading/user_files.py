"""Finds the user's files that definitions name, and what is known of them without decoding images.

The results are stored among a definition's own keys, under names that no TOML key has there, so that `extends` inherits
them as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.catalog.absent_files import absence_of
from benchmark.catalog.facts import SCRIPT
from benchmark.catalog.image_folders import class_folders, find_layout
from benchmark.catalog.npz_headers import ArrayFacts, array_facts
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Definition
from benchmark.matrix.reading.plugins import Plugins

LOCATION, IMAGE_FACTS, CODE, FILE, FOLDER = "@location", "@image_facts", "@code", "@file", "@folder"
FILE_KINDS = ("folder", "npz")
_NO_PARAMETERS = {"architecture", "command", "extends", "summary", CODE, FILE, FOLDER}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a user's images without decoding them; None where it is unknown.

    Attributes:
        image_size: Height and width in pixels.
        problem: Why nothing is known.
    """

    classes: int | None = None
    image_size: int | None = None
    color: str | None = None
    problem: str = ""


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
        "dataset": [_located_dataset(definition, base) for definition in definitions["dataset"]],
        "model": [_located_model(definition, base, plugins, problems) for definition in definitions["model"]],
    }


def _located_dataset(definition: Definition, base: Path) -> Definition:
    source = definition.own.get("source")
    if source is None:
        return definition
    kind, _, path = str(source).partition(":")
    facts: dict[str, Any] = {LOCATION: None, IMAGE_FACTS: None}
    if kind in FILE_KINDS and path:
        place = (base / Path(path).expanduser()).resolve()
        facts = {LOCATION: str(place), IMAGE_FACTS: image_facts(kind, place)}
    return replace(definition, own={**definition.own, **facts})


def _located_model(definition: Definition, base: Path, plugins: Plugins, problems: Problems) -> Definition:
    architecture = definition.own.get("architecture")
    if "command" in definition.own and architecture is None:
        return replace(definition, own={**definition.own, "architecture": SCRIPT, FOLDER: str(base.resolve())})
    if architecture is None:
        return definition
    offer = plugins.source_of(str(architecture), (*definition.path, "architecture"), problems)
    facts = {CODE: offer.code if offer else None, FILE: offer.file if offer else None}
    return replace(definition, own={**definition.own, **facts})


def image_facts(kind: str, place: Path) -> ImageFacts:
    """Counts the class folders of a `folder`, or reads the shapes in an `npz` archive."""
    try:
        if kind == "folder":
            return ImageFacts(classes=len(class_folders(find_layout(place).train)))
        return _array_image_facts(array_facts(place))
    except (OSError, ValueError) as error:
        if kind == "npz" and (absence := absence_of(place, "archive")):
            return ImageFacts(problem=absence)
        if isinstance(error, FileNotFoundError):
            return ImageFacts(problem=f"{error.strerror}; correct the path (relative ones start at the matrix file)")
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
    """Returns how many classes a source has by its definition, or else by its folders; None when unknown."""
    if own.get("class_names"):
        return len(own["class_names"])
    found: ImageFacts | None = own.get(IMAGE_FACTS)
    declared: int | None = own.get("num_classes")
    return declared if declared is not None or found is None else found.classes


def parameters_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a model's definition gives to the function that builds it, or to its command."""
    return {key: value for key, value in own.items() if key not in _NO_PARAMETERS}
