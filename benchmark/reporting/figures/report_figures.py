"""The figures of a report: `plan_figures` lists them, `draw_figures` draws them into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark import layout
from benchmark.errors import DataError
from benchmark.matrix.cell import Data
from benchmark.reporting.figures.accuracy_by_time import draw_accuracy_by_time
from benchmark.reporting.figures.class_counts import draw_class_counts
from benchmark.reporting.figures.confusion import draw_confusion
from benchmark.reporting.figures.critical_difference import draw_critical_difference
from benchmark.reporting.figures.curves import SeedCurve, draw_curves
from benchmark.reporting.figures.drawing.figure_files import PlannedFigure, UndrawableError, file_stem, save
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages, open_images
from benchmark.reporting.figures.grad_cam_overlays import draw_overlays, read_explanation
from benchmark.reporting.figures.mistakes import draw_mistakes
from benchmark.reporting.figures.training_images import draw_training_images
from benchmark.reporting.figures.transfer_curves import TransferSide, draw_transfer
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.rows.budget import LoadEpochs
from benchmark.reporting.rows.groups import Group, varying_settings, where
from benchmark.reporting.rows.latest import ResultRow, cell_of
from benchmark.reporting.rows.metrics import TEST_ACCURACY
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.table import FigureFile, MissingFigure
from benchmark.reporting.tables.rankings import RankedPlace, ranked_places, ranking_of
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
    """

    groups: Sequence[Group]
    transfers: Sequence[TransferPair]
    epochs: Callable[[Iterable[int]], Mapping[int, Sequence[Mapping[str, Any]]]]
    predictions: Callable[[Iterable[int]], Mapping[int, Predictions]]
    cache_root: Path
    artifacts_root: Path
    _images: dict[Data, PreparedImages] = field(default_factory=dict)

    def images(self, data: Data) -> PreparedImages:
        """The prepared dataset of these data settings, opened once.

        Raises:
            UndrawableError: It is not in the cache, or cannot be read.
        """
        if data not in self._images:
            self._images[data] = open_images(data, self.cache_root)
        return self._images[data]


def plan_figures(sources: FigureSources) -> Iterator[PlannedFigure]:
    """All figures of a report: of its datasets, its groups, its comparisons, and accuracy against time."""
    yield from _of_datasets(sources)
    varying = varying_settings(sources.groups)
    for group in sources.groups:
        title = f"{where(group, varying)}, {group.strategy}"
        yield from _of_group(sources, group, title) if group.completed else _of_unfinished(sources, group, title)
    for pair in sources.transfers:
        if pair.scratch is not None and pair.scratch.completed and pair.fine_tuned.completed:
            yield _transfer(sources, pair.fine_tuned, pair.scratch, where(pair.fine_tuned, varying))
    yield from _accuracy_by_time(sources.groups, varying)
    yield from _rankings(sources.groups, varying)


def draw_figures(
    planned: Iterable[PlannedFigure], directory: Path, on_written: Callable[[Path], object]
) -> tuple[list[FigureFile], list[MissingFigure]]:
    """Draw figures into a folder, one after the other.

    Args:
        planned: Those of `plan_figures`.
        directory: An existing folder.
        on_written: Called with each file once it is written.

    Returns:
        The files, and the figures that could not be drawn.

    Raises:
        StorageError: The disk is full, or writing is not allowed.
    """
    files: list[FigureFile] = []
    missing: list[MissingFigure] = []
    for plan in planned:
        try:
            figure = plan.draw()
        except (UndrawableError, DataError) as error:  # a picture may have changed since it was prepared
            missing.append(MissingFigure(plan.kind, plan.title, str(error)))
            continue
        for path in save(figure, directory, plan.name):
            files.append(FigureFile(plan.kind, plan.title, plan.cells, path))
            on_written(path)
    return files, missing


def _of_datasets(sources: FigureSources) -> Iterator[PlannedFigure]:
    """Training images and class counts of each dataset with the same data settings."""
    cells: dict[tuple[str, Data], list[str]] = {}
    for group in sources.groups:
        for row in group.cells:
            if row.get("spec"):
                cells.setdefault((group.dataset, cell_of(row).data), []).append(row["cell_id"])

    def draw_from(draw: Callable[[str, PreparedImages], Figure], dataset: str, data: Data) -> Figure:
        return draw(dataset, sources.images(data))

    for (dataset, data), ids in cells.items():
        parts = [f"{data.image_size}px", data.color]
        parts += [] if data.train_examples is None else [str(data.train_examples)]
        parts += [] if data.test_examples is None else [f"test{data.test_examples}"]
        share = "source" if data.validation == "source" else round(data.validation_fraction * 100)
        distinction = "-".join([*parts, f"v{share}"])
        for kind, draw in (("samples", draw_training_images), ("labels", draw_class_counts)):
            name = file_stem(kind, dataset, distinction=distinction)
            title = f"{kind} of {dataset} at {data.image_size} pixels"
            yield PlannedFigure(kind, name, title, tuple(ids), partial(draw_from, draw, dataset, data))


