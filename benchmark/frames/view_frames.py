"""The views `results`, `history` and `predictions` as DataFrames."""

from __future__ import annotations

import pandas as pd

from benchmark.frames.arguments import Selected, Target, Texts, opened
from benchmark.frames.column_types import as_type, fitting, type_of
from benchmark.frames.report_groups import named_groups
from benchmark.matrix.settings import SETTINGS, cell_settings
from benchmark.reporting.rows.latest import cell_of
from benchmark.results.read import queries
from benchmark.results.read.view_rows import class_names_of, view_rows, view_types
from benchmark.results.store.database import Database


def results(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    latest: bool = False,
    settings: bool = False,
    groups: bool = False,
) -> pd.DataFrame:
    """The view `results`: a row for each execution of a cell, oldest first.

    Only what differs in nothing but the seed may be averaged, and of each cell one execution: that is what `group` names.

    Args:
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        select: As `--select`: `"model=resnet*,seed=0"`, or several of these, of which any may match.
        exclude: Likewise, as `--exclude`.
        machine: The results of this machine alone.
        latest: Only the execution of each cell and machine that reports count: the newest, unless it is forgotten, or still
            goes on where an earlier one is complete.
        settings: Add a column for every other setting of the cells; one that stages differ in is a list.
        groups: Add the column `group`: the row of the report that the execution is part of, by its names and the settings that
            vary. It is missing where reports do not count the execution: not completed, forgotten, or not the latest.

    Returns:
        The columns of the view: names are categories, flags `bool` or `boolean`, times in UTC.

    Raises:
        UserError: There is no database, or nothing in it that is asked for.
        StorageError: It cannot be read.
    """
    with opened(db) as database:
        frame = _frame(database, "results", Selected(select, exclude, machine, latest))
        frame = _with_settings(frame, database) if settings else frame
        return _with_groups(frame, database) if groups else frame


def history(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    latest: bool = False,
    groups: bool = False,
) -> pd.DataFrame:
    """The view `history`: a row for each epoch of an execution; arguments and errors as of `results`."""
    with opened(db) as database:
        frame = _frame(database, "history", Selected(select, exclude, machine, latest))
        return _with_groups(frame, database) if groups else frame


def predictions(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    latest: bool = False,
    groups: bool = False,
    class_names: bool = False,
) -> pd.DataFrame:
    """The view `predictions`: a row for each image, of `split` test or validation; arguments and errors as of `results`.

    `class_names=True` adds `label_name` and `predicted_name`: the names of the classes that the view numbers.
    """
    with opened(db) as database:
        frame = _frame(database, "predictions", Selected(select, exclude, machine, latest))
        frame = _with_class_names(frame, database) if class_names else frame
        return _with_groups(frame, database) if groups else frame


def _frame(database: Database, view: str, selected: Selected) -> pd.DataFrame:
    types = {name: type_of(name, kind) for name, kind in view_types(view).items()}
    # what looks at all values of a column at once waits until all are there
    early = {name: "object" if kind in {"category", "datetime64[ns, UTC]"} else kind for name, kind in types.items()}
    parts = [
        pd.DataFrame(
            {name: as_type(values, early[name]) for name, values in zip(types, zip(*rows, strict=True), strict=True)}
        )
        for rows in view_rows(database, view, selected.executions(database))
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


def _with_groups(frame: pd.DataFrame, database: Database) -> pd.DataFrame:
    known = named_groups(database, frame["execution_id"].unique().tolist())
    # none that no row is of
    categories = pd.Index(list(dict.fromkeys(known.values())), dtype="string")
    values = pd.Categorical(frame["execution_id"].map(known), dtype=pd.CategoricalDtype(categories))
    return frame.assign(group=values)


def _with_class_names(frame: pd.DataFrame, database: Database) -> pd.DataFrame:
    known = class_names_of(database, frame["execution_id"].unique().tolist())
    columns = {f"{name}_name": pd.Series(None, index=frame.index, dtype="object") for name in ("label", "predicted")}
    for names in {*known.values()}:
        rows = frame["execution_id"].isin([number for number, each in known.items() if each == names])
        for name, column in columns.items():
            column[rows] = frame[name.removesuffix("_name")][rows].map(dict(enumerate(names)))
    return frame.assign(**{name: as_type(column, "category") for name, column in columns.items()})
