"""What a cell answered for each image, as the JSON that the view `predictions` reads."""

from __future__ import annotations

import io
import json

from benchmark.catalog.source_files.npz_headers import DAMAGE

CONFIDENCES = 10_001
"""Confidences are counted in ten-thousandths, from 0 to 1."""


def encoded_outcomes(content: bytes, classes: int) -> str | None:
    """Encodes predictions as the column `outcomes` of the table `prediction`.

    Args:
        content: Of `predictions.npz`.
        classes: Number of classes.

    Returns:
        For each image `(label * classes + predicted) * 10001 + confidence`, the confidence in ten-thousandths: a list where
        the images are 0, 1, …, otherwise an object by image. None when the content cannot be read, or images have several
        labels, which the view has no columns for.
    """
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            indices, labels, predicted = (stored[name].astype(np.int64) for name in ("indices", "labels", "predicted"))
            if labels.ndim > 1:
                return None
            if "probabilities" in stored:
                confidence = stored["probabilities"][np.arange(len(predicted)), predicted].astype(np.float64)
            else:
                confidence = stored["best_probabilities"][:, 0].astype(np.float64)
        parts = np.rint(np.clip(np.nan_to_num(confidence), 0, 1) * (CONFIDENCES - 1)).astype(np.int64)
        numbers = ((labels * classes + predicted) * CONFIDENCES + parts).tolist()
    except (OSError, ValueError, TypeError, LookupError, AttributeError, MemoryError, *DAMAGE):
        return None
    in_order = np.array_equal(indices, np.arange(len(numbers)))
    return json.dumps(numbers if in_order else dict(zip(indices.tolist(), numbers, strict=True)), separators=(",", ":"))
