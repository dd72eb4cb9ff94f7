"""What a report shows drawn onto axes of matplotlib: curves, accuracy against time, differences, all groups, phases, forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmark.cli.options import damage_named
from benchmark.cli.reports.collector_pause import paused_collection
from benchmark.cli.reports.recorded_report import opened_report
from benchmark.errors import NotFoundError
from benchmark.frames.arguments import Target, Texts, database_named, listed, machine_named
from benchmark.frames.drawing_axes import as_text, completed_of, drawing, new_axes
from benchmark.frames.report_frames import margin_named
from benchmark.reporting.rows.groups import varying_settings
from benchmark.reporting.tables.shown import Shown
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
    with _shown(db, select, exclude, machine) as (shown, database):
        from benchmark.reporting.figures.figure_sources import numbered, seed_curves
        from benchmark.reporting.figures.groups.compared_curves import plot_curves
        from benchmark.reporting.figures.groups.group_lines import labels_of

        groups = completed_of(shown.groups, database)
        labels = labels_of(groups, varying_settings(groups))
        curves = {
            label: seed_curves(shown.epochs, numbered(group)) for label, group in zip(labels, groups, strict=True)
        }
        axes = axes or new_axes()
        plot_curves(axes, curves, metric)
        return axes


def accuracy_by_time(
    db: Target = None,
    *,
    metric: str = "test_accuracy",
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a metric against fit seconds: a point for each group with 95 % intervals both ways, and the Pareto front.

    Groups whose timings do not count are hollow, and those without any are left out; what is drawn is of one dataset, so
    that of several one is to be selected. Arguments and errors as of `heat_map`.

    Raises:
        UserError: The cells are of several datasets, too.
    """
    with _shown(db, select, exclude, machine, metrics=(metric,)) as (shown, database):
        from benchmark.reporting.figures.groups.accuracy_by_time import plot_accuracy_by_time

        groups = completed_of(shown.groups, database)
        datasets = list(dict.fromkeys(group.dataset for group in groups))
        if len(datasets) > 1:
            raise NotFoundError(
                f"accuracy by time: expected cells of one dataset, found {', '.join(datasets)}; "
                f'take one with: select="dataset={datasets[0]}"'
            )
        axes = axes or new_axes()
        plot_accuracy_by_time(axes, groups, shown.varying, shown.comparisons.judging.main)
        return as_text(axes)


def heat_map(
    db: Target = None,
    *,
    metric: str = "test_accuracy",
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the mean of each group as a field: a row for each dataset and model, a column for each strategy.

    Args:
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        metric: A column of results that `--metric` takes, such as `test_macro_f1`.
        select: As `--select`; one or several.
        exclude: As `--exclude`.
        machine: Whose results; by default `BENCH_MACHINE`, else the machine of the last run.
        axes: What to draw on; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        UserError: There is no database, no such metric, or no completed cell that is asked for.
        StorageError: The database cannot be read.
    """
    with _shown(db, select, exclude, machine, metrics=(metric,)) as (shown, _):
        from benchmark.reporting.figures.groups.heat_map import plot_heat_map

        axes = axes or new_axes()
        plot_heat_map(axes, shown.comparisons.judging.main, shown.groups, shown.varying)
        axes.set_title(shown.comparisons.judging.main.title)
        return as_text(axes)


def effect_sizes(
    db: Target = None,
    *,
    metric: str = "test_accuracy",
    baseline: str | None = None,
    margin: float | str | None = None,
    matrix: str | None = None,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the differences that `bench report` judges as a forest plot: each with its 95 % interval and its verdict.

    Args:
        db: As of `heat_map`.
        metric: Likewise.
        baseline: As `--baseline`: the strategy to compare all others with.
        margin: As `--margin`: differences surely within it are `equivalent`; a number, or points such as `"0.5pp"`.
        matrix: As `--matrix`: the file that `[report]` is taken from.
        select: As of `heat_map`.
        exclude: Likewise.
        machine: Likewise.
        axes: Likewise.

    Returns:
        The axes.

    Raises:
        UserError: As of `heat_map`; or the report compares nothing.
        StorageError: The database cannot be read.
    """
    more = {"metrics": (metric,), "baseline": baseline, "margin": margin_named(margin), "matrix": matrix}
    with _shown(db, select, exclude, machine, **more) as (shown, _):
        from benchmark.reporting.figures.comparing_figures import judged_effects
        from benchmark.reporting.figures.drawing.text_fitting import legible
        from benchmark.reporting.figures.groups.effect_sizes import plot_effects

        what, effects = judged_effects(shown.comparisons, shown.varying)
        if not effects:
            raise NotFoundError(
                'effect sizes: expected differences that the report judges, found none; name one side with: baseline="…"'
            )
        axes = axes or new_axes()
        plot_effects(axes, shown.comparisons.judging.main, effects, legend=True)
        axes.set_title(legible(what))
        return as_text(axes)


def time_by_phase(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw where the time of the cells of each group went, as stacked bars; arguments and errors as of `heat_map`."""
    with _shown(db, select, exclude, machine) as (shown, database):
        from benchmark.reporting.figures.comparing_figures import mean_phases
        from benchmark.reporting.figures.groups.group_lines import labels_of
        from benchmark.reporting.figures.groups.time_by_phase import plot_phases

        groups = completed_of(shown.groups, database)
        phases = mean_phases(shown.epochs, groups, labels_of(groups, shown.varying))
        if not phases:
            raise NotFoundError("time by phase: expected cells with recorded epochs, found none")
        axes = axes or new_axes()
        plot_phases(axes, phases, legend=True)
        return as_text(axes)


def forecasts(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw what cells and runs took against what was expected of them; arguments and errors as of `heat_map`."""
    with _shown(db, select, exclude, machine) as (shown, database):
        from benchmark.cli.reports.past_forecasts import forecasts_of
        from benchmark.reporting.figures.groups.forecast_accuracy import plot_forecasts

        points = forecasts_of(shown, database)
        if not points:
            raise NotFoundError("forecasts: expected cells that were timed undisturbed, found none")
        axes = axes or new_axes()
        plot_forecasts(axes, points)
        return as_text(axes)


@contextmanager
def _shown(
    db: Target, select: Texts, exclude: Texts, machine: str | None, **more: Any
) -> Iterator[tuple[Shown, Database]]:
    """What the report shows that these arguments ask for, with at least one completed cell, ready to be drawn."""
    name = database_named(db)
    asked = {"select": listed(select), "exclude": listed(exclude), **more}
    with (
        damage_named(name),
        paused_collection(),
        opened_report(name, machine_named(machine), **asked) as (_, shown, database),
        drawing(),
    ):
        completed_of(shown.groups, database)
        yield shown, database
