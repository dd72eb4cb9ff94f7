"""Draws Grad-CAM overlays: which parts of an image spoke for a class, as `bench explain` computed it.

Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
ICCV 2017.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark import units
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.image_tiles import Tiling, channels_note, draw_tile, prepare_axes
from benchmark.reporting.figures.drawing.style import SHEET_INCHES, SMALL_POINTS, finish, sheet, styled
from benchmark.reporting.figures.images.mistakes import percent
from benchmark.reporting.predictions.stored_predictions import Predictions

COLUMNS = 3
_TILE_INCHES = 1.15
_GAP_INCHES = 0.1
_COLOURS = "inferno"
_FAINTEST, _STRONGEST = 0.15, 0.75
"""How much of the image the colours cover where there is no evidence, and where there is most."""


@dataclass(frozen=True, slots=True)
class EvidenceMap:
    """How strongly each part of one image spoke for one class.

    Attributes:
        label: The class.
        map: Evidence [h, w] from 0 to 1, 1 where it is strongest; all 0 when nothing spoke for the class.
    """

    label: int
    map: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image with its prediction and evidence maps.

    Attributes:
        name: `test:17`, or the name of a file.
        image: [h, w, c] uint8 as the network saw it.
        probabilities: Of each class, 0..1, [classes].
        label: The true class; None when it is not known.
        answer: For the class the network predicted, or for the class that was asked about.
        truth: For the true class where that is another one.
    """

    name: str
    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    label: int | None
    answer: EvidenceMap
    truth: EvidenceMap | None


@dataclass(frozen=True, slots=True)
class StoredExplanation:
    """The content of `explanation.npz`, which `training/programs/explain.py` writes.

    Attributes:
        layer: The layer whose activation the maps are computed from.
        grid: Height and width of that activation, in positions.
        class_names: In the order of the probabilities.
        images: What was explained.
    """

    layer: str
    grid: tuple[int, int]
    class_names: tuple[str, ...]
    images: tuple[ExplainedImage, ...]


