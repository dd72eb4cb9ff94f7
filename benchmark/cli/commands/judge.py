"""`bench judge A B --campaign NAME`: the referee of a search, with one error budget for all its ideas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.judging_options import margin_option
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.output import write_json_line, write_line
from benchmark.text import one_line

if TYPE_CHECKING:
    from benchmark.reporting.compare import Comparison
    from benchmark.results.records import LookRow
    from benchmark.results.store.database import Database


@verb(
    "judge",
    "bench judge strategy=v2 strategy=v3 --campaign augmentation",
    "bench judge strategy=v2 strategy=v4 --campaign augmentation --margin 0.5pp --format json",
)
@click.argument("a")
@click.argument("b")
@click.option("--campaign", required=True, metavar="NAME", help="The search whose error budget the verdict spends.")
@database_option
@machine_option("that of A's newest result")
@margin_option
@click.option("--wait", is_flag=True, help="Wait while a run holds the database, instead of ending with 75.")
@format_option("table", "json")
def command(
    a: str,
    b: str,
    campaign: str,
    database: str,
    machine: str | None,
    margin: float | None,
    wait: bool,
    output_format: str,
) -> int:
    """Judge whether selection B is better than selection A, as one idea of a campaign.

    All verdicts of a campaign together are false with a probability of at most 5 %, however many ideas it has: each
    spends part of that, a little less than the one before. The same results are judged once; asked again, the recorded
    answer is given and nothing is spent. With more seeds it is a new look.

    Ends with 0 when B is better, 10 when it is worse or equivalent, 11 when that is not resolved, and 12 when the two
    cannot be compared. `--format json` prints one line.
    """
    from benchmark.reporting.referee import EXIT_CODES
    from benchmark.results.store.database import open_database
    from benchmark.results.store.lock import lock_database

    if not campaign.strip():
        raise click.BadParameter("expected a name", param_hint="--campaign")
    # there must be results before a lock file is made
    open_database(database, mode="read").close()
    with lock_database(database, wait=wait), open_database(database, mode="write") as opened:
        answer = _judged(opened, a, b, campaign, machine, margin)
    _print(answer, output_format)
    return EXIT_CODES[answer["verdict"]]


def _judged(
    opened: Database, a: str, b: str, campaign: str, machine: str | None, margin: float | None
) -> dict[str, Any]:
    from benchmark.reporting.referee import rule
    from benchmark.reporting.rows.worn_test_set import wear
    from benchmark.results.read.looks import looks
    from benchmark.results.read.queries import results
    from benchmark.results.records import LookRow
    from benchmark.results.write.look_entry import record_look

    comparison, margin = _compared(opened, a, b, machine, margin)
    earlier = looks(opened, "judge", campaign)
    look = next((each for each in earlier if each.executions == comparison.executions), None)
    is_recorded = look is not None
    if look is None:
        ruling = rule(comparison, earlier, margin)
        difference = comparison.overall
        look = record_look(
            opened,
            LookRow(
                kind="judge", a=a, b=b, executions=comparison.executions, n=difference.n if difference else 0,
                difference=difference.mean if difference else None, low=ruling.low, high=ruling.high, alpha=ruling.alpha,
                verdict=ruling.verdict, margin=margin, campaign=campaign, machine=comparison.report.machine,
                details={"number": ruling.number, "p": ruling.p, "reasons": list(ruling.reasons)},
            ),
        )  # fmt: skip
        earlier.append(look)
    worn = wear(results(opened, machine=comparison.report.machine), [*look.executions[0], *look.executions[1]])
    return _answer(look, spent=sum(each.alpha for each in earlier), is_recorded=is_recorded) | {
        "test_set": worn and {"strategies": worn.strategies, "runs": worn.runs, "too_good": worn.too_good},
        "reasons": [*look.details["reasons"], *([worn.text] if worn else [])],
    }


def _compared(
    opened: Database, a: str, b: str, machine: str | None, margin: float | None
) -> tuple[Comparison, float | None]:
    """The comparison of B with A, and the margin that holds for it."""
    from benchmark.cli.cell_lookup import selected_results, stored_predictions
    from benchmark.cli.report_section import report_section
    from benchmark.reporting.compare import compare_selections
    from benchmark.reporting.report import judging
    from benchmark.reporting.rows.latest import with_environment
    from benchmark.results.read.runs import all_runs

    runs = list(all_runs(opened).values())
    first, second = (with_environment(selected_results(opened, [side]), runs) for side in (a, b))
    judged = judging(report_section(opened, machine=machine), (), margin)
    return (
        compare_selections(first, second, machine=machine, judging=judged, predictions=stored_predictions(opened)),
        judged.margin,
    )


def _answer(look: LookRow, *, spent: float, is_recorded: bool) -> dict[str, Any]:
    from benchmark.reporting.statistics.intervals import ALPHA

    names = ("campaign", "a", "b", "verdict", "n", "difference", "low", "high", "alpha", "margin", "looked_utc")
    return {
        **{name: getattr(look, name) for name in names},
        "p": look.details["p"],
        "look": look.details["number"],
        "recorded": is_recorded,
        "spent": spent,
        "left": ALPHA - spent,
    }


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
