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
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_predictions(
    indices: NDArray[Any],
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    averaged: NDArray[np.float32] | None = None,
) -> bytes:
    """The content of the file; equal bytes for equal predictions.

    Args:
        indices: Positions in the prepared set, [n].
        labels: True classes, [n].
        probabilities: Of the images as they are, [n, classes] 0..1.
        averaged: Of the average over views, [n, classes]; None without `tta`.
    """
    kind = np.min_scalar_type(probabilities.shape[-1])
    members: dict[str, NDArray[Any]] = {"indices": indices.astype(np.uint32), "labels": labels.astype(kind)}
    for prefix, rows in (("", probabilities), ("tta_", averaged)):
        if rows is not None:
            members[f"{prefix}predicted"] = rows.argmax(axis=-1).astype(kind)
            members[f"{prefix}probabilities"] = rows.astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **members)
    return buffer.getvalue()
