"""`bench prepare`: datasets and published weights made ready before a run, as a step of its own."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark import layout, units
from benchmark.cli.options import MatrixRequest, matrix_options, verb
from benchmark.cli.terminal import streams, verbosity
from benchmark.errors import UserError


@verb("prepare")
@matrix_options
@click.option(
    "--manual-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Use original files from this folder instead of downloading them; their digests are verified.",
)
@click.option("--offline", is_flag=True, help="Never download anything; prepare only what is already here.")
@click.option(
    "--allow-plugins",
    is_flag=True,
    help="Run the plug-in files of datasets even if you have not trusted them permanently.",
)
def command(matrix: MatrixRequest, manual_dir: Path | None, offline: bool, allow_plugins: bool) -> None:
    """Download and prepare the datasets and ImageNet weights that a matrix needs, into the caches that all runs share.

    `bench run` prepares what is missing by itself; this command does it in advance, for machines that train offline.
    """
    from benchmark.cli.runs.start_run import display, run_options
    from benchmark.matrix.trust import require_consent
    from benchmark.scheduling.programs.preparation import prepare_all

    plan = matrix.load()
    require_consent(plan.cells, streams.command_line(), allowed=allow_plugins, with_models=False)
    options = run_options(
        layout.DATABASE, None, offline=offline, manual_directory=manual_dir, allow_plugins=allow_plugins
    )
    with display() as shown:
        problems, datasets, weights = prepare_all(
            plan.cells, options, verbosity.inform, shown.preparing, lambda name: verbosity.inform(f"ready: {name}")
        )
    if problems:
        raise UserError("\n".join(problems))
    and_weights = f" and {units.plural(weights, 'weights file')}" if weights else ""
    verbosity.inform(f"{units.plural(datasets, 'dataset')}{and_weights} ready")
