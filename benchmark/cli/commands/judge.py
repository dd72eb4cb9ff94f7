"""`bench judge A B --campaign NAME`: the referee of a search, with one error budget for all its ideas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.reports.judging_options import allow_metrics_option, margin_option
from benchmark.cli.terminal.output import write_json_line, write_line
from benchmark.text import one_line


@verb(
    "judge",
    "bench judge strategy=v2 strategy=v3 --campaign augmentation",
    "bench judge strategy=v2 strategy=v4 --campaign augmentation --margin 0.5pp --format json",
)
@click.argument("a", shell_complete=complete_selection)
@click.argument("b", shell_complete=complete_selection)
@click.option("--campaign", required=True, metavar="NAME", help="The search whose error budget the verdict spends.")
@database_option
@machine_option("that of A's newest result")
@margin_option
@click.option(
    "--open-lockbox",
    is_flag=True,
    help="Judge by the images that `lockbox` set apart; once per campaign, at its end.",
)
@allow_metrics_option
@click.option("--wait", is_flag=True, help="Wait while a run uses the database, instead of exiting with 75.")
@format_option("table", "json")
def command(
    a: str,
    b: str,
    campaign: str,
    database: str,
    machine: str | None,
    margin: float | None,
    open_lockbox: bool,
    allow_plugins: bool,
    wait: bool,
    output_format: str,
) -> int:
    """Judge whether selection B is better than selection A, as one idea of a campaign.

    The probability that any verdict of a campaign is false is at most 5 %, however many ideas it has: each verdict
    spends part of this budget, a little less than the one before. The same results are judged only once; asking again
    gives the recorded answer and spends nothing. More seeds make a new look.

    The first metric of `[report]` decides, or else test accuracy. It may be a metric of your own (with --allow-plugins,
    unless its file is trusted permanently).

    The exit code is 0 if B is better, 10 if it is worse or equivalent, 11 if that is not resolved, and 12 if the two
    cannot be compared. `--format json` prints one line.

    `lockbox = 0.2` in `[dataset.NAME]` sets a fifth of the test images apart: they count in no score until
    --open-lockbox compares the two on them. That is recorded; opening it again gives the recorded answer.
    """
    from benchmark.cli.reports.campaign import judged, lockbox_opened
    from benchmark.reporting.comparing.referee import EXIT_CODES
    from benchmark.results.store.database import open_database
    from benchmark.results.store.lock import lock_database

    if not campaign.strip():
        raise click.BadParameter("expected a name", param_hint="--campaign")
    # there must be results before a lock file is made
    open_database(database, mode="read").close()
    with lock_database(database, wait=wait), open_database(database, mode="write") as opened:
        ask = lockbox_opened if open_lockbox else judged
        answer = ask(opened, a, b, campaign, machine, margin, allow_plugins=allow_plugins)
    _print(answer, output_format)
    return EXIT_CODES[answer["verdict"]]


def _print(answer: Mapping[str, Any], output_format: str) -> None:
    if output_format == "json":
        write_json_line(answer)
        return
    recorded = f" (recorded {answer['looked_utc']}; nothing is spent)" if answer["recorded"] else ""
    difference = "" if answer["difference"] is None else f"B - A = {answer['difference']:+.4f}"
    ends = "" if answer["low"] is None else f" ({answer['low']:+.4f} to {answer['high']:+.4f})"
    write_line(f"{answer['verdict']}{recorded}: {difference}{ends}, n = {answer['n']}", style="bold")
    for reason in answer["reasons"]:
        write_line(one_line(f"  {reason}"))
    write_line(f"  campaign {answer['campaign']}: {answer['spent']:.3g} of 0.05 spent, look {answer['look']}")
