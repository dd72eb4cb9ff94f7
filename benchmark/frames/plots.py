"""Learning curves drawn onto axes of matplotlib, and what all such functions do around their drawing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmark.cli.cell_lookup import check_machine, recorded_epochs, selected_results
from benchmark.cli.recorded_report import last_run_of
from benchmark.errors import NotFoundError
from benchmark.frames.asked import Target, Texts, listed, machine_named, opened
from benchmark.reporting.report import shown_groups
from benchmark.reporting.rows.groups import Group, varying_settings
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import Database

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    db: Target = None,
    *,
    metric: str = "val_accuracy",
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a metric by epoch, a line for the mean of each group and a band from its lowest to its highest seed.

    Args:
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        metric: `val_accuracy`, `val_loss`, `train_accuracy` or `train_loss`.
        select: As `--select`; one or several.
        exclude: As `--exclude`.
        machine: Whose results; by default `BENCH_MACHINE`, else the machine of the last run.
        axes: What to draw on; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        UserError: There is no database, or no completed cell in it that is asked for.
        StorageError: It cannot be read.
    """
    with opened(db) as database, drawing():
        from benchmark.reporting.figures.figure_sources import numbered, seed_curves
        from benchmark.reporting.figures.groups.compared_curves import plot_curves
        from benchmark.reporting.figures.groups.group_lines import labels_of

        groups, varying = _groups(database, select, exclude, machine)
        load, labels = recorded_epochs(database), labels_of(groups, varying)
        curves = {label: seed_curves(load, numbered(group)) for label, group in zip(labels, groups, strict=True)}
        axes = axes or new_axes()
        plot_curves(axes, curves, metric)
        return axes


def _groups(database: Database, select: Texts, exclude: Texts, machine: str | None) -> tuple[list[Group], list[str]]:
    """The groups of a report that have a result, and the settings that tell groups of the same names apart."""
    asked, rows = machine_named(machine), selected_results(database, listed(select), listed(exclude))
    check_machine(rows, asked)
    last = last_run_of(list(all_runs(database).values()), asked)
    options = ReportOptions(machine=asked, last_machine=last["machine"] if last else None)
    groups = completed_of(shown_groups(rows, (), options)[1], database)
    return groups, varying_settings(groups)


def completed_of(groups: Iterable[Group], database: Database) -> list[Group]:
    """Those groups that can be drawn.

    Raises:
        NotFoundError: There are none.
    """
    completed = [group for group in groups if group.completed]
    if not completed:
        raise NotFoundError(
            f"{database.display_name}: expected completed cells to draw, found none; begin with: bench run"
        )
    return completed


@contextmanager
def drawing() -> Iterator[None]:
    """Use the figures of reports without a trace: they keep matplotlib from the user's settings, which are wanted here."""
    names = ("MATPLOTLIBRC", "MPLBACKEND")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    import matplotlib as mpl

    try:
        import benchmark.reporting.figures  # noqa: F401
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(kept)
    # a `$` in a name is a dollar sign
    with mpl.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def as_text(axes: Axes) -> Axes:
    """The axes with a `$` in names as a dollar sign: their title and first ticks may have been made before `drawing`."""
    for text in (axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    return axes


def new_axes() -> Axes:
    """The axes of a new figure of pyplot, which a notebook shows."""
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained")[1]