def _of_group(sources: FigureSources, group: Group, title: str) -> Iterator[PlannedFigure]:
    cells = group.cell_ids
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: _draw_curves(sources, group, title, numbered(group)),
        "confusion": lambda: draw_confusion(title, _predictions(sources, group)),
        "mistakes": lambda: _draw_mistakes(sources, group, title),
    }
    for kind, draw in drawings.items():
        name = file_stem(kind, *group.names, distinction=cells[0][:8])
        yield PlannedFigure(kind, name, f"{kind} of {title}", cells, draw)
    for seed, row in numbered(group):
        cell_id = row["cell_id"]
        # of several attempts that were explained, the newest explanation
        files = [path for path in sources.artifacts_root.glob(f"{cell_id}/*/{layout.EXPLANATION}") if path.is_file()]
        if files:
            newest = max(files, key=lambda path: path.stat().st_mtime_ns)
            seed_title = f"{title}, seed {seed}"
            name = file_stem("explanation", *group.names, distinction=cell_id[:8])
            overlays = partial(_draw_explanation, seed_title, newest)
            yield PlannedFigure("explanation", name, f"Grad-CAM of {seed_title}", (cell_id,), overlays)


def _of_unfinished(sources: FigureSources, group: Group, title: str) -> Iterator[PlannedFigure]:
    """The curves of a group without any result: how it diverged, or how far it came."""
    begun = [(each.seed, each.row) for each in group.missing if each.row and each.row.get("epochs")]
    if begun:
        title = f"{title}, not completed"
        cells = tuple(row["cell_id"] for _, row in begun)
        name = file_stem("curves", *group.names, distinction=cells[0][:8])
        draw = partial(_draw_curves, sources, group, title, begun)
        yield PlannedFigure("curves", name, f"curves of {title}", cells, draw)


def _transfer(sources: FigureSources, fine: Group, scratch: Group, place: str) -> PlannedFigure:
    def side(group: Group) -> TransferSide:
        accuracies = list(group.values(TEST_ACCURACY).values())
        return TransferSide(group.strategy, seed_curves(sources.epochs, numbered(group)), accuracies)

    cells = fine.cell_ids + scratch.cell_ids
    return PlannedFigure(
        "transfer",
        file_stem("transfer", *fine.names, f"against-{scratch.strategy}", distinction=cells[0][:8]),
        f"transfer of {place}, {fine.strategy} against {scratch.strategy}",
        cells,
        lambda: draw_transfer(place, side(fine), side(scratch)),
    )


def _accuracy_by_time(groups: Sequence[Group], varying: Sequence[str]) -> Iterator[PlannedFigure]:
    for dataset in dict.fromkeys(group.dataset for group in groups):
        tested = [group for group in groups if group.dataset == dataset and group.completed]
        if tested:
            cells = tuple(cell_id for group in tested for cell_id in group.cell_ids)
            draw = partial(draw_accuracy_by_time, dataset, tested, varying)
            yield PlannedFigure("time", file_stem("time", dataset), f"accuracy against time on {dataset}", cells, draw)


def _rankings(groups: Sequence[Group], varying: Sequence[str]) -> Iterator[PlannedFigure]:
    """The critical-difference diagram of each model, or strategy, whose methods were measured on several datasets."""
    for place in ranked_places(groups, TEST_ACCURACY, varying):
        if len(place.scores) > 1:
            cells = tuple(cell_id for group in groups if place.title in group.names for cell_id in group.cell_ids)
            draw = partial(_draw_ranking, place)
            name = file_stem("ranks", place.title, distinction=cells[0][:8])
            yield PlannedFigure("ranks", name, f"ranks of the methods of {place.title}", cells, draw)


def _draw_ranking(place: RankedPlace) -> Figure:
    ranking = ranking_of(place, TEST_ACCURACY)
    return draw_critical_difference(f"{place.title}, test accuracy", place.methods, ranking, len(place.scores))


def numbered(group: Group) -> list[tuple[int, ResultRow]]:
    """The rows of all cells of a group, each with its seed."""
    return [(seed, row) for seed in group.completed for row in group.cells_of(seed)]


def _draw_curves(sources: FigureSources, group: Group, title: str, rows: Sequence[tuple[int, ResultRow]]) -> Figure:
    _, row = rows[0]
    trained = [stage.train for stage in cell_of(row).stages] if row.get("spec") else []
    return draw_curves(title, seed_curves(sources.epochs, rows), trained, reasons(group))


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


def _draw_mistakes(sources: FigureSources, group: Group, title: str) -> Figure:
    members = _predictions(sources, group)
    return draw_mistakes(title, members, images_of(group.cells[0], sources.images))


def images_of(row: ResultRow, open_data: Callable[[Data], PreparedImages]) -> PreparedImages:
    """The images that the cell of a row saw; `open_data` opens those of some data settings.

    Raises:
        UndrawableError: They are not in the cache, or those in the cache are others.
    """
    if not row.get("spec"):
        raise UndrawableError("the settings of its cells are not known")
    images = open_data(cell_of(row).data)
    if row.get("data_fingerprint") not in {None, images.fingerprint}:
        raise UndrawableError("the prepared dataset in the cache is another one than its cells were tested on")
    return images


def _predictions(sources: FigureSources, group: Group) -> list[Predictions]:
    """The predictions of each seed; those with other classes than the first are left out."""
    recorded = sources.predictions(group.execution_ids)
    if not recorded:
        raise UndrawableError(
            "no test predictions of it are recorded; record them with: bench run --rerun"
            f" --select dataset={group.dataset},model={group.model},strategy={group.strategy}"
        )
    members = [recorded[number] for number in group.execution_ids if number in recorded]
    return [member for member in members if member.class_names == members[0].class_names]


def _draw_explanation(title: str, path: Path) -> Figure:
    try:
        return draw_overlays(title, read_explanation(path.read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise UndrawableError(f"{path} cannot be read ({error}); make it again with: bench explain") from error
