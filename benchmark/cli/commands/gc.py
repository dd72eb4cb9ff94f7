"""`bench gc`: shows, and deletes when asked, the files that nothing needs any more."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import click

from benchmark import faults, units
from benchmark.cli.options import database_option, format_option, verb
from benchmark.cli.terminal import output, verbosity
from benchmark.cli.terminal.output import Column
from benchmark.errors import StorageError

COLUMNS = (Column("kind"), Column("path"), Column("size_bytes", "size", show=units.size, right=True))


@verb("gc", "bench gc", "bench gc --delete --caches")
@database_option
@click.option(
    "--delete/--dry-run", "delete", default=False, show_default=True, help="Delete the files, or only show them."
)
@click.option("--caches", is_flag=True, help="Include the caches of all databases, which are rebuilt when needed.")
@format_option()
def command(database: str, delete: bool, caches: bool, output_format: str) -> None:
    """Show the files that are no longer needed, with their sizes; --delete deletes them.

    These are files of attempts that a merge has replaced, states of cells that will not be resumed, and half-written
    files. Files that are registered in the database, logs, and whatever bench did not create are never touched. If a
    later state of the database, or another database, has used the folder too, nothing is deleted (exit code 2). Caches
    are shared by all databases: while any command uses them, nothing is deleted (75).
    """
    from benchmark.catalog.cache import default_cache_root
    from benchmark.catalog.cache_lock import unused_caches
    from benchmark.results.artifacts.artifact_place import place_of
    from benchmark.results.artifacts.artifact_store import store_of
    from benchmark.results.care.garbage import cache_garbage, find_garbage
    from benchmark.results.care.stored_garbage import find_stored_garbage
    from benchmark.results.store.database import open_database
    from benchmark.results.store.lock import lock_database

    with contextlib.ExitStack() as held:
        if delete:
            held.enter_context(lock_database(database))
        if delete and caches:
            held.enter_context(unused_caches(default_cache_root()))
        place = place_of(database)
        with open_database(database, mode="read") as opened:
            store = place.store
            garbage = find_garbage(opened, place.root) if store is None else find_stored_garbage(opened, store)
        if caches:
            garbage = [*garbage, *cache_garbage(default_cache_root())]
        if delete:
            for item in garbage:
                if item.url is not None:
                    store_of(item.url).remove([item.path.as_posix()])
                else:
                    _delete(item.path, is_orphan=item.kind == "orphan")
    rows = [{"kind": item.kind, "path": item.shown, "size_bytes": item.size_bytes} for item in garbage]
    if rows or output_format != "table":
        output.write_rows(rows, COLUMNS, output_format)
    total = f"{units.plural(len(garbage), 'item')}, {units.size(sum(item.size_bytes for item in garbage))}"
    if not garbage:
        verbosity.inform("nothing to delete")
    elif delete:
        verbosity.inform(f"deleted {total}")
    else:
        verbosity.inform(f"{total}; nothing was deleted. `bench gc --delete{' --caches' if caches else ''}` does it")


def _delete(path: Path, *, is_orphan: bool) -> None:
    faults.point("delete")
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        cure = "Change its permissions, and run again"
        raise StorageError(f"{error.filename or path}: cannot be deleted: {error.strerror}. {cure}") from error
    if is_orphan:
        # the folder of a cell of which nothing is left
        with contextlib.suppress(OSError):
            path.parent.rmdir()
