"""What the figures of a report are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.matrix.cell import Data
from benchmark.reporting.comparing.differences import Comparisons
from benchmark.reporting.figures.drawing.figure_files import UndrawableError
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages, open_images
from benchmark.reporting.figures.groups.curves import SeedCurve
from benchmark.reporting.figures.groups.forecast_accuracy import Forecast
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow, cell_of, has_several_labels
from benchmark.reporting.rows.training_budget import LoadEpochs
from benchmark.reporting.tables.transfer import TransferPair


@dataclass(slots=True)
class FigureSources:
    """What the figures of a report are drawn from.

    Attributes:
        groups: What the report shows.
        transfers: The comparisons of fine-tuned with scratch.
        epochs: Gives the rows of the view `history` by execution id.
        predictions: Gives the stored predictions by execution id; those without are left out.
        cache_root: The folder of prepared datasets.
        artifacts_root: The folder of the database's artifacts, with a folder for each attempt.
        comparisons: The differences that the report judges, and in which metrics.
        forecasts: Gives what was expected of cells and runs beside what they took.
    """

    groups: Sequence[Group]
    transfers: Sequence[TransferPair]
    epochs: Callable[[Iterable[int]], Mapping[int, Sequence[Mapping[str, Any]]]]
    predictions: Callable[[Iterable[int]], Mapping[int, Predictions]]
    cache_root: Path
    artifacts_root: Path
    comparisons: Comparisons = field(default_factory=Comparisons)
    forecasts: Callable[[], Sequence[Forecast]] = tuple
    _images: dict[Data, PreparedImages] = field(default_factory=dict)

    def images(self, data: Data) -> PreparedImages:
        """The prepared dataset of these data settings, opened once.

        Raises:
            UndrawableError: It is not in the cache, or cannot be read.
        """
        if data not in self._images:
            self._images[data] = open_images(data, self.cache_root)
        return self._images[data]


def numbered(group: Group) -> list[tuple[int, ResultRow]]:
    """The rows of all cells of a group, each with its seed."""
    return [(seed, row) for seed in group.completed for row in group.cells_of(seed)]


def seed_curves(load: LoadEpochs, rows: Sequence[tuple[int, ResultRow]]) -> list[SeedCurve]:
    """The epochs of rows with their seeds; those without any are left out.

    Raises:
        UndrawableError: None has any.
    """
    epochs = load([row["execution_id"] for _, row in rows])
    curves = [
        SeedCurve(seed, epochs[row["execution_id"]], row.get("best_epoch"))
        for seed, row in rows
        if epochs.get(row["execution_id"])
    ]
    if not curves:
        raise UndrawableError("no epoch of it is recorded")
    return curves


def drawable_curves(load: LoadEpochs, rows: Sequence[tuple[int, ResultRow]]) -> list[SeedCurve]:
    """The same, for a picture of lines.

    Raises:
        UndrawableError: None has two epochs.
    """
    curves = seed_curves(load, rows)
    if max(len(curve.epochs) for curve in curves) == 1:
        raise UndrawableError("one epoch of it is recorded, and a single point is no curve")
    return curves


def images_of(row: ResultRow, open_data: Callable[[Data], PreparedImages]) -> PreparedImages:
    """The images that the cell of a row saw; `open_data` opens those of some data settings.

    Raises:
        UndrawableError: They are not in the cache, or those in the cache are others.
    """
    if not row.get("spec"):
        raise UndrawableError("the settings of its cells are not known")
    images = open_data(cell_of(row).data)
    if row.get("data_fingerprint") not in {None, images.fingerprint}:
        raise UndrawableError("the prepared dataset in the cache is not the one that its cells were tested on")
    return images


def predictions_of(sources: FigureSources, group: Group) -> list[Predictions]:
    """The predictions of each seed; those with other classes than the first are left out."""
    recorded = sources.predictions(group.execution_ids)
    row = group.cells[0]
    if not recorded and has_several_labels(row):
        raise UndrawableError("its images have several labels each, and this figure speaks of one")
    if not recorded:
        raise UndrawableError(
            "no test predictions of it are recorded; record them with: bench run --rerun"
            f" --select dataset={group.dataset},model={group.model},strategy={group.strategy}"
        )
    members = [recorded[number] for number in group.execution_ids if number in recorded]
    return [member for member in members if member.class_names == members[0].class_names]
