"""Made-up material for pictures, and what a picture must be like whatever it shows."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark.matrix.cell import Data
from benchmark.reporting.figures.drawing.figure_files import encode
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages
from benchmark.reporting.figures.groups.curves import SeedCurve
from benchmark.reporting.predictions.stored_predictions import Predictions

SVG = "{http://www.w3.org/2000/svg}"
NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck", "tench",
    "English springer spaniel", "cassette player", "chain saw", "church", "French horn", "garbage truck",
    "gas pump with a very long name that nobody would print", "golf ball", "parachute",
)  # fmt: skip


def images(classes: int = 10, side: int = 8, channels: int = 1, names=None, **changes) -> PreparedImages:
    """Images of a dataset with 12 training and 6 test examples of each class."""
    random = np.random.default_rng(0)
    shape = (side, side, channels)
    training, test = np.repeat(np.arange(classes), 12), np.repeat(np.arange(classes), 6)
    color = "grey" if channels == 1 else "rgb"
    return PreparedImages(
        data=Data(**{
            "source": "digits", "classes": None, "num_classes": classes, "image_size": side, "color": color,
            "train_examples": None, "test_examples": None, "validation_fraction": 0.25, **changes,
        }),
        training=random.integers(0, 256, (len(training), *shape)).astype(np.uint8),
        training_labels=training,
        test=random.integers(0, 256, (len(test), *shape)).astype(np.uint8),
        test_labels=test,
        class_names=tuple(names or NAMES[:classes]),
        fingerprint="f" * 64,
    )  # fmt: skip


def predictions(classes: int = 10, seed: int = 0, names=None, wrong: float = 0.3) -> Predictions:
    """Of the test images of `images`; about a share of them is mistaken."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 6)
    scores = random.normal(size=(len(labels), classes))
    scores[np.arange(len(labels)), labels] += np.where(random.random(len(labels)) < wrong, -3, 6)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Predictions(
        indices=np.arange(len(labels)),
        labels=labels,
        predicted=probabilities.argmax(axis=1),
        probabilities=probabilities.astype(np.float32),
        class_names=tuple(names or NAMES[:classes]),
    )


def curve(seed: int = 0, stages=(4,), best: int | None = 3, *, validated: bool = True) -> SeedCurve:
    """Epochs of one seed: as many in each stage as `stages` says."""
    numbers = [number for number, count in enumerate(stages, 1) for _ in range(count)]
    rows = [
        {
            "epoch": epoch,
            "stage": stage,
            "train_accuracy": 1 - 0.8 / epoch,
            "train_loss": 2.0 / epoch + 0.01 * seed,
            "val_accuracy": 1 - 0.9 / epoch - 0.01 * seed if validated else None,
            "val_loss": 2.2 / epoch + 0.05 * seed if validated else None,
            "input_seconds": 0.1,
            "step_seconds": 1.0 + (epoch == 1),
            "validation_seconds": 0.2,
            "checkpoint_seconds": 0.05,
            "traced": int(epoch == 1),
        }
        for epoch, stage in enumerate(numbers, 1)
    ]
    return SeedCurve(seed, rows, best)


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that drawing the figure really draws."""
    drawn: list[Text] = []
    original = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        original(self, renderer)

    Text.draw = record
    try:
        figure.canvas.draw()
    finally:
        Text.draw = original
    return list(dict.fromkeys(drawn))


def check_texts(figure: Figure) -> list[str]:
    """No text lies on another one or beyond the sheet; gives the texts."""
    texts = drawn_texts(figure)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    page = figure.bbox
    for words, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
        assert inside, f"{words!r} leaves the sheet: {box} of {page}"
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 1, f"{one!r} and {two!r} overlap by {wide:.0f} x {high:.0f} dots"
    return [words for words, _ in boxes]


def check_files(figure: Figure) -> str:
    """Both files are what they should be; gives the text of the SVG."""
    picture = encode(figure, "png")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.endswith(b"IEND\xaeB`\x82")
    assert b"Software" not in picture[:2000]
    drawing = encode(figure, "svg")
    tree = ET.fromstring(drawing)
    assert tree.tag == f"{SVG}svg"
    assert not list(tree.iter(f"{SVG}script"))
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert b"<dc:date" not in drawing
    return " ".join("".join(element.itertext()) for element in tree.iter(f"{SVG}text"))


def write_prepared(directory: Path, found: PreparedImages) -> None:
    """A prepared dataset as `training/programs/prepare.py` writes it."""
    import json

    directory.mkdir(parents=True)
    np.save(directory / "train_images.npy", found.training)
    np.save(directory / "train_labels.npy", found.training_labels.astype(np.int32))
    np.save(directory / "test_images.npy", found.test)
    np.save(directory / "test_labels.npy", found.test_labels.astype(np.int32))
    meta = {"class_names": list(found.class_names), "fingerprint": found.fingerprint}
    (directory / "meta.json").write_text(json.dumps(meta))
