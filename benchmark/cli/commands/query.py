"""`bench query SQL`: one reading statement."""

from __future__ import annotations

import sys

import click

from benchmark import units
from benchmark.cli.options import database_option, format_option, verb
from benchmark.cli.terminal import output

SCHEMA_COLUMNS = (output.Column("column"), output.Column("type", show=str.lower), output.Column("meaning"))


@verb(
    "query",
    'bench query "select model, strategy, seed, test_accuracy from results where is_latest = 1"',
    "bench query --schema",
    'bench query --format csv "select * from history" > history.csv',
)
@click.argument("sql", required=False)
@click.option("--schema", is_flag=True, help="Print the views and tables instead, with the meaning of every column.")
@database_option
@format_option()
@click.option(
    "--timeout",
    "limit_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this many seconds.",
)
@click.pass_context
def command(
    context: click.Context, sql: str | None, schema: bool, database: str, output_format: str, limit_seconds: float
) -> None:
    """Run one read-only SQL statement on the database.

    SQL is one statement that only reads; `-` reads it from standard input. Start with the views `results` (one row per
    execution of a cell) and `history` (one row per epoch); --schema describes all views and tables, and needs no
    database.
    """
    if schema:
        _print_schema(output_format)
        return
    if sql is None:
        raise click.UsageError("expected an SQL statement, or --schema, which describes the views and tables", context)
    from benchmark.results.read.user_query import read_only_query
    from benchmark.results.store.database import open_database

    statement = sys.stdin.read() if sql == "-" else sql
    with open_database(database, mode="read") as opened:
        names, rows = read_only_query(opened, statement, limit_seconds)
    # a number stands behind names that were there before: `count`, `count_2`
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    unique = [f"{name}_{count + 1}" if count else name for name, count in zip(names, earlier, strict=True)]
    records = [dict(zip(unique, row, strict=True)) for row in rows]
    known = {name: [record[name] for record in records if record[name] is not None] for name in unique}
    numeric = {name for name in unique if known[name] and all(isinstance(value, int | float) for value in known[name])}
    columns = [
        # a column that was asked for is shown, whatever stands in it
        output.Column(name, name, show=units.number, right=name in numeric, stays=not known[name])
        for name in unique
    ]
    output.write_rows(records, columns, output_format, empty="no rows")


def _print_schema(output_format: str) -> None:
    from benchmark.results.read.user_query import described_columns

    rows = described_columns()
    if output_format != "table":
        output.write_rows(rows, [output.Column(name) for name in rows[0]], output_format)
        return
    shown = [{**row, "under": f"{row['kind']} {row['table']}"} for row in rows]
    output.write_table(shown, SCHEMA_COLUMNS, under="under")
