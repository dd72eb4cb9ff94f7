"""The summary at the end of a run, on stderr: counts, failures, and what to type next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark import layout, units
from benchmark.cli.cell_names import short_id
from benchmark.cli.terminal import streams, verbosity
from benchmark.errors import INTERRUPTED_EXIT_CODES
from benchmark.status import READING_ORDER, Status, with_cause
from benchmark.text import headline, one_line, without_passwords

if TYPE_CHECKING:
    from benchmark.cli.progress.board import Board, FinishedCell
    from benchmark.scheduling.run_options import RunSummary

SHOWN_FAILURES = 10
SHOWN_CELLS = 3
"""How many reasons are shown, and how many cells are named with each."""


def conclude(board: Board, summary: RunSummary, command: str, database: str) -> None:
    """Print the summary: counts, the failures, and the commands to go on with."""
    counts = ", ".join(f"{summary.counts[status]:,} {status}" for status in READING_ORDER if summary.counts.get(status))
    reused = f" ({len(summary.reused):,} from earlier runs)" if summary.reused else ""
    verbosity.inform(f"\n{counts or 'nothing to do'}{reused} in {units.seconds(summary.seconds)}", "bold")
    if summary.stopped:
        verbosity.inform(f"stopped: {summary.stopped}")
    elif summary.forecast_seconds:
        verbosity.inform(f"  {forecast_in_words(summary.forecast_seconds, summary.seconds)}", "dim")
    failed = [ended for ended in board.finished if ended.status in {Status.FAILED, Status.BLOCKED}]
    _say_failures(failed)
    for line in _next_commands(summary, command, database, failed):
        verbosity.inform(one_line(f"  {line}"))


def forecast_in_words(expected: float, took: float) -> str:
    """How the forecast compares with what it came to: `the forecast was 2:05 min, 12 % too short`."""
    wrong = expected / took - 1 if took > 0 else 0.0
    side = "long" if wrong > 0 else "short"
    judged = "about right" if abs(wrong) < 0.05 else f"{abs(wrong):.0%} too {side}".replace("%", " %")
    return f"the forecast was {units.seconds(expected)}: {judged}"


def _say_failures(failed: Sequence[FinishedCell]) -> None:
    """Each reason once, with the cells it ended."""
    reasons: dict[str, list[FinishedCell]] = {}
    for ended in failed:
        detail = f": {headline(ended.detail)}" if ended.detail else ""
        reasons.setdefault(f"{with_cause(ended.status, ended.cause)}{detail}", []).append(ended)
    for reason, cells in list(reasons.items())[:SHOWN_FAILURES]:
        names = [f"{short_id(ended.cell.cell_id)} {ended.label}" for ended in cells[:SHOWN_CELLS]]
        more = f" and {len(cells) - SHOWN_CELLS} more" if len(cells) > SHOWN_CELLS else ""
        streams.say(one_line(f"  {', '.join(names)}{more}: {reason}"), "red")
    if len(reasons) > SHOWN_FAILURES:
        streams.say(f"  and {len(reasons) - SHOWN_FAILURES} more reasons")


def _next_commands(summary: RunSummary, command: str, database: str, failed: Sequence[FinishedCell]) -> list[str]:
    """What to type next, most useful first."""
    is_usual = database == os.environ.get("BENCH_DB", layout.DATABASE)
    option = "" if is_usual else f" --db {shlex.quote(without_passwords(database, whole=True))}"
    # with --rerun it would begin all over
    command = command.replace(" --rerun", "")
    lines = []
    if summary.stopped or summary.exit_code in INTERRUPTED_EXIT_CODES:
        lines.append(f"{command}   goes on from here")
    if summary.counts.get(Status.COMPLETED):
        lines.append(f"bench report{option}   compares the results")
    if summary.exit_code == 3:
        cell = short_id(failed[0].cell.cell_id) if failed else "CELL"
        lines.append(f"bench show {cell}{option}   shows the log and traceback of a failed cell")
        retry = f"{command.replace(' --retime', '').replace(' --retry-failed', '')} --retry-failed"
        lines.append(f"{retry}   tries failed cells again")
    return lines
