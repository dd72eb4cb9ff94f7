"""`bench explain CELL [IMAGE…]`: where a trained cell saw the evidence, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark import layout, units
from benchmark.catalog.image_names import SHOWN_BY_DEFAULT, TEST, problem_of_class, problem_of_number
from benchmark.cli.completions import complete_path, complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output, streams, verbosity
from benchmark.errors import NotFoundError, UserError
from benchmark.files import temporary_folder

if TYPE_CHECKING:
    from benchmark.reporting.predictions.stored_predictions import Predictions
    from benchmark.results.store.database import Database
    from benchmark.scheduling.programs.grad_cam import Question

MOST_IMAGES = 24

COLUMNS = (
    output.Column("image"),
    output.Column("label", "true class"),
    output.Column("prediction", stays=True),
    output.Column("confidence", show=units.fraction, right=True),
    output.Column("class", "explained"),
    output.Column("peak", "strongest at (row, column)", show=lambda place: f"{place[0]}, {place[1]}"),
)


@verb(
    "explain",
    "bench explain aac7",
    "bench explain aac7 test:17 test:204 --output pictures",
    "bench explain model=simple_cnn,strategy=scratch,seed=0 digit.png --class 8",
)
@click.argument("cell", shell_complete=complete_selection)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=complete_path)
@database_option
@machine_option("any")
@click.option("--class", "class_name", metavar="NAME", help="Explain this class.  [default: the predicted class]")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the pictures to this folder.  [default: the folder of the cell's artifacts]",
)
@click.option(
    "--allow-plugins",
    is_flag=True,
    help="Run the plug-in file of the cell's model even if you have not trusted it permanently.",
)
@format_option()
def command(
    cell: str,
    images: Sequence[str],
    database: str,
    machine: str | None,
    class_name: str | None,
    folder: Path | None,
    allow_plugins: bool,
    output_format: str,
) -> None:
    """Show which parts of an image the prediction of a trained cell is based on: Grad-CAM overlays, as PNG and SVG.

    CELL is the beginning of a cell's id, or a selection that matches one cell. IMAGE is a PNG or JPEG file, or test:N
    for an image of the cell's test set; the pictures of its mistakes show these numbers. Without IMAGE a few test
    images are explained: the most confident mistakes of the cell, and correct predictions.
    """
    from benchmark.catalog.cache import default_cache_root
    from benchmark.catalog.cache_lock import CacheUse
    from benchmark.cli.reports.figure_option import record_figures
    from benchmark.matrix.trust import require_consent
    from benchmark.reporting.table import FigureFile
    from benchmark.results.artifacts.artifact_place import place_of
    from benchmark.results.store.database import open_database

    _check(images)
    with closing(CacheUse(default_cache_root(), make=False)):
        with open_database(database, mode="read") as opened:
            question = _question(opened, cell, images, machine, class_name, database)
        cell_id = question.trained.cell.cell_id
        require_consent([question.trained.cell], streams.command_line(), allowed=allow_plugins, with_data=False)
        place = folder or question.trained.weights.parent / "figures"
        named = "--output" if folder else "the folder of artifacts"
        rows, files = _explain(replace(question, allow_plugins=allow_plugins), place, named, keep=folder is None)
    record_figures([FigureFile("explanation", "Grad-CAM", (cell_id,), path) for path in files], place_of(database).root)
    if output_format == "json":
        output.write_json({"cell_id": cell_id, "images": rows, "figures": [str(path) for path in files]})
    else:
        output.write_rows(rows, [column for column in COLUMNS if any(row[column.key] for row in rows)], output_format)


def _check(images: Sequence[str]) -> None:
    if len(images) > MOST_IMAGES:
        raise UserError(f"IMAGE: expected at most {MOST_IMAGES} images for one picture, found {len(images)}")
    for name in images:
        if not name.startswith(TEST) and not Path(name).is_file():
            raise NotFoundError(f"IMAGE: expected a PNG or JPEG file, or test:N, found nothing at {name!r}")


def _question(
    database: Database, text: str, images: Sequence[str], machine: str | None, class_name: str | None, target: str
) -> Question:
    from benchmark.catalog.cache import PreparedDirectories, default_cache_root
    from benchmark.cli.cell_lookup import find_cell, stored_predictions, trained_cell
    from benchmark.reporting.figures.images.grad_cam_overlays import worth_explaining
    from benchmark.scheduling.programs.grad_cam import Question

    trained, execution = trained_cell(find_cell(database, text), machine, target)
    predictions = stored_predictions(database)([execution["execution_id"]]).get(execution["execution_id"])
    if predictions is not None:
        _check_against(predictions, images, class_name)
        images = images or [f"{TEST}{index}" for index in worth_explaining(predictions, SHOWN_BY_DEFAULT)]
    directory = PreparedDirectories(default_cache_root()).of(trained.cell.data)
    prepared = directory if (directory / layout.META).is_file() else None
    return Question(trained, images, class_name, prepared, execution["data_fingerprint"])


def _check_against(predictions: Predictions, images: Sequence[str], class_name: str | None) -> None:
    """Checks names of classes and numbers of test images before a process is started that takes seconds."""
    problem = problem_of_class(class_name, predictions.class_names) if class_name is not None else None
    problems = [problem_of_number(name, predictions.indices) for name in images if name.startswith(TEST)]
    if (first := next(filter(None, [problem, *problems]), None)) is not None:
        raise UserError(first)


def _explain(question: Question, place: Path, named: str, *, keep: bool) -> tuple[list[dict[str, Any]], list[Path]]:
    """What was found, and the files; `keep` leaves the maps beside them, for `bench report --figures`."""
    from benchmark.reporting.figures.drawing.figure_files import file_stem, make_folder, save
    from benchmark.reporting.figures.images.grad_cam_overlays import draw_overlays, read_explanation
    from benchmark.scheduling.programs.grad_cam import explain

    cell = question.trained.cell
    make_folder(place, named, [cell.data.location])
    verbosity.inform("explaining: this takes a few seconds")
    with temporary_folder() as aside:
        result = (place if keep else Path(aside)) / Path(layout.EXPLANATION).name
        rows = explain(question, result)
        explanation = read_explanation(result.read_bytes())
    names = (cell.dataset, cell.model, cell.strategy)
    title = f"{', '.join(names)}, seed {cell.seed}"
    figure = draw_overlays(title, explanation)
    name = file_stem("explanation", *names, distinction=cell.cell_id[:8])
    files = save(figure, place, name, f"Grad-CAM of {title}")
    for path in files:
        verbosity.inform(f"wrote {path}")
    return rows, files
