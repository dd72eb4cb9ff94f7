"""`bench forget SELECTION…`: results that reports leave out from now on, and bring back with `--undo`."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli.cell_names import short_id
from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, verb
from benchmark.cli.terminal import output, streams, verbosity
from benchmark.cli.terminal.output import NAME_COLUMNS, Column
from benchmark.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from benchmark.results.store.database import Database

Row = Mapping[str, Any]

COLUMNS = (
    Column("cell_id", "cell", show=short_id, style="dim"),
    *NAME_COLUMNS,
    Column("machine"),
    Column("status"),
    Column("run_id", "run", right=True),
    Column("test_accuracy", show=units.fraction, right=True),
)
LISTED = 20
"""So many results are shown in a table; `--format json` and `csv` have all."""


@verb(
    "forget",
    "bench forget model=resnet18,seed=2",
    "bench forget run=1",
    "bench forget 459c8015 8c5eca15",
    "bench forget --undo run=1",
    "bench forget --undo",
)
@click.argument("selections", nargs=-1, metavar="[SELECTION…]", shell_complete=complete_selection)
@click.option("--undo", is_flag=True, help="Bring back the results that match, or all of them without a SELECTION.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation; without a terminal bench never asks.")
@database_option
@format_option()
def command(selections: tuple[str, ...], undo: bool, yes: bool, database: str, output_format: str) -> None:
    """Leave results out of reports from now on, such as those of a broken run, a wrong dataset or a fixed bug.

    SELECTION is a selection such as model=resnet18,seed=2 or run=1, or the beginning of a cell's id. Results that match
    are left out of `bench report` with its figures, `compare`, `diff` and `judge`, whose notes count them. Results that
    are recorded later count, and if an earlier result of a cell does not match, that one is shown.

    Nothing is deleted: all rows stay, with `results.forgotten` = 1, and --undo brings them back. `bench run`, `plan`,
    `why` and `status` ignore this, so a forgotten cell is not trained again; `bench run --rerun` does that.
    """
    from benchmark.results.store.database import open_database

    if not selections and not undo:
        raise click.UsageError("expected a SELECTION, such as model=resnet18,seed=2, or the beginning of a cell's id")
    with open_database(database, mode="read") as opened:
        matching = _matching(opened, selections)
    changed = [row for row in matching if bool(row["forgotten"]) == undo]
    if not changed:
        _print(changed, output_format)
        verbosity.inform(_nothing_to_do(matching if selections else (), undo=undo))
        return
    asks = not yes and not undo and sys.stdin.isatty()
    if asks:
        _print(changed, output_format)
        if not _agreed(changed):
            verbosity.inform("nothing was changed")
            return
    _mark(database, changed, undo=undo)
    if not asks:
        _print(changed, output_format)
    if undo:
        verbosity.inform(f"{_counted(changed)} {'counts' if len(changed) == 1 else 'count'} again")
    else:
        back = shlex.join(["bench", "forget", "--undo", *selections, *_typed_database(database)])
        verbosity.inform(f"left out of reports from now on: {_counted(changed)}; to bring back: {back}")


def _print(rows: Sequence[Row], output_format: str) -> None:
    shown = [{name: row[name] for name in (*(column.key for column in COLUMNS), "execution_id")} for row in rows]
    if output_format != "table":
        output.write_rows(shown, COLUMNS, output_format)
    elif shown:
        output.write_table(shown[:LISTED], COLUMNS)
    if output_format == "table" and len(shown) > LISTED:
        output.write_line(f"and {len(shown) - LISTED:,} more, in --format json and csv")


def _typed_database(database: str) -> list[str]:
    """`--db` as it was typed, for a command that is quoted."""
    source = click.get_current_context().get_parameter_source("database")
    return ["--db", database] if source is click.core.ParameterSource.COMMANDLINE else []


def _matching(opened: Database, selections: Sequence[str]) -> list[dict[str, Any]]:
    """The executions that any selection means; without a selection all. Oldest first.

    Raises:
        NotFoundError: A selection matches nothing.
        UserError: The beginning of an id is too short, or of several.
    """
    from benchmark.cli.cell_lookup import selected_results
    from benchmark.results.read.queries import cell_detail, results

    if not selections:
        return results(opened)
    rows: dict[int, dict[str, Any]] = {}
    for text in selections:
        if "=" in text:
            matching = selected_results(opened, [text])
        else:
            try:
                matching = results(opened, cell_id=cell_detail(opened, text).cell["cell_id"])
            except UserError as error:
                raise _explained(error, text, results(opened)) from error
        if not matching:
            raise NotFoundError(f"forget {text!r}: no result is recorded that it matches; see: bench list cells")
        rows.update({row["execution_id"]: row for row in matching})
    return [rows[number] for number in sorted(rows)]


def _explained(error: UserError, text: str, rows: Sequence[Row]) -> UserError:
    """What a word that is no id may have meant: a dataset, a model or a strategy, or the id that is nearest."""
    from benchmark.matrix.selection import NAME_KEYS

    words = {str(row[key]): f"{key}={row[key]}" for key in NAME_KEYS for row in rows}
    words |= {short_id(row["cell_id"]): short_id(row["cell_id"]) for row in rows}
    near = difflib.get_close_matches(text, words, n=3, cutoff=0.6)
    meant = " or ".join(words[each] for each in near)
    return type(error)(f"{error}; did you mean {meant}?") if near else error


def _nothing_to_do(matching: Sequence[Row], *, undo: bool) -> str:
    if not undo:
        return f"{_counted(matching)} {'is' if len(matching) == 1 else 'are'} forgotten already"
    return "nothing that matches is forgotten" if matching else "nothing is forgotten"


def _counted(rows: Iterable[Row]) -> str:
    """`3 results of 2 cells`."""
    rows = list(rows)
    cells = {(row["cell_id"], row["machine"]) for row in rows}
    return f"{units.plural(len(rows), 'result')} of {units.plural(len(cells), 'cell')}"


def _agreed(rows: Sequence[Row]) -> bool:
    streams.say(f"Leave {_counted(rows)} out of reports from now on? Nothing is deleted. [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _mark(database: str, rows: Sequence[Row], *, undo: bool) -> None:
    from benchmark.results.store.database import open_database
    from benchmark.results.store.lock import lock_database
    from benchmark.results.write.forgetting import mark_forgotten

    with lock_database(database), open_database(database, mode="write") as opened:
        mark_forgotten(opened, (row["execution_id"] for row in rows), forgotten=not undo)
