"""What `bench judge` answers: a verdict within a campaign's error budget, or on the lockbox; every look is recorded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.cli.cell_lookup import selected_results, stored_predictions
from benchmark.cli.own_metrics import main_metric, with_own_metrics
from benchmark.cli.reports.report_section import report_section
from benchmark.errors import NotFoundError
from benchmark.reporting.comparing.compare import Comparison, compare_selections
from benchmark.reporting.comparing.referee import Ruling, open_lockbox, rule
from benchmark.reporting.comparing.worn_test_set import wear
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.report import judging
from benchmark.reporting.rows.latest import with_environment
from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.sequential import campaign_spent
from benchmark.results.looks import looks, record_look
from benchmark.results.read.queries import results
from benchmark.results.read.runs import all_runs
from benchmark.results.records import LookRow
from benchmark.results.store.database import Database

Row = dict[str, Any]


def judged(
    opened: Database,
    a: str,
    b: str,
    campaign: str,
    machine: str | None,
    margin: float | None,
    *,
    allow_plugins: bool = False,
) -> dict[str, Any]:
    """The verdict on B in a campaign: the recorded one for results that it has judged before, else a new look.

    Args:
        opened: For writing.
        a: Selection of the side that is there.
        b: Selection of the idea.
        campaign: Its name.
        machine: Whose results; None for that of A's newest.
        margin: What counts as equivalent; None takes `[report]`'s.
        allow_plugins: Whether a metric of the user's own may run.

    Raises:
        UserError: It may not, and decides.
    """
    asked = _Asked((a, b), campaign, machine, margin, allow_plugins)
    comparison, margin = _compared(opened, asked, lambda rows: rows, "test")
    earlier = looks(opened, "judge", campaign)
    look = next((each for each in earlier if each.executions == comparison.executions), None)
    is_recorded = look is not None
    if look is None:
        look = _recorded(opened, "judge", (a, b, campaign), comparison, rule(comparison, earlier, margin), margin)
        earlier.append(look)
    worn = wear(results(opened, machine=comparison.report.machine), [*look.executions[0], *look.executions[1]])
    spent = campaign_spent((each.alpha, each.verdict) for each in earlier)
    return {
        **_answer(look, is_recorded=is_recorded),
        "spent": spent,
        "left": ALPHA - spent,
        "test_set": worn and {"strategies": worn.strategies, "runs": worn.runs, "too_good": worn.too_good},
        "reasons": [*look.details["reasons"], *([worn.text] if worn else [])],
    }


def lockbox_opened(
    opened: Database,
    a: str,
    b: str,
    campaign: str,
    machine: str | None,
    margin: float | None,
    *,
    allow_plugins: bool = False,
) -> dict[str, Any]:
    """The verdict on B by the images of the lockbox, once for each campaign; later the recorded one, whatever A and B are.

    Arguments as of `judged`.

    Raises:
        NotFoundError: A side has no predictions for a lockbox.
    """
    openings = looks(opened, "lockbox")
    look = next((each for each in openings if each.campaign == campaign), None)
    is_recorded = look is not None
    if look is None:
        prints: set[str] = set()

        def on_lockbox(rows: list[Row]) -> list[Row]:
            scored = _on_lockbox(opened, rows)
            prints.update(str(row["data_fingerprint"]) for row in scored)
            return scored

        asked = _Asked((a, b), campaign, machine, margin, allow_plugins)
        comparison, margin = _compared(opened, asked, on_lockbox, "lockbox")
        others = [
            f"campaign {each.campaign} ({each.looked_utc})"
            for each in openings
            if prints.intersection(each.details["fingerprints"])
        ]
        ruling = open_lockbox(comparison, others, margin)
        look = _recorded(opened, "lockbox", (a, b, campaign), comparison, ruling, margin, fingerprints=sorted(prints))
    return {
        **_answer(look, is_recorded=is_recorded),
        "spent": look.alpha,
        "left": 0.0,
        "test_set": None,
        "reasons": look.details["reasons"],
    }


def _on_lockbox(opened: Database, rows: Iterable[Row]) -> list[Row]:
    """The results with the accuracy on the lockbox in place of that on the test images; without one they are left out.

    Other metrics of the test images are taken out, so that they are computed of the lockbox where they are needed.
    """
    rows = list(rows)
    answers = stored_predictions(opened, "lockbox")([row["execution_id"] for row in rows])
    scored = [
        {
            **{name: None if name.startswith("test_") else value for name, value in row.items()},
            "test_accuracy": _accuracy(found),
            "test_examples": len(found.labels),
        }
        for row in rows
        if (found := answers.get(row["execution_id"])) is not None
    ]
    if not scored:
        raise NotFoundError(
            "judge --open-lockbox: these results have no lockbox; write lockbox = 0.2 into [dataset.NAME] before they are "
            "trained"
        )
    return scored


def _accuracy(found: Predictions) -> float:
    return float((found.predicted == found.labels).mean())


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line asks; see `judged`."""

    sides: tuple[str, str]
    campaign: str
    machine: str | None
    margin: float | None
    allow_plugins: bool


def _compared(
    opened: Database, asked: _Asked, change: Callable[[list[Row]], list[Row]], split: str
) -> tuple[Comparison, float | None]:
    """The comparison of B with A, and the margin that holds for it."""
    runs, spec = list(all_runs(opened).values()), report_section(opened, machine=asked.machine)
    loaded, command = (
        stored_predictions(opened, split),
        f"bench judge {' '.join(asked.sides)} --campaign {asked.campaign}",
    )
    measured = [
        with_own_metrics(
            with_environment(change(selected_results(opened, [side])), runs),
            main_metric(spec), spec, loaded, command, allowed=asked.allow_plugins,
        )
        for side in asked.sides
    ]  # fmt: skip
    wanted = judging(spec, (), asked.margin, own=measured[0].metrics)
    first, second = (side.rows for side in measured)
    compared = compare_selections(first, second, machine=asked.machine, judging=wanted, predictions=loaded)
    return compared, wanted.margin


def _recorded(
    opened: Database,
    kind: str,
    names: tuple[str, str, str],
    comparison: Comparison,
    ruling: Ruling,
    margin: float | None,
    **details: Any,
) -> LookRow:
    a, b, campaign = names
    difference = comparison.overall
    more = {"number": ruling.number, "p": ruling.p, "reasons": list(ruling.reasons), **details}
    return record_look(
        opened,
        LookRow(
            kind=kind, a=a, b=b, executions=comparison.executions, n=difference.n if difference else 0,
            difference=difference.mean if difference else None, low=ruling.low, high=ruling.high, alpha=ruling.alpha,
            verdict=ruling.verdict, margin=margin, campaign=campaign, machine=comparison.report.machine, details=more,
        ),
    )  # fmt: skip


def _answer(look: LookRow, *, is_recorded: bool) -> Mapping[str, Any]:
    names = ("campaign", "a", "b", "verdict", "n", "difference", "low", "high", "alpha", "margin", "looked_utc")
    return {
        **{name: getattr(look, name) for name in names},
        "p": look.details["p"],
        "look": look.details["number"],
        "recorded": is_recorded,
    }
