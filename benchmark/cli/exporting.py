"""`bench db export`: which executions are written, in what form, and where."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import layout, units
from benchmark.cli.cell_lookup import selected_results
from benchmark.cli.terminal import output, verbosity
from benchmark.errors import StorageError, UserError
from benchmark.files import appearing_folder, make_own_folder
from benchmark.reporting.rows.forgotten import remember
from benchmark.results.export.exported_tables import exported
from benchmark.results.export.mlflow_store import write_store
from benchmark.results.export.parquet_files import write_parquet
from benchmark.results.export.recorded_runs import recorded_runs
from benchmark.results.export.tensorboard_events import write_events
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import Database, open_database

TEXT_FILES = ("csv", "json")
PACKAGES = {
    "parquet": ("pyarrow", "pyarrow"),
    "tensorboard": ("tensorboard", "'benchmark-matrix[tensorboard]'"),
    "mlflow": ("mlflow", "'benchmark-matrix[mlflow]'"),
}
"""The package that each format is written with, and what to give to `pip install`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which executions are exported, and whether with their predictions; all without any of these."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    machine: str | None = None
    latest: bool = False
    predictions: bool = False

    def rows(self, database: Database) -> list[dict[str, Any]]:
        """The results that are asked for, each with its cell in `spec`.

        Raises:
            UserError: There are results, but none that match; or an expression is wrong.
        """
        rows = selected_results(database, self.select, self.exclude, machine=self.machine)
        # reports give a row the timings of another execution where its own do not count; here it keeps them
        counted = {row["execution_id"] for row in remember(rows).latest} if self.latest else None
        return rows if counted is None else [row for row in rows if row["execution_id"] in counted]

    def chosen(self, database: Database) -> dict[int, str] | None:
        """The ids of these executions and their cells; None where everything is asked for."""
        if not (self.select or self.exclude or self.machine or self.latest):
            return None
        return {row["execution_id"]: row["cell_id"] for row in self.rows(database)}


def refresh_files(folder: Path, database: str, output_format: str, wanted: Wanted) -> None:
    """Write the views and the cells as CSV or JSON into a folder, in the place of files of an earlier export.

    Raises:
        StorageError: The folder cannot be written, or the database not be read.
        UserError: Nothing in the database matches.
    """
    try:
        with open_database(database, mode="read") as opened:
            chosen = wanted.chosen(opened)
            make_own_folder(folder)
            for name in _write_texts(folder, opened, output_format, chosen, predictions=wanted.predictions):
                verbosity.inform(f"wrote {folder / name}")
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_folder(folder: Path, database: str, target: str, wanted: Wanted) -> None:
    """Write a new folder of Parquet, CSV or JSON files, for TensorBoard or for MLflow, which appears whole or not at all.

    Raises:
        StorageError: The folder cannot be written, or the database not be read.
        UserError: Something is there already, a package is missing, or nothing in the database matches.
    """
    _require_package(target)
    if wanted.predictions and target not in {"parquet", *TEXT_FILES}:
        raise UserError(f"--predictions: expected --to parquet, csv or json, got {target}, which has no rows of images")
    # `.` has no name to write aside by
    home = folder if folder.is_symlink() else folder.resolve()
    try:
        with open_database(database, mode="read") as opened, appearing_folder(home) as aside:
            names = _write(aside, home, opened, target, wanted)
    except FileExistsError as error:
        kind = "a folder that is not empty" if home.is_dir() and not home.is_symlink() else "a file"
        raise UserError(f"{folder}: expected a path that does not exist, found {kind}. Give another path") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    except ImportError as error:
        package, install = PACKAGES.get(target, ("Python", "benchmark-matrix"))
        raise UserError(
            f"--to {target}: {package} cannot be imported here ({error!s:.200}); pip install --upgrade {install}"
        ) from error
    if target == "tensorboard":
        verbosity.inform(f"wrote {units.plural(len(names), 'folder')} to {folder}\n  tensorboard --logdir {folder}")
    else:
        for name in names:
            verbosity.inform(f"wrote {folder / name}")
    if target == "mlflow":
        verbosity.inform(f"  mlflow ui --backend-store-uri sqlite:///{folder / layout.MLFLOW_STORE}")


def _require_package(target: str) -> None:
    package, install = PACKAGES.get(target, ("", ""))
    try:
        if not package or importlib.util.find_spec(package) is not None:
            return
    except ImportError:
        # what finds modules may refuse this one
        pass
    raise UserError(f"--to {target}: {package} is not installed here; pip install {install}")


def _write(aside: Path, home: Path, database: Database, target: str, wanted: Wanted) -> list[str]:
    """Write all files to the folder aside; returns the names of what stands in it."""
    if target in TEXT_FILES:
        chosen = wanted.chosen(database)
        return list(_write_texts(aside, database, target, chosen, predictions=wanted.predictions))
    if target == "parquet":
        tables = exported(database, wanted.chosen(database), predictions=wanted.predictions)
        views = {f"{name}.parquet": (name, rows) for name, (_, rows) in tables.items() if name != "cells"}
        for name, (view, rows) in views.items():
            write_parquet(aside / name, view, rows())
        return list(views)
    runs = recorded_runs(database, wanted.rows(database), all_runs(database))
    if target == "tensorboard":
        return [write_events(aside, run).name for run in runs]
    write_store(aside, runs, home)
    return [layout.MLFLOW_STORE]


def _write_texts(
    folder: Path, database: Database, ending: str, chosen: dict[int, str] | None, *, predictions: bool
) -> Iterator[str]:
    for name, (columns, rows) in exported(database, chosen, predictions=predictions).items():
        output.save_rows(folder / f"{name}.{ending}", columns, rows(), ending)
        yield f"{name}.{ending}"


def _unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{error.filename or folder}: cannot be written: {error.strerror}. Give another folder, or make room"
    )
