"""Reports and comparisons as DataFrames: the same numbers and verdicts as those of `bench report` and `bench compare`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from benchmark.cli.options import damage_named
from benchmark.cli.reports.collector_pause import paused_collection
from benchmark.cli.reports.recorded_comparison import recorded_comparison
from benchmark.cli.reports.recorded_report import recorded_report, with_local_notes
from benchmark.errors import UserError
from benchmark.frames.arguments import Target, Texts, database_named, listed, machine_named
from benchmark.frames.column_types import fitting
from benchmark.matrix.report_spec import margin_of
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Advised, Qualified, Report, Row, Table
from benchmark.reporting.writers.csv_text import records
from benchmark.reporting.writers.formats import render
from benchmark.reporting.writers.html import fragment
from benchmark.reporting.writers.json_document import FIELDS

_OTHER_THAN_REAL = {
    "metric", "a_cells", "b_cells", "a_n", "b_n", "n", "comparisons", "method", "verdict", "remark",
}  # fmt: skip
"""Columns of a comparison that are texts and counts."""


class TableFrames(tuple[pd.DataFrame, ...]):
    """The tables of a report in order, also by name; of a name that several have, all in one, below each other."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """A table by its place or its name.

        Raises:
            KeyError: There is none of this name.
        """
        if not isinstance(key, str):
            return super().__getitem__(key)
        named = [frame for frame in self if frame.attrs["name"] == key]
        if not named:
            raise KeyError(f"{key}: expected one of {', '.join(dict.fromkeys(frame.attrs['name'] for frame in self))}")
        return named[0] if len(named) == 1 else pd.concat(named, ignore_index=True)


class ReportFrames(Mapping[str, pd.DataFrame]):
    """A report: its tables as DataFrames, by name; a notebook shows it as `bench report` would write it.

    Attributes:
        tables: All tables in order, each with `name`, `title`, `notes` and `footnotes` in its `attrs`.
        answer: What they come to, in at most three sentences.
        notes: What a reader must know to judge them.
        machine: Whose results these are.
        runs: The ids of the runs that they are of.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.tables = TableFrames(map(_table_frame, report.tables))
        self.answer, self.notes = report.answer, tuple(Advised.shown(report.notes))
        self.machine, self.runs = report.machine, report.runs

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The table of a name.

        Raises:
            KeyError: The report has none of this name.
        """
        frame: pd.DataFrame = self.tables[name]
        return frame

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(table.name for table in self._report.tables))

    def __len__(self) -> int:
        return len({table.name for table in self._report.tables})

    def __repr__(self) -> str:
        return render(self._report, "table")

    def _repr_html_(self) -> str:
        return fragment(self._report)


def report(
    db: Target = None,
    *,
    select: Texts = (),
    exclude: Texts = (),
    machine: str | None = None,
    tables: Texts = (),
    metrics: Texts = (),
    margin: float | str | None = None,
    baseline: str | None = None,
    last_run: bool = False,
    ensembles: bool = False,
    matrix: str | None = None,
    allow_plugins: bool = False,
) -> ReportFrames:
    """The report of `bench report`: `report()["summary"]` is a DataFrame.

    Args:
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        select: As `--select`; one or several.
        exclude: As `--exclude`.
        machine: Whose results; by default `BENCH_MACHINE`, else the machine of the last run.
        tables: As `--table`: only these, such as `"rankings"`.
        metrics: As `--metric`: columns of results that get verdicts.
        margin: As `--margin`: differences surely within it are `equivalent`; a number, or points such as `"0.5pp"`.
        baseline: As `--baseline`: the strategy to compare all others with.
        last_run: As `--last-run`.
        ensembles: As `--ensembles`.
        matrix: As `--matrix`: the file that `[report]` is taken from.
        allow_plugins: As `--allow-plugins`: let files with metrics of yours run.

    Raises:
        UserError: There is no database, or nothing in it that is asked for.
        StorageError: It cannot be read.
    """
    name = database_named(db)
    with damage_named(name), paused_collection():
        built = recorded_report(
            name, machine_named(machine), select=listed(select), exclude=listed(exclude), tables=listed(tables),
            metrics=listed(metrics), margin=margin_named(margin), baseline=baseline, last_run=last_run, ensembles=ensembles,
            matrix=matrix, allow_plugins=allow_plugins,
        )  # fmt: skip
        return ReportFrames(with_local_notes(built))


def compare(
    a: str,
    b: str,
    db: Target = None,
    *,
    machine: str | None = None,
    metrics: Texts = (),
    margin: float | str | None = None,
    allow_plugins: bool = False,
) -> pd.DataFrame:
    """The comparison of `bench compare A B`: a row for each metric and matched pair; differences are B minus A.

    Args:
        a: A selection, such as `strategy=scratch`.
        b: Another one, which is compared with it.
        db: Path or URL of the database; by default that of the command line: `BENCH_DB`, or `results.sqlite` here.
        machine: Whose results; by default `BENCH_MACHINE`, else the machine of A's newest result.
        metrics: As `--metric`: columns of results that get verdicts.
        margin: As `--margin`: differences surely within it are `equivalent`; a number, or points such as `"0.5pp"`.
        allow_plugins: As `--allow-plugins`.

    Returns:
        The columns of `bench compare --format json`: `metric a_cells b_cells`, the means `a` and `b` with `a_n`,
        `a_half_width` and so on, `difference`, all of its fields (`low high p adjusted_p …`), `verdict` and `remark`.
        `attrs` has `verdict` (over all pairs, in the metric that is judged first), `notes`, `machine` and `runs`.

    Raises:
        UserError: There is no database, a selection matches nothing, or nothing can be matched.
        StorageError: It cannot be read.
    """
    name = database_named(db)
    with damage_named(name), paused_collection():
        comparison = recorded_comparison(
            name, a, b, machine_named(machine),
            metrics=listed(metrics), margin=margin_named(margin), allow_plugins=allow_plugins,
        )  # fmt: skip
    (table,) = comparison.report.tables
    frame = _frame([_compared(row) for row in table.rows])
    # without a margin, say, nothing tells that it would be a number
    frame = frame.astype({name: "float64" for name in frame.columns if name not in _OTHER_THAN_REAL})
    shown = comparison.report
    frame.attrs = {
        "verdict": comparison.verdict,
        "answer": list(shown.answer),
        "notes": Advised.shown([*table.notes, *shown.notes]),
        "machine": shown.machine,
        "runs": list(shown.runs),
    }
    return frame


def margin_named(margin: float | str | None) -> float | None:
    """The margin that a call names; None where it names none.

    Raises:
        UserError: It is none.
    """
    known = None if margin is None else margin_of(str(margin))
    if margin is not None and known is None:
        raise UserError(
            f"margin: expected a number above 0 in the unit of the metric, or points such as 0.5pp, got {margin!r}"
        )
    return known


def _table_frame(table: Table) -> pd.DataFrame:
    """The columns of a table in CSV, without those that tell the tables of a file apart."""
    frame = _frame(
        [{key: value for key, value in each.items() if key not in {"table", "position"}} for each in records(table)]
    )
    frame.attrs = {
        "name": table.name,
        "title": table.title,
        "notes": Advised.shown(table.notes),
        "footnotes": list(table.footnotes),
    }
    return frame


def _compared(row: Row) -> dict[str, Any]:
    cells, difference = row.cells, row.cells["difference"]
    flat: dict[str, Any] = {name: cells[name] for name in ("metric", "a_cells", "b_cells")}
    for side in "ab":
        value = cells[side]
        measured = value if isinstance(value, Measurement) else None
        flat[side] = getattr(measured, "mean", None)
        flat |= {f"{side}_{name}": getattr(measured, name, None) for name in ("half_width", "low", "high", "sd", "n")}
    known = isinstance(difference, Difference)
    fields = [name for name in FIELDS[Difference] if name not in {"mean", "verdict", "remark"}]
    flat |= {name: getattr(difference, name) if known else None for name in fields}
    images = difference.over_images if isinstance(difference, Difference) else None
    flat |= {f"over_images_{name}": getattr(images, name, None) for name in ("low", "high")}
    verdict = cells["verdict"]
    return {**flat, "verdict": verdict.word if isinstance(verdict, Qualified) else verdict, "remark": row.remark}


def _frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: fitting(name, [row.get(name) for row in rows]) for name in names})
