"""`bench db check|upgrade|backup|salvage|merge|export`: looks after the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark import layout, units
from benchmark.cli.options import CONTEXT, damage_named, database_option, format_option, selection_options, verb
from benchmark.cli.terminal import output, streams, verbosity
from benchmark.cli.terminal.output import Column
from benchmark.cli.verb_group import SuggestingGroup
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.results.care.merge import Merge

SAVED_COLUMNS = (
    Column("table"),
    Column("saved", "rows saved", right=True),
    Column("rebuilt", right=True),
    Column("lost", "known to be lost", right=True),
    Column("which"),
)

EXPORTED_TO = ("parquet", "csv", "json", "tensorboard", "mlflow")


@click.group("db", cls=SuggestingGroup, context_settings=CONTEXT)
def command() -> None:
    """Maintain the database: check it, upgrade it, back it up, salvage a damaged one, merge several, export it."""


@verb("check", group=command)
@database_option
@format_option()
def check(database: str, output_format: str) -> int:
    """Check the database for damage: structure, references, digests of results, files of artifacts.

    The exit code is 4 if something is wrong. Nothing is changed.
    """
    from benchmark.results.artifacts.artifact_place import place_of
    from benchmark.results.care.check import check_database
    from benchmark.results.store.database import open_database
    from benchmark.results.store.location import locate
    from benchmark.results.store.reference import is_reference

    # they come without their artifacts, which is no damage
    reference = is_reference(locate(database).path)
    with open_database(database, mode="read") as opened:
        place = place_of(database)
        findings = check_database(opened, None) if reference else check_database(opened, place.root, place.store)
    if reference:
        verbosity.inform(f"note: {database} holds the reference results, which come without their files of artifacts")
    rows = [asdict(finding) for finding in findings]
    if rows or output_format != "table":
        output.write_rows(rows, [output.Column(key) for key in (rows[0] if rows else {})], output_format)
    else:
        output.write_line("OK: no damage was found")
    return 4 if rows else 0


@verb("upgrade", group=command)
@database_option
def upgrade(database: str) -> None:
    """Upgrade an older database to the schema of this version; a backup is left beside it.

    Missing test metrics are computed from its stored predictions.
    """
    from benchmark.results.store.upgrade import upgrade_database
    from benchmark.results.write.stored_metrics import fill_database

    done = upgrade_database(database)
    filled = fill_database(database)
    if done.old == done.new and not filled:
        streams.say(f"schema version {done.new} is the newest; nothing to do")
    elif done.old != done.new:
        saved = f"; backup: {done.backup}" if done.backup else ""
        streams.say(f"upgraded from schema version {done.old} to {done.new}{saved}")
    if filled:
        streams.say(f"computed the missing test metrics of {units.plural(filled, 'execution')} from stored predictions")


@verb("backup", group=command)
@click.argument("target", type=click.Path(path_type=Path))
@database_option
def backup(target: Path, database: str) -> None:
    """Copy the database to TARGET, even while a run writes to it; a file that exists is not overwritten."""
    from benchmark.results.store.backup import backup as copy
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        written = copy(opened, target)
    streams.say(f"wrote {written}")


@verb("salvage", "bench db salvage results.sqlite rescued.sqlite", group=command)
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@format_option()
def salvage(source: str, target: str, output_format: str) -> None:
    """Write all that can still be read of a damaged database SOURCE to a new one, TARGET.

    SOURCE is not changed, and nothing is ever overwritten. Rows are read by the `.recover` command of the sqlite3 shell
    if one that has it is installed, otherwise from the pages of the file. Missing rows that others refer to are rebuilt
    where the others say enough. What is known to be lost is listed.
    """
    from benchmark.results.care.salvage import salvage as save

    saved = save(source, target)
    output.write_rows([asdict(table) for table in saved.tables], SAVED_COLUMNS, output_format)
    damage = f"{units.plural(saved.bad_pages, 'page')} and {units.plural(saved.bad_rows, 'row')} could not be read"
    how = "by sqlite3 .recover" if saved.by_shell else "from its pages"
    verbosity.inform(f"wrote {target}, read {how}: " + ("nothing was lost" if saved.complete else damage))
    verbosity.inform(
        f"  bench db check --db {target}   says which results have changed\n"
        f"  to continue with it, move it to {source}: its artifacts are found by that name"
    )


@verb(
    "merge",
    "bench db merge all.sqlite laptop.sqlite server/results.sqlite",
    "bench db merge laptop.sqlite --db all.sqlite",
    group=command,
)
@click.argument("databases", type=click.Path(), nargs=-1, required=True, metavar="[TARGET] SOURCES...")
@click.option("--db", "target", metavar="PATH|URL", help="TARGET, if it is not the first argument.")
@format_option()
def merge(databases: Sequence[str], target: str | None, output_format: str) -> None:
    """Add to the database TARGET what the databases SOURCES hold, such as the results of other machines.

    Each is a path or a URL. TARGET is created if it does not exist; SOURCES are not changed. What was merged before is
    not added again, and an execution that has continued since then replaces its earlier state. Artifacts are copied if
    their files lie beside their database.
    """
    if target is None:
        target, *databases = databases
    if not databases:
        raise UserError(
            "db merge: expected the database to merge into and one or more to merge, got one. Name both, or the first "
            "with --db"
        )
    _merge(target, databases, output_format)


def _merge(target: str, sources: Sequence[str], output_format: str) -> None:
    from benchmark.results.artifacts.artifact_place import place_of
    from benchmark.results.care.check import require_sound
    from benchmark.results.care.merge import merge as add
    from benchmark.results.store.database import open_database
    from benchmark.results.store.location import locate
    from benchmark.results.store.lock import lock_database

    rows = []
    with lock_database(target), open_database(target, mode="write") as destination:
        for source in sources:
            if locate(source) == locate(target) or locate(source).path == destination.path is not None:
                raise UserError(f"{source}: expected another database than the one it is merged into")
            with damage_named(source), open_database(source, mode="read") as opened:
                require_sound(opened)
                place = place_of(source)
                done = add(destination, opened, layout.artifacts_folder(destination.path), place.root, place.url)
            rows.append({"source": opened.display_name, **done.added, "renewed": done.renewed, "files": done.files})
            _note_left_out(opened.display_name, done)
    output.write_rows(rows, [Column(key, right=key != "source") for key in rows[0]], output_format)


def _note_left_out(source: str, done: Merge) -> None:
    if done.missing:
        streams.say(
            f"note: {source}: {units.plural(done.missing, 'artifact')} left out, whose files do not lie beside it as "
            "recorded; put them there and merge again"
        )
    if done.unfinished:
        streams.say(f"note: {source}: {units.plural(done.unfinished, 'run')} had not ended; merge again later")
    if done.doubled:
        streams.say(
            f"note: {source}: {units.plural(done.doubled, 'execution')} of cells that the same machine has results of "
            "here too; the ones merged now count as the newest"
        )


@verb(
    "export",
    "bench db export exported --format json",
    "bench db export tables --to parquet --latest --select model=simple_cnn",
    group=command,
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    type=click.Choice(EXPORTED_TO),
    help="Write typed tables, or files for an experiment tracker, to a new FOLDER; nothing is ever replaced.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(("csv", "json")),
    help="Write text files to FOLDER, replacing those of an earlier export.  [default: csv]",
)
@click.option("--predictions", is_flag=True, help="Also export the view `predictions`, one row per image.")
@click.option("--latest", is_flag=True, help="Export only the execution of each cell and machine that reports use.")
@click.option("--machine", metavar="NAME", help="Only executions on this machine.  [default: all]")
@selection_options
@database_option
def export(folder: Path, database: str, target: str | None, output_format: str | None, **asked: Any) -> None:
    """Write executions and their epochs to files in FOLDER, for other programs to read.

    As CSV or JSON: the views `results` and `history` and all cells. As Parquet: the views, with the types of their
    columns. For TensorBoard: a folder of events for each execution. For MLflow: a store `mlflow.db` with a run for each
    execution; see it with: mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db

    With --to, FOLDER appears when everything is written, or not at all. Files of --format appear one by one, each whole
    or not at all.
    """
    from benchmark.cli.exporting import Wanted, refresh_files, write_folder

    if target and output_format:
        raise UserError("--to and --format: expected one of them; --to csv and --to json write a new folder")
    wanted = Wanted(**asked)
    if target:
        write_folder(folder, database, target, wanted)
    else:
        refresh_files(folder, database, output_format or "csv", wanted)
