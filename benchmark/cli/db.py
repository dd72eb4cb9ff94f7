"""`bench db check|upgrade|backup`: looks after the database."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from benchmark.cli import output, streams
from benchmark.cli.group import SuggestingGroup
from benchmark.cli.options import CONTEXT, common_options, database_option, format_option


@click.group("db", cls=SuggestingGroup, context_settings=CONTEXT)
def command() -> None:
    """Look after the database: check it, upgrade it, back it up."""


@command.command("check", context_settings=CONTEXT)
@database_option
@format_option()
@common_options
def check(database: str, output_format: str) -> int:
    """Check the database against damage: structure, references, digests of results, files of artifacts.

    Ends with 4 when something is wrong. Nothing is changed.
    """
    from benchmark.results.database import artifacts_root, open_database
    from benchmark.results.verification import check_database

    with open_database(database, mode="read") as opened:
        findings = check_database(opened, artifacts_root(database))
    rows = [asdict(finding) for finding in findings]
    if rows or output_format != "table":
        output.write_rows(rows, [output.Column(key) for key in (rows[0] if rows else {})], output_format)
    else:
        streams.out().print("good: nothing wrong was found")
    return 4 if rows else 0


@command.command("upgrade", context_settings=CONTEXT)
@database_option
@common_options
def upgrade(database: str) -> None:
    """Bring an older database to this version's schema; a backup is left beside it."""
    from benchmark.results.database import upgrade_database

    done = upgrade_database(database)
    if done.old == done.new:
        streams.say(f"schema version {done.new} is the newest; nothing to do")
    else:
        saved = f"; backup: {done.backup}" if done.backup else ""
        streams.say(f"upgraded from schema version {done.old} to {done.new}{saved}")


@command.command("backup", context_settings=CONTEXT)
@click.argument("target", type=click.Path(path_type=Path))
@database_option
@common_options
def backup(target: Path, database: str) -> None:
    """Copy the database to TARGET, also while a run writes; a file that exists is not overwritten."""
    from benchmark.results.database import backup as copy
    from benchmark.results.database import open_database

    with open_database(database, mode="read") as opened:
        written = copy(opened, target)
    streams.say(f"wrote {written}")
