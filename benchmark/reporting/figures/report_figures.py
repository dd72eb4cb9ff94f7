"""The figures of a report: `plan_figures` lists them, `draw_figures` draws them into a folder, `drawn` for a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmark import layout
from benchmark.errors import DataError
from benchmark.matrix.cell import Data
from benchmark.reporting.figures.comparing_figures import plan_comparing
from benchmark.reporting.figures.drawing.figure_files import (
    DrawnFigure,
    PlannedFigure,
    UndrawableError,
    file_stem,
    save,
)
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages
from benchmark.reporting.figures.drawing.style import alternative_of
from benchmark.reporting.figures.figure_sources import (
    FigureSources,
    drawable_curves,
    images_of,
    numbered,
    predictions_of,
)
from benchmark.reporting.figures.groups.curves import draw_curves
from benchmark.reporting.figures.images.class_counts import draw_class_counts
from benchmark.reporting.figures.images.confusion import draw_confusion
from benchmark.reporting.figures.images.grad_cam_overlays import draw_overlays, read_explanation
from benchmark.reporting.figures.images.mistakes import draw_mistakes
from benchmark.reporting.figures.images.training_images import draw_training_images
from benchmark.reporting.rows.groups import Group, varying_settings, where
from benchmark.reporting.rows.latest import ResultRow, cell_of
from benchmark.reporting.rows.missing_results import reasons
from benchmark.reporting.table import FigureFile, MissingFigure


def plan_figures(sources: FigureSources) -> Iterator[PlannedFigure]:
    """All figures of a report: what compares first, then those of its groups and of its datasets."""
    varying = varying_settings(sources.groups)
    yield from plan_comparing(sources, varying)
    for group in sources.groups:
        title = f"{where(group, varying)}, {group.strategy}"
        settings = group.describe(varying)
        if group.completed:
            yield from _of_group(sources, group, title, settings)
        else:
            yield from _of_unfinished(sources, group, title, settings)
    yield from _of_datasets(sources)


def drawn(planned: Iterable[PlannedFigure]) -> Iterator[DrawnFigure | MissingFigure]:
    """Draw figures, one after the other, each when it is asked for; of one that cannot be drawn why it cannot."""
    for plan in planned:
        try:
            figure = plan.draw()
        except (UndrawableError, DataError) as error:  # a picture may have changed since it was prepared
            yield MissingFigure(plan.kind, plan.title, str(error))
        else:
            yield DrawnFigure(plan, figure, alternative_of(figure))


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
    for each in drawn(planned):
        if isinstance(each, MissingFigure):
            missing.append(each)
            continue
        plan = each.plan
        for path in save(each.figure, directory, plan.name, plan.title):
            files.append(FigureFile(plan.kind, plan.title, plan.cells, path, each.alternative))
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


def _of_group(sources: FigureSources, group: Group, title: str, settings: Sequence[str]) -> Iterator[PlannedFigure]:
    cells = group.cell_ids
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: _draw_curves(sources, group, title, numbered(group)),
        "confusion": lambda: draw_confusion(title, predictions_of(sources, group)),
        "mistakes": lambda: _draw_mistakes(sources, group, title),
    }
    for kind, draw in drawings.items():
        name = file_stem(kind, *group.names, settings=settings, distinction=cells[0][:8])
        yield PlannedFigure(kind, name, f"{kind} of {title}", cells, draw)
    for seed, row in numbered(group):
        cell_id = row["cell_id"]
        # of several attempts that were explained, the newest explanation
        files = [path for path in sources.artifacts_root.glob(f"{cell_id}/*/{layout.EXPLANATION}") if path.is_file()]
        if files:
            newest = max(files, key=lambda path: path.stat().st_mtime_ns)
            seed_title = f"{title}, seed {seed}"
            name = file_stem("explanation", *group.names, settings=settings, distinction=cell_id[:8])
            overlays = partial(_draw_explanation, seed_title, newest)
            yield PlannedFigure("explanation", name, f"Grad-CAM of {seed_title}", (cell_id,), overlays)


def _of_unfinished(
    sources: FigureSources, group: Group, title: str, settings: Sequence[str]
) -> Iterator[PlannedFigure]:
    """The curves of a group without any result: how it diverged, or how far it came."""
    begun = [(each.seed, each.row) for each in group.missing if each.row and each.row.get("epochs")]
    if begun:
        title = f"{title}, not completed"
        cells = tuple(row["cell_id"] for _, row in begun)
        name = file_stem("curves", *group.names, settings=settings, distinction=cells[0][:8])
        draw = partial(_draw_curves, sources, group, title, begun)
        yield PlannedFigure("curves", name, f"curves of {title}", cells, draw)


def _draw_curves(sources: FigureSources, group: Group, title: str, rows: Sequence[tuple[int, ResultRow]]) -> Figure:
    _, row = rows[0]
    trained = [stage.train for stage in cell_of(row).stages] if row.get("spec") else []
    return draw_curves(title, drawable_curves(sources.epochs, rows), trained, reasons(group))


def _draw_mistakes(sources: FigureSources, group: Group, title: str) -> Figure:
    members = predictions_of(sources, group)
    return draw_mistakes(title, members, images_of(group.cells[0], sources.images))


def _draw_explanation(title: str, path: Path) -> Figure:
    try:
        return draw_overlays(title, read_explanation(path.read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise UndrawableError(f"{path} cannot be read ({error}); make it again with: bench explain") from error
