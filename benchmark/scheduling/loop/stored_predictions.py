"""The predictions of a completed attempt, on their way from its folder into the database."""

from __future__ import annotations

from benchmark.files import sha256_of
from benchmark.results.records import PredictionRow
from benchmark.scheduling.loop.attempt import Attempt


def predictions_of(attempt: Attempt) -> PredictionRow | None:
    """What the worker predicted for the test set; None when it told of no predictions.

    Raises:
        OSError: The file is not there, or is not what the worker wrote.
    """
    told = attempt.predicted
    written = {artifact.name: artifact for artifact in attempt.artifacts}
    if told is None or told.name not in written:
        return None
    content = (attempt.directory / told.name).read_bytes()
    sha256 = sha256_of(content)
    if sha256 != written[told.name].sha256:
        raise OSError(f"expected the sha256 {written[told.name].sha256}, got {sha256}")
    return PredictionRow(told.examples, told.class_names, sha256, content)
