"""`bench diff A B`: the images that B fixed and those that it broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output, verbosity
from benchmark.errors import DataError

if TYPE_CHECKING:
    from benchmark.reporting.predictions.image_changes import ChangedImage, PredictionDiff, SuspectImage

MOST_SHOWN = 10
LISTS = {
    "fixed": "fixed: A wrong and B right in most seeds",
    "broken": "broken: A right and B wrong in most seeds",
    "missed_by_all": "missed by all cells of A and B",
    "doubted_labels": "label doubted by all models of A and B",
}
CHANGED = (
    output.Column("image", right=True),
    output.Column("label_name", "label"),
    output.Column("a_says", "A says"),
    output.Column("a_right", "A right", right=True),
    output.Column("b_says", "B says"),
    output.Column("b_right", "B right", right=True),
)
SUSPECT = (
    output.Column("image", right=True),
    output.Column("label_name", "label"),
    output.Column("says", "is said to be"),
    output.Column("probability", "probability of label", show=units.fraction, right=True),
    output.Column("n", "cells", right=True),
)


@verb(
    "diff",
    "bench diff strategy=v1 strategy=v2",
    "bench diff model=simple_cnn model=resnet18 --figures pictures",
    "bench diff strategy=scratch strategy=regularized --format json",
)
@click.argument("a", shell_complete=complete_selection)
@click.argument("b", shell_complete=complete_selection)
@database_option
@machine_option("that of A's newest result")
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Which images to compare.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also draw these images, as one PNG and one SVG file in this folder.",
)
@format_option()
def command(
    a: str, b: str, database: str, machine: str | None, split: str, figures: Path | None, output_format: str
) -> None:
    """Show the images that selection B fixed and those that it broke, compared with what seeds alone change.

    An image is fixed when most seeds of A get it wrong and most seeds of B right, and broken the other way round. The
    first sentence says how many images seeds alone would have fixed and broken, and whether there is more to it. The
    images that all cells of A and B get wrong follow, and those whose label all models doubt: such labels are worth a
    check.

    Selections are matched and paired as in `bench compare`. Stored predictions are read; nothing is trained.
    """
    from benchmark.cli.cell_lookup import selected_results, stored_predictions
    from benchmark.reporting.comparing.prediction_diff import diff_selections
    from benchmark.reporting.rows.latest import with_environment
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        runs = list(all_runs(opened).values())
        first, second = (with_environment(selected_results(opened, [side]), runs) for side in (a, b))
        diff = diff_selections(first, second, stored_predictions(opened, split), split=split, machine=machine)
    files = _draw(diff, figures, database) if figures else None
    if output_format == "json":
        drawn = {} if files is None else {"figures": [str(path) for path in files]}
        output.write_json({"a": a, "b": b, **_document(diff), **drawn})
    elif output_format == "csv":
        rows = [{"list": name, **_CSV_ROW, **row} for name, rows in _lists(diff).items() for row in rows]
        output.write_csv(["list", *_CSV_ROW], rows)
    else:
        _print(diff)


_CSV_ROW: Mapping[str, Any] = dict.fromkeys(
    ("image", "label", "label_name", "a_right", "b_right", "n", "a_n", "b_n", "a_says", "b_says", "says", "probability")
)


def _lists(diff: PredictionDiff) -> dict[str, list[dict[str, Any]]]:
    changed = {"fixed": diff.fixed, "broken": diff.broken}
    suspects = {"missed_by_all": diff.missed_by_all, "doubted_labels": diff.doubted_labels}
    return {
        **{name: [_changed(each, diff.class_names) for each in images] for name, images in changed.items()},
        **{name: [_suspect(each, diff.class_names) for each in images] for name, images in suspects.items()},
    }


def _changed(each: ChangedImage, names: Sequence[str]) -> dict[str, Any]:
    return {
        "image": each.image,
        "label": each.label,
        "label_name": names[each.label],
        "a_right": each.a_right,
        "b_right": each.b_right,
        "n": max(each.a_n, each.b_n),
        "a_n": each.a_n,
        "b_n": each.b_n,
        "a_says": names[each.a_says],
        "b_says": names[each.b_says],
    }


def _suspect(each: SuspectImage, names: Sequence[str]) -> dict[str, Any]:
    return {
        "image": each.image,
        "label": each.label,
        "label_name": names[each.label],
        "says": names[each.says],
        "n": each.n,
        "probability": each.probability,
    }


def _document(diff: PredictionDiff) -> dict[str, Any]:
    test = diff.consistency
    return {
        "split": diff.split,
        "images": diff.images,
        "a_n": diff.seeds[0],
        "b_n": diff.seeds[1],
        "sentence": diff.sentence,
        **_lists(diff),
        "churn": diff.churn,
        "churn_between": diff.churn_between,
        "by_seeds": diff.by_seeds,
        "p": test and test.p,
        "least_p": test and test.least_p,
        "notes": list(diff.notes),
    }


def _print(diff: PredictionDiff) -> None:
    for line in _lines(diff):
        output.write_line(line)
    for name, rows in _lists(diff).items():
        output.write_line()
        if not rows:
            output.write_line(f"{LISTS[name]}: none")
            continue
        is_change = "a_right" in rows[0]
        shown = [_with_counts(row) if is_change else row for row in rows[:MOST_SHOWN]]
        output.write_table(shown, CHANGED if is_change else SUSPECT, LISTS[name])
        if len(rows) > MOST_SHOWN:
            output.write_line(f"and {len(rows) - MOST_SHOWN:,} more, in --format json and csv")
    if diff.notes:
        output.write_line()
    for note in diff.notes:
        output.write_line(note)


def _with_counts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{f"{side}_right": f"{row[f'{side}_right']}/{row[f'{side}_n']}" for side in "ab"}}


def _lines(diff: PredictionDiff) -> Iterator[str]:
    yield diff.sentence
    for a, b in diff.pairs:
        yield f"A is {', '.join(a.names)}; B is {', '.join(b.names)}."
    if diff.churn is not None and diff.churn_between is not None:
        yield (
            f"Churn: two seeds of one strategy disagree on {100 * diff.churn:.1f} % of the images, a seed of A and one of "
            f"B on {100 * diff.churn_between:.1f} %."
        )


def _draw(diff: PredictionDiff, folder: Path, database: str) -> list[Path]:
    from benchmark.catalog.cache import default_cache_root
    from benchmark.catalog.cache_lock import CacheUse
    from benchmark.cli.reports.figure_option import finish_folder
    from benchmark.reporting.figures.drawing.figure_files import UndrawableError, file_stem, make_folder, save
    from benchmark.reporting.figures.drawing.prepared_images import open_images
    from benchmark.reporting.figures.drawing.style import alternative_of
    from benchmark.reporting.figures.figure_sources import images_of
    from benchmark.reporting.figures.images.changed_images import draw_changed_images
    from benchmark.reporting.rows.latest import cell_of
    from benchmark.reporting.table import FigureFile
    from benchmark.results.artifacts.artifact_place import place_of

    groups = [group for pair in diff.pairs for group in pair]
    row = groups[0].cells[0]
    make_folder(folder, "--figures", {cell_of(row).data.location} if row.get("spec") else ())
    (a, b), more = diff.pairs[0], len(diff.pairs) - 1
    title = f"{', '.join(a.names)} (A) against {', '.join(b.names)} (B)" + (f" and {more} more" if more else "")
    name = file_stem("diff", *a.names, f"against-{b.strategy}", distinction=f"{a.cell_ids[0][:8]}-{b.cell_ids[0][:8]}")
    root = default_cache_root()
    try:
        with closing(CacheUse(root, make=False)):
            prepared = images_of(row, partial(open_images, cache_root=root))
            figure = draw_changed_images(title, diff, prepared.test if diff.split == "test" else prepared.training)
    except (UndrawableError, DataError) as error:
        verbosity.inform(f"note: not drawn: {error}")
        return []
    files = save(figure, folder, name, title)
    for path in files:
        verbosity.inform(f"wrote {path}")
    cells = tuple(cell_id for group in groups for cell_id in group.cell_ids)
    words = alternative_of(figure)
    written = [FigureFile("diff", title, cells, path, words) for path in files]
    finish_folder(folder, written, [], place_of(database).root)
    return files
