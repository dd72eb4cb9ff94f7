"""`bench predict CELL… IMAGE…`: what trained cells make of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.catalog.source_files.image_folders import IMAGE_ENDINGS
from benchmark.cli.cell_names import NAMES, short_id
from benchmark.cli.completions import complete_selection_or_path
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output, streams, verbosity
from benchmark.errors import NotFoundError, UserError
from benchmark.status import Status

if TYPE_CHECKING:
    from benchmark.results.store.database import Database
    from benchmark.scheduling.programs.inference import CellPrediction, Trained

COLUMNS = (
    output.Column("image"),
    output.Column("prediction", stays=True),
    output.Column("confidence", show=units.fraction, right=True),
    output.Column("agreeing_cells", "cells that agree", right=True),
    output.Column("then"),
)


@verb(
    "predict",
    "bench predict aac7 digit.png",
    "bench predict model=simple_cnn,strategy=scratch --tta 3 one.png two.jpg",
    "bench predict --format csv --top 10 aac7 2781 digit.png",
)
@click.argument(
    "cells_and_images", nargs=-1, required=True, metavar="CELL... IMAGE...", shell_complete=complete_selection_or_path
)
@database_option
@machine_option("any")
@click.option(
    "--tta",
    "views",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    metavar="N",
    help="Average over each image and N randomly flipped and rotated views of it.",
)
@click.option(
    "--allow-plugins",
    is_flag=True,
    help="Run the plug-in files of the cells' models even if you have not trusted them permanently.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Show this many classes for each image.",
)
@format_option()
def command(
    cells_and_images: Sequence[str],
    database: str,
    machine: str | None,
    views: int,
    allow_plugins: bool,
    top: int,
    output_format: str,
) -> None:
    """Predict the classes of images with trained cells, and how confident they are.

    CELL is the beginning of a cell's id, or a selection such as model=resnet18,seed=0, which takes every finished cell
    that matches. The probabilities of several cells are averaged; they must have the same classes. IMAGE is a PNG or
    JPEG file of any size, which is resized and coloured like the cell's own data. The weights are verified by their
    digest and loaded as arrays; nothing in them is executed.
    """
    from benchmark.matrix.trust import require_consent
    from benchmark.results.store.database import open_database
    from benchmark.scheduling.programs.inference import predict

    cells, images = _cells_and_images(cells_and_images)
    with open_database(database, mode="read") as opened:
        trained = _trained(opened, cells, machine, database)
    require_consent([each.cell for each in trained], streams.command_line(), allowed=allow_plugins, with_data=False)
    verbosity.inform(f"loading {units.plural(len(trained), 'cell')}")
    document = _document(predict(trained, images, views, allow_plugins=allow_plugins), images, views, top)
    if output_format == "json":
        output.write_json(document)
    elif output_format == "csv":
        rows = [{"image": row["image"], **each} for row in document["images"] for each in row["classes"]]
        output.write_rows(rows, [], "csv")
    else:
        for row in document["images"]:
            others = (f"{each['class']} {units.fraction(each['confidence'])}" for each in row["classes"][1:])
            row["then"] = ", ".join(others)
        averaged = any(row["agreeing_cells"] > 1 for row in document["images"])
        columns = [column for column in COLUMNS if averaged or column.key != "agreeing_cells"]
        output.write_rows(document["images"], columns, "table")


def _cells_and_images(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Images are what ends like one or is a file; everything else is a cell."""
    images = [text for text in arguments if text.lower().endswith(IMAGE_ENDINGS) or Path(text).is_file()]
    cells = [text for text in arguments if text not in images]
    if not images:
        raise UserError("IMAGE: expected at least one PNG or JPEG file, found none; give it after the cells")
    if not cells:
        raise UserError("CELL: expected at least one cell, found only images; `bench list cells` shows them")
    for text in images:
        if not Path(text).is_file():
            raise NotFoundError(f"IMAGE: expected a PNG or JPEG file, found nothing at {text!r}")
    return cells, [Path(text) for text in images]


def _trained(database: Database, cells: Sequence[str], machine: str | None, target: str) -> list[Trained]:
    """The finished cells that are meant, each once."""
    from benchmark.cli.cell_lookup import selected_results, trained_cell
    from benchmark.results.read import queries

    trained: dict[str, Trained] = {}
    for text in cells:
        ids = [text]
        if "=" in text:
            rows = selected_results(database, [text], status=Status.COMPLETED, machine=machine)
            ids = list(dict.fromkeys(row["cell_id"] for row in rows))
        if not ids:
            raise NotFoundError(f"CELL: no finished cell matches {text[:200]!r}; begin with: bench run")
        for detail in (queries.cell_detail(database, cell_id) for cell_id in ids):
            trained.setdefault(detail.cell["cell_id"], trained_cell(detail, machine, target)[0])
    return list(trained.values())


def _document(predicted: Sequence[CellPrediction], images: Sequence[Path], views: int, top: int) -> dict[str, Any]:
    names = predicted[0].class_names
    for other in predicted[1:]:
        if other.class_names != names:
            raise UserError(
                f"CELL {short_id(other.cell.cell_id)}: expected the classes of {short_id(predicted[0].cell.cell_id)} "
                f"({_some(names)}), found {_some(other.class_names)}; only cells with the same classes can be averaged"
            )
    return {
        "cells": [{name: getattr(each.cell, name) for name in ("cell_id", *NAMES)} for each in predicted],
        "tta": views,
        "images": [_image(number, str(path), predicted, names, top) for number, path in enumerate(images)],
    }


def _image(
    number: int, path: str, predicted: Sequence[CellPrediction], names: Sequence[str], top: int
) -> dict[str, Any]:
    rows = [each.probabilities[number] for each in predicted]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    order = sorted(range(len(mean)), key=lambda index: -mean[index])
    votes = [max(range(len(row)), key=row.__getitem__) for row in rows]
    return {
        "image": path,
        "prediction": names[order[0]],
        "confidence": mean[order[0]],
        "agreeing_cells": votes.count(order[0]),
        "classes": [
            {"rank": rank, "class": names[index], "confidence": mean[index]}
            for rank, index in enumerate(order[:top], start=1)
        ],
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
