"""`bench list`: what is recorded, and what can be named in a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmark import layout, units
from benchmark.cli.cell_names import short_id
from benchmark.cli.options import database_option, format_option, machine_option, selection_options, verb
from benchmark.cli.terminal import output
from benchmark.cli.terminal.output import NAME_COLUMNS, Column


def _each_stage(value: Any) -> str:
    """A setting that may have a value for each stage."""
    return ", then ".join(map(str, value)) if isinstance(value, list) else str(value)


CELL_COLUMNS = (
    Column("cell_id", "cell", show=short_id, style="dim"),
    *NAME_COLUMNS,
    Column("machine"),
    Column("status"),
    Column("cause"),
    Column("epochs", right=True),
    Column("test_accuracy", show=units.fraction, right=True),
    Column("total_seconds", "time", show=units.seconds, right=True),
)

_NAMED = 1 + len(NAME_COLUMNS)
"""So many of them say which cell it is."""

RUN_COLUMNS = (
    Column("run_id", "run", right=True),
    Column("name"),
    Column("machine"),
    Column("matrix_path", "matrix"),
    Column("started_utc", "started (UTC)", show=lambda text: str(text)[:16].replace("T", " "), right=True),
    Column("state"),
    Column("planned", right=True),
    Column("reused", right=True),
    Column("left_out", right=True),
    Column("exit_code", "exit", right=True),
)

NOT_LISTED = {
    *("spec", "device_name", "isolation", "neighbours", "is_reproduction", "is_retiming", "lost_seconds"),
    *("steady_seconds_per_epoch", "disturbed_epochs"),
    # of nodes of a cluster alone, so that not all rows have them
    *("os", "python_version", "cpu_model", "cpu_cores", "memory_bytes", "gpu_names", "gpu_driver"),
}

NAME = Column("name", style="bold")
SUMMARY = Column("summary")
DEFINED_IN = Column("defined_in", "defined in", style="dim")
NAMED_COLUMNS = {
    "datasets": (
        Column("classes", right=True),
        Column("train_examples", "train", right=True),
        Column("test_examples", "test", right=True),
        Column("image_size", "size", right=True),
        Column("color"),
        SUMMARY,
    ),
    "models": (
        Column("minimum_image_size", "smallest images", right=True),
        Column("backbone_layers", "backbone layers", right=True),
        Column("imagenet_weights", "ImageNet weights", show=lambda exist: "yes" if exist else "no"),
        SUMMARY,
    ),
    "strategies": (Column("weights"), Column("train", show=_each_stage), SUMMARY),
    "presets": (SUMMARY,),
}
"""What the tables show; `--format json` and `csv` have all that is known."""


@verb("list", "bench list cells --select model=resnet*,status=failed", "bench list runs", "bench list models")
@click.argument("kind", type=click.Choice(("cells", "runs", *NAMED_COLUMNS)))
@click.option(
    "--matrix", default=layout.MATRIX, show_default=True, metavar="PATH", help="Also list what this file defines."
)
@database_option
@machine_option("all")
@selection_options
@format_option()
def command(
    kind: str,
    matrix: str,
    database: str,
    machine: str | None,
    select: Sequence[str],
    exclude: Sequence[str],
    output_format: str,
) -> None:
    """List what is recorded (cells, runs) or what a matrix can name (datasets, models, strategies, presets).

    Of each cell the newest execution on each machine is listed; --select, --exclude and --machine apply to cells only.
    """
    if kind in NAMED_COLUMNS:
        from benchmark.matrix import listing

        # what is built in, and what the matrix file defines itself, where there is one
        own = matrix if Path(matrix).exists() else None
        families = {"datasets": "dataset", "models": "model", "strategies": "strategy"}
        rows = listing.list_definitions(families[kind], own) if kind in families else listing.list_presets()
        elsewhere = any(row.get("defined_in", "bench") != "bench" for row in rows)
        columns = (NAME, *NAMED_COLUMNS[kind], *((DEFINED_IN,) if elsewhere else ()))
        output.write_rows(rows, columns, output_format)
        return
    from benchmark.cli.cell_lookup import selected_results
    from benchmark.reporting.rows.repetitions import REPEATED, seeds_of, with_streams
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        if kind == "runs":
            rows = list(all_runs(opened).values())
            output.write_rows(rows, RUN_COLUMNS, output_format, empty="no runs yet")
            return
        selected = selected_results(opened, select, exclude, newest=True, may_be_none=True, machine=machine)
    seeds = [seeds_of(row) for row in selected]
    # seeds of streams and folds, which nearly no cell has
    more = [name for name in REPEATED if name != "seed" and any(name in each for each in seeds)]
    rows = [
        {key: row[key] for key in row if key not in NOT_LISTED} | {name: with_streams(each).get(name) for name in more}
        for row, each in zip(selected, seeds, strict=True)
    ]
    columns = (*CELL_COLUMNS[:_NAMED], *(Column(name, right=True) for name in more), *CELL_COLUMNS[_NAMED:])
    output.write_rows(rows, columns, output_format, empty="no recorded cell matches")