def read_explanation(content: bytes) -> StoredExplanation:
    """Read `explanation.npz`; nothing in it is executed.

    Raises:
        ValueError: It is not such a file.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays: Mapping[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    return StoredExplanation(
        layer=header["layer"],
        grid=(header["grid"][0], header["grid"][1]),
        class_names=tuple(header["class_names"]),
        images=tuple(_explained(arrays, name, row) for row, name in enumerate(header["names"])),
    )


def _explained(arrays: Mapping[str, NDArray[Any]], name: str, row: int) -> ExplainedImage:
    label = int(arrays["labels"][row])
    answer = EvidenceMap(int(arrays["classes"][row]), arrays[f"map_{row}"])
    truth = EvidenceMap(label, arrays[f"truth_map_{row}"]) if label not in {-1, answer.label} else None
    probabilities = arrays["probabilities"][row]
    return ExplainedImage(name, arrays[f"image_{row}"], probabilities, None if label < 0 else label, answer, truth)


def worth_explaining(predictions: Predictions, count: int) -> list[int]:
    """Positions in the prepared test set of a few images: the most confident mistakes, and right ones of several classes.

    Args:
        predictions: Of one cell.
        count: How many at most; half of them wrong where there are so many mistakes.
    """
    wrong = [int(predictions.indices[row]) for row in predictions.wrong[: count // 2]]
    right: dict[int, int] = {}
    order = np.argsort(-predictions.confidence, kind="stable")
    for row in order[predictions.predicted[order] == predictions.labels[order]]:
        right.setdefault(int(predictions.labels[row]), int(predictions.indices[row]))
    return [*wrong, *list(right.values())[: count - len(wrong)]]


@styled
def draw_overlays(title: str, explanation: StoredExplanation) -> Figure:
    """A row for each image: as it is, with the evidence for the answer, and where that is another one for the truth."""
    images = explanation.images
    side = max(images[0].image.shape[:2])
    pixels = side / _TILE_INCHES
    tiling = Tiling(len(images), COLUMNS, side, _GAP_INCHES * pixels, _GAP_INCHES * pixels)
    height, width = explanation.grid
    body = sheet(
        len(images) * (_TILE_INCHES + _GAP_INCHES) + 0.25,
        f"{title}: Grad-CAM",
        f"n = {units.plural(len(images), 'image')}; layer {explanation.layer}, {height} x {width} positions, "
        "enlarged; bright: strongest evidence for the class within this map, not how sure the network was",
        channels_note(images[0].image.shape[-1]),
    )
    axes = body.add_subplot()
    prepare_axes(axes, tiling)
    words_inches = SHEET_INCHES - tiling.width / pixels - 0.3
    axes.set_xlim(0, tiling.width + words_inches * pixels)
    axes.set_ylim(tiling.height, -0.22 * pixels)
    for column, heading in enumerate(_headings(explanation)):
        middle, _ = tiling.middle(0, column)
        words = text_fitting.cut(heading, SMALL_POINTS, _TILE_INCHES)
        axes.text(middle, -0.05 * pixels, words, fontsize=SMALL_POINTS, ha="center", va="bottom")
    for row, image in enumerate(images):
        draw_tile(axes, image.image, tiling, row, 0)
        draw_tile(axes, overlay(image.image, image.answer.map), tiling, row, 1)
        if image.truth is not None:
            draw_tile(axes, overlay(image.image, image.truth.map), tiling, row, 2)
        _, middle = tiling.middle(row, 0)
        words = "\n".join(_caption(image, explanation.class_names, words_inches - 0.1))
        axes.text(tiling.width + 0.1 * pixels, middle, words, fontsize=SMALL_POINTS, va="center", linespacing=1.3)
    return finish(body)


def _headings(explanation: StoredExplanation) -> list[str]:
    images = explanation.images
    asked = next((image.answer.label for image in images if image.answer.label != image.probabilities.argmax()), None)
    second = "for the answer" if asked is None else f"for {explanation.class_names[asked]}"
    return ["image", second, *(["for the true class"] if any(image.truth for image in images) else [])]


def overlay(image: NDArray[np.uint8], evidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """The image [h, w, c] in grey under the evidence [h, w] in colour, as RGB [h, w, 3] with values 0..1."""
    grey = image.astype(np.float64).mean(axis=-1, keepdims=True) / 255
    colour = mpl.colormaps[_COLOURS](np.asarray(evidence, dtype=np.float64))[..., :3]
    share = (_FAINTEST + (_STRONGEST - _FAINTEST) * evidence.astype(np.float64))[..., None]
    mixed: NDArray[np.float64] = np.clip((1 - share) * grey + share * colour, 0, 1)
    return mixed


def _caption(image: ExplainedImage, names: Sequence[str], inches: float) -> list[str]:
    predicted = int(image.probabilities.argmax())
    lines = [text_fitting.cut(image.name, SMALL_POINTS, inches)]
    if image.label is not None:
        lines.append(_line("true", image, image.label, names, inches, sure=image.label != predicted))
    lines.append(_line("said", image, predicted, names, inches))
    if image.answer.label != predicted:
        lines.append(_line("shown", image, image.answer.label, names, inches))
    silent = [shown.label for shown in (image.answer, image.truth) if shown is not None and not shown.map.any()]
    return [*lines, *(text_fitting.cut(f"nothing spoke for {names[label]}", SMALL_POINTS, inches) for label in silent)]


def _line(
    word: str, image: ExplainedImage, label: int, names: Sequence[str], inches: float, *, sure: bool = True
) -> str:
    """`said: church, 97 %`; a long name is cut, not the number."""
    end = f", {percent(float(image.probabilities[label]))}" if sure else ""
    return (
        text_fitting.cut(f"{word}: {names[label]}", SMALL_POINTS, inches - text_fitting.width(end, SMALL_POINTS)) + end
    )
