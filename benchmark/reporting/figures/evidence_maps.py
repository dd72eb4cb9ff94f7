"""Grad-CAM overlays: where in an image the evidence for a class lay, as `bench explain` computed it."""

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

from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.image_grid import Tiling, lay_out, show
from benchmark.reporting.figures.drawing.style import SHEET_INCHES, SMALL_POINTS, finished, sheet, styled
from benchmark.reporting.figures.mistakes import percent
from benchmark.reporting.rows.predictions import Predictions

COLUMNS = 3
_TILE_INCHES = 1.15
_GAP_INCHES = 0.1
_COLOURS = "inferno"
_FAINTEST, _STRONGEST = 0.15, 0.75
"""How much of the image the colours cover where there is no evidence, and where there is most."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What spoke for one class in one image.

    Attributes:
        label: The class.
        map: Evidence [h, w] from 0 to 1, 1 where it is strongest; all 0 when nothing spoke for the class.
    """

    label: int
    map: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explained:
    """One image and what a network made of it.

    Attributes:
        name: How it is called: `test:17`, or the name of a file.
        image: [h, w, c] uint8 as the network saw it.
        probabilities: [classes].
        label: The true class; None when it is not known.
        answer: Evidence for the class the network said, or for the class that was asked about.
        truth: Evidence for the true class where that is another one.
    """

    name: str
    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    label: int | None
    answer: Evidence
    truth: Evidence | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `training/programs/explain.py` wrote, read.

    Attributes:
        layer: Whose activation the maps are made of.
        grid: Height and width of that activation, in positions.
        class_names: In order.
        images: What was explained.
    """

    layer: str
    grid: tuple[int, int]
    class_names: tuple[str, ...]
    images: tuple[Explained, ...]


def read_explanation(content: bytes) -> Explanation:
    """The arrays of `explanation.npz`; nothing in it is executed.

    Raises:
        ValueError: It is not such a file.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays: Mapping[str, NDArray[Any]] = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    return Explanation(
        layer=header["layer"],
        grid=(header["grid"][0], header["grid"][1]),
        class_names=tuple(header["class_names"]),
        images=tuple(_explained(arrays, header["names"], row) for row in range(len(header["names"]))),
    )


def _explained(arrays: Mapping[str, NDArray[Any]], names: Sequence[str], row: int) -> Explained:
    label = int(arrays["labels"][row])
    answer = Evidence(int(arrays["classes"][row]), arrays[f"map_{row}"])
    differs = label >= 0 and label != answer.label
    return Explained(
        name=names[row],
        image=arrays[f"image_{row}"],
        probabilities=arrays["probabilities"][row],
        label=label if label >= 0 else None,
        answer=answer,
        truth=Evidence(label, arrays[f"truth_map_{row}"]) if differs else None,
    )


def worth_explaining(predictions: Predictions, count: int) -> list[int]:
    """Places in the prepared test set of a few images: the most confident mistakes, and right ones of several classes.

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
def draw_explanation(title: str, explanation: Explanation) -> Figure:
    """A row for each image: as it is, with the evidence for the answer, and where that is another one for the truth.

    Args:
        title: Which cell.
        explanation: At least one image.
    """
    found = explanation.images
    side = max(found[0].image.shape[:2])
    pixels = side / _TILE_INCHES
    tiling = Tiling(len(found), COLUMNS, side, _GAP_INCHES * pixels, _GAP_INCHES * pixels)
    height, width = explanation.grid
    body = sheet(
        len(found) * (_TILE_INCHES + _GAP_INCHES) + 0.25,
        f"{title}: Grad-CAM",
        f"n = {len(found)} image{'s' if len(found) != 1 else ''}; layer {explanation.layer}, {height} x {width} positions, "
        "enlarged; bright: strongest evidence for the class within this map, not how sure the network was",
    )
    axes = body.add_subplot()
    lay_out(axes, tiling)
    words_inches = SHEET_INCHES - tiling.width / pixels - 0.3
    axes.set_xlim(0, tiling.width + words_inches * pixels)
    axes.set_ylim(tiling.height, -0.22 * pixels)
    for column, heading in enumerate(_headings(explanation)):
        middle, _ = tiling.middle(0, column)
        axes.text(
            middle,
            -0.05 * pixels,
            text_fitting.cut(heading, SMALL_POINTS, _TILE_INCHES),
            fontsize=SMALL_POINTS,
            ha="center",
            va="bottom",
        )
    for row, each in enumerate(found):
        show(axes, each.image, tiling, row, 0)
        show(axes, overlay(each.image, each.answer.map), tiling, row, 1)
        if each.truth is not None:
            show(axes, overlay(each.image, each.truth.map), tiling, row, 2)
        _, middle = tiling.middle(row, 0)
        words = "\n".join(_words(each, explanation.class_names, words_inches - 0.1))
        axes.text(tiling.width + 0.1 * pixels, middle, words, fontsize=SMALL_POINTS, va="center", linespacing=1.3)
    return finished(body)


def _headings(explanation: Explanation) -> list[str]:
    found = explanation.images
    asked = next((each.answer.label for each in found if each.answer.label != each.probabilities.argmax()), None)
    second = "for the answer" if asked is None else f"for {explanation.class_names[asked]}"
    return ["image", second, *(["for the true class"] if any(each.truth for each in found) else [])]


def overlay(image: NDArray[np.uint8], evidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """The image [h, w, c] in grey under the evidence [h, w] in colour, as RGB [h, w, 3] with values 0..1."""
    grey = image.astype(np.float64).mean(axis=-1, keepdims=True) / 255
    colour = mpl.colormaps[_COLOURS](np.asarray(evidence, dtype=np.float64))[..., :3]
    share = (_FAINTEST + (_STRONGEST - _FAINTEST) * evidence.astype(np.float64))[..., None]
    mixed: NDArray[np.float64] = np.clip((1 - share) * grey + share * colour, 0, 1)
    return mixed


def _words(each: Explained, names: Sequence[str], inches: float) -> list[str]:
    said = int(each.probabilities.argmax())
    lines = [text_fitting.cut(each.name, SMALL_POINTS, inches)]
    if each.label is not None:
        lines.append(_line("true", each, each.label, names, inches, sure=each.label != said))
    lines.append(_line("said", each, said, names, inches))
    if each.answer.label != said:
        lines.append(_line("shown", each, each.answer.label, names, inches))
    silent = [one.label for one in (each.answer, each.truth) if one is not None and not one.map.any()]
    return [*lines, *(text_fitting.cut(f"nothing spoke for {names[label]}", SMALL_POINTS, inches) for label in silent)]


def _line(word: str, each: Explained, label: int, names: Sequence[str], inches: float, *, sure: bool = True) -> str:
    """`said: church, 97 %`; a long name is cut, not the number."""
    end = f", {percent(float(each.probabilities[label]))}" if sure else ""
    return (
        text_fitting.cut(f"{word}: {names[label]}", SMALL_POINTS, inches - text_fitting.width(end, SMALL_POINTS)) + end
    )
