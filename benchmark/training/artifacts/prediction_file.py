"""The files `predictions.npz` and `validation_predictions.npz`: what a cell predicted for each test or validation image.

Arrays, n images in the order of their set:

    indices           position in the prepared test or training set, uint32 [n]
    labels            the true class, counted from 0, [n]
    predicted         the most probable class, from the exact probabilities, [n]
    probabilities     float16 [n, classes]
    tta_predicted, tta_probabilities    the same of the average over augmented views, where the cell asked for `tta`

Probabilities are rounded to float16 (relative error below 0.05 %), which may make two of them equal: therefore the
predicted class stands beside them, and accuracies counted from it are those that the cell reported. Class names are in
the database beside the file's content, and in the header of `weights.npz`.

Where `probabilities` would pass 4 MiB, the best k of each image stand in its place, as many as keep all arrays below 4 MB:

    best_classes              the k most probable classes, the best first, [n, k]
    best_probabilities        of these classes, float16 [n, k]
    label_probabilities       of the true class, float32 [n]
    probability_sums          of all classes, float16 [n]: 1 behind a softmax
    metric_names, metrics     what `prediction_metrics.py` made of the exact probabilities of all classes, [m]; NaN for none
    tta_best_classes, tta_best_probabilities, tta_label_probabilities, tta_probability_sums

Where an image may have several labels, `labels` and `predicted` are rows of 0 and 1 [n, classes], and all probabilities are kept.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.prediction_metrics import WHOLE_BYTES, predicted_classes, prediction_metrics

_BEST_BYTES = 3_990_000
"""What arrays with a row for each image may take in a file with the best probabilities alone, of up to 200,000 images."""


def pack_predictions(
    indices: NDArray[Any],
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    averaged: NDArray[np.float32] | None = None,
) -> bytes:
    """The content of the file; equal bytes for equal predictions.

    Args:
        indices: Positions in the prepared set, [n].
        labels: True classes, [n], or rows of 0 and 1 [n, classes] where an image may have several.
        probabilities: Of the images as they are, [n, classes] 0..1.
        averaged: Of the average over views, [n, classes]; None without `tta`.
    """
    several = labels.ndim == 2
    kind = np.dtype(np.uint8) if several else np.min_scalar_type(probabilities.shape[-1])
    sides = {prefix: rows for prefix, rows in (("", probabilities), ("tta_", averaged)) if rows is not None}
    members: dict[str, NDArray[Any]] = {"indices": indices.astype(np.uint32), "labels": labels.astype(kind)}
    is_whole = several or probabilities.size * np.dtype(np.float16).itemsize <= WHOLE_BYTES
    count = probabilities.shape[-1] if is_whole else _best_count(len(labels), kind.itemsize, len(sides))
    for prefix, rows in sides.items():
        members[f"{prefix}predicted"] = predicted_classes(rows, multi_label=several).astype(kind)
        if is_whole:
            members[f"{prefix}probabilities"] = rows.astype(np.float16)
        else:
            best = best_classes(rows, count)
            members[f"{prefix}best_classes"] = best.astype(kind)
            members[f"{prefix}best_probabilities"] = np.take_along_axis(rows, best, axis=1).astype(np.float16)
            members[f"{prefix}probability_sums"] = rows.sum(axis=-1, dtype=np.float64).astype(np.float16)
            members[f"{prefix}label_probabilities"] = rows[np.arange(len(labels)), labels].astype(np.float32)
    if not is_whole:
        metrics = prediction_metrics(np.asarray(labels), probabilities.argmax(axis=-1), probabilities)
        members["metric_names"] = np.array(list(metrics))
        members["metrics"] = np.array([np.nan if value is None else value for value in metrics.values()])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **members)
    return buffer.getvalue()


def _best_count(images: int, class_bytes: int, sides: int) -> int:
    """How many of each image's probabilities fit."""
    for_each = _BEST_BYTES / images - 4 - class_bytes
    return max(int((for_each / sides - class_bytes - 6) // (class_bytes + 2)), 1)


def best_classes(probabilities: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The most probable classes of each row of [n, classes], the best first, of equal ones the first, [n, count]."""
    best = np.empty((len(probabilities), count), np.int64)
    for start in range(0, len(best), 4096):  # the order of all classes takes eight bytes for each of them
        best[start : start + 4096] = np.argsort(-probabilities[start : start + 4096], axis=1, kind="stable")[:, :count]
    return best
