"""The views `results`, `history` and `predictions` as DataFrames."""

from __future__ import annotations

import pandas as pd

from benchmark.frames.asked import Asked, Target, Texts, opened
from benchmark.frames.column_types import as_type, fitting, type_of
from benchmark.matrix.settings import SETTINGS, cell_settings
from benchmark.reporting.rows.latest import cell_of
from benchmark.results.read import queries
from benchmark.results.read.view_rows import view_rows, view_types
from benchmark.results.store.database import Database


def results(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    latest: bool = False,
    settings: bool = False,
) -> pd.DataFrame:
    """The view `results`: a row for each execution of a cell, oldest first.

    Only rows of one machine with `is_latest` may be averaged, over their seeds: `latest=True` and `machine=` leave others out.

    Args:
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        select: As `--select`: `"model=resnet*,seed=0"`, or several of these, of which any may match.
        exclude: Likewise, as `--exclude`.
        machine: The results of this machine alone.
        latest: Only the execution of each cell and machine that reports count: the newest, unless it is forgotten, or still
            goes on where an earlier one is complete.
        settings: Add a column for every other setting of the cells; one that stages differ in is a list.

    Returns:
        The columns of the view: names are categories, flags `bool` or `boolean`, times in UTC.

    Raises:
        UserError: There is no database, or nothing in it that is asked for.
        StorageError: It cannot be read.
    """
    with opened(db) as database:
        frame = _frame(database, "results", Asked(select, exclude, machine, latest))
        return _with_settings(frame, database) if settings else frame


def history(
    db: Target = None, *, select: Texts = (), exclude: Texts = (), machine: str | None = None, latest: bool = False
) -> pd.DataFrame:
    """The view `history`: a row for each epoch of an execution; arguments and errors as of `results`."""
    with opened(db) as database:
        return _frame(database, "history", Asked(select, exclude, machine, latest))


def predictions(
    db: Target = None, *, select: Texts = (), exclude: Texts = (), machine: str | None = None, latest: bool = False
) -> pd.DataFrame:
    """The view `predictions`: a row for each image, of `split` test or validation; arguments and errors as of `results`."""
    with opened(db) as database:
        return _frame(database, "predictions", Asked(select, exclude, machine, latest))


def _frame(database: Database, view: str, asked: Asked) -> pd.DataFrame:
    types = {name: type_of(name, kind) for name, kind in view_types(view).items()}
    # what looks at all values of a column at once waits until all are there
    early = {name: "object" if kind in {"category", "datetime64[ns, UTC]"} else kind for name, kind in types.items()}
    parts = [
        pd.DataFrame(
            {name: as_type(values, early[name]) for name, values in zip(types, zip(*rows, strict=True), strict=True)}
        )
        for rows in view_rows(database, view, asked.executions(database))
        if rows
    ]
    whole = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({name: as_type((), early[name]) for name in types})
    )
    for name, kind in types.items():
        if kind != early[name]:
            whole[name] = as_type(whole[name], kind)
    return whole


def _with_settings(frame: pd.DataFrame, database: Database) -> pd.DataFrame:
    ids = frame["cell_id"].tolist()
    specs = queries.cell_specs(database)
    known = {cell_id: cell_settings(cell_of({"cell_id": cell_id, "spec": specs[cell_id]})) for cell_id in set(ids)}
    more = [name for name in (*SETTINGS, "weights") if name not in frame.columns]
    columns = {name: fitting(name, [known[cell_id].get(name) for cell_id in ids]) for name in more}
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)
