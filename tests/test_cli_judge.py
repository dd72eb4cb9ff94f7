"""`bench judge`: one error budget for a search, whose every look is in the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from cli_workplace import Workplace
from results_samples import MACHINE, begin, cell, epoch

from benchmark.events import Completed, Evaluated, Launched, ModelBuilt, Started
from benchmark.results.looks import looks
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database


def fill(
    place: Workplace, accuracies: Mapping[str, Sequence[float | None]], *, first: int = 0, fingerprint: str = "f" * 64
) -> None:
    """Adds a run with a completed cell for each accuracy of each strategy, seeds counted from `first`; None failed."""
    path = place.directory / "results.sqlite"
    cells = {
        (strategy, seed): cell(
            seed,
            cell_id=hashlib.sha256(f"{strategy} {seed} {fingerprint}".encode()).hexdigest()[:20],
            strategy=strategy,
            strategy_label=strategy,
        )
        for strategy, values in accuracies.items()
        for seed in range(first, first + len(values))
    }
    with lock_database(path), open_database(path, mode="write") as opened:
        recorder, run_id = begin(opened, list(cells.values()))
        for (strategy, seed), one in cells.items():
            value = accuracies[strategy][seed - first]
            number = recorder.start_attempt(run_id, one.cell_id, MACHINE).attempt_id
            recorder.record(number, Launched(101, 102, 7777))
            recorder.record(number, Started("2.21", "3.15", 1, "CPU"))
            recorder.record(number, ModelBuilt(9, 9, 1293, 144, 10_000, fingerprint, None, "float32", 0.5))
            recorder.record(number, epoch(1))
            if value is None:
                recorder.finish_attempt(number, state="oom")
                continue
            recorder.record(number, Evaluated(value, 0.3, 1, 0.2))
            recorder.record(number, Completed(1, 1.0, 2.0))
            recorder.finish_attempt(number, state="completed")
        recorder.finish_run(run_id, "completed", 0)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def judge(place: Workplace, a: str, b: str, *more: str, campaign: str = "search"):
    done = place.call(
        "judge",
        f"strategy={a}",
        f"strategy={b}",
        "--campaign",
        campaign,
        "--machine",
        MACHINE,
        "--format",
        "json",
        *more,
    )
    assert done.stdout.count("\n") == 1, done.stderr
    return done.exit_code, json.loads(done.stdout)


def near(mean: float, *, n: int = 8, seed: int = 1, spread: float = 0.002) -> list[float]:
    return list(mean + spread * np.random.default_rng(seed).standard_normal(n))


def test_each_verdict_has_its_exit_code_and_one_line_of_json_with_the_reasons(place):
    fill(place, {"a": near(0.9), "up": near(0.93, seed=2), "down": near(0.87, seed=3), "same": near(0.9, seed=4)})
    fill(place, {"other": near(0.9)}, fingerprint="e" * 64)
    found = {b: judge(place, "a", b, "--margin", "1pp") for b in ("up", "down", "same", "other")}
    assert {b: (code, answer["verdict"]) for b, (code, answer) in found.items()} == {
        "up": (0, "better"),
        "down": (10, "worse"),
        "same": (10, "equivalent"),
        "other": (12, "not comparable"),
    }
    assert all(answer["reasons"] for _, answer in found.values())
    assert judge(place, "a", "same", campaign="without a margin")[0] == 11


def test_the_same_results_are_judged_once_and_more_seeds_are_a_new_look(place):
    fill(place, {"a": near(0.9, n=3), "b": near(0.93, n=3, seed=2, spread=0.02)})
    code, first = judge(place, "a", "b")
    again, second = judge(place, "a", "b")
    assert (code, first["recorded"], second["recorded"]) == (again, False, True)
    assert {**second, "recorded": False} == first
    fill(place, {"a": near(0.9, n=9, seed=3), "b": near(0.93, n=9, seed=4)}, first=3)
    code, third = judge(place, "a", "b")
    assert (code, third["look"], third["n"]) == (0, 2, 12)
    assert third["spent"] == first["spent"], "what a rejected idea had passes on to the next"
    assert third["spent"] + third["left"] == pytest.approx(0.05)
    with open_database(place.directory / "results.sqlite", mode="read") as opened:
        assert [(look.verdict, look.n) for look in looks(opened, "judge", "search")] == [
            (first["verdict"], 3), ("better", 12),
        ]  # fmt: skip


def test_campaigns_have_budgets_of_their_own_and_what_cannot_be_compared_spends_nothing(place):
    fill(place, {"a": near(0.9), "b": near(0.9, seed=2), "c": near(0.9, seed=3)})
    fill(place, {"other": near(0.9)}, fingerprint="e" * 64)
    _, first = judge(place, "a", "b")
    assert judge(place, "a", "other")[1]["alpha"] == 0
    _, second = judge(place, "a", "c")
    assert second["look"] == 2
    assert second["alpha"] < first["alpha"]
    assert judge(place, "a", "c", campaign="another")[1]["alpha"] == first["alpha"]


def test_survivors_alone_prove_nothing(place):
    fill(place, {"a": near(0.9), "b": [*near(0.95, n=6), None, None]})
    code, answer = judge(place, "a", "b")
    assert (code, answer["verdict"]) == (11, "not resolved")
    assert "survivors" in " ".join(answer["reasons"])


def test_a_worn_out_test_set_is_said(place):
    for run in range(3):
        fill(
            place,
            {f"v{number}": near(0.95, n=3, seed=number, spread=1e-4) for number in range(10 * run, 10 * run + 10)},
        )
    _, answer = judge(place, "v0", "v1")
    assert (answer["test_set"]["strategies"], answer["test_set"]["runs"]) == (30, 3)
    expected = np.sqrt(0.95 * 0.05 / 10_000) * 2.0428
    assert answer["test_set"]["too_good"] == pytest.approx(expected, rel=0.02)
    assert (
        "30 strategies were evaluated on this test set in 3 runs; the best of 30 looks about 0.45 points too good"
        in answer["reasons"]
    )


def test_a_campaign_must_be_named(place):
    fill(place, {"a": near(0.9), "b": near(0.9)})
    assert place.call("judge", "strategy=a", "strategy=b").exit_code == 2
    assert place.call("judge", "strategy=a", "strategy=none", "--campaign", "x").exit_code == 2


def test_without_a_database_nothing_is_made(place):
    assert place.call("judge", "strategy=a", "strategy=b", "--campaign", "x").exit_code == 2
    assert not list(place.directory.iterdir())


def test_people_read_the_verdict_first(place):
    fill(place, {"a": near(0.9), "b": near(0.93, seed=2)})
    done = place.call("judge", "strategy=a", "strategy=b", "--campaign", "search", "--machine", MACHINE)
    assert done.stdout.startswith("better: B - A = +0.0297 (")


LOCKED = """
[matrix]
dataset = "mine"
model = "simple_cnn"
strategy = ["a", "b"]
seed = [0, 1, 2, 3]
backend = "fake"

[dataset.mine]
extends = "digits"
lockbox = 0.25

[strategy.a]
epochs = 1

[strategy.b]
epochs = 12
"""


def test_the_lockbox_is_in_no_score_until_it_is_opened_once(place):
    place.write(LOCKED)
    assert place.call("run").exit_code == 0
    arguments = ("strategy=a", "strategy=b", "--open-lockbox", "--format", "json", "--campaign")
    asked = "select split, count(*) as n, min(image) as first from predictions group by split order by split"
    counts = place.document("query", asked)
    assert [(row["split"], row["n"], row["first"]) for row in counts] == [
        ("test", 8 * 192, 64),
        ("validation", 8 * 26, 230),
    ]
    assert {row["n"] for row in place.document("query", "select test_examples as n from execution")} == {192}
    done = place.call("judge", *arguments, "search")
    first = json.loads(done.stdout)
    assert (done.exit_code, first["verdict"], first["recorded"], first["n"]) == (0, "better", False, 4)
    swapped = place.call("judge", "strategy=b", "strategy=a", *arguments[2:], "search")
    assert {**json.loads(swapped.stdout), "recorded": False} == first
    other = json.loads(place.call("judge", *arguments, "other").stdout)
    assert "no longer unseen: campaign search" in " ".join(other["reasons"])
    with open_database(place.directory / "results.sqlite", mode="read") as opened:
        assert [look.campaign for look in looks(opened, "lockbox")] == ["search", "other"]
    assert place.call("judge", "strategy=a", "strategy=b", "--campaign", "search").exit_code == 0


def test_without_a_lockbox_there_is_nothing_to_open(place):
    fill(place, {"a": near(0.9), "b": near(0.9)})
    done = place.call("judge", "strategy=a", "strategy=b", "--campaign", "x", "--machine", MACHINE, "--open-lockbox")
    assert done.exit_code == 2
    assert "lockbox = 0.2" in done.stderr


def test_a_lockbox_that_is_not_written_is_in_no_id(place):
    place.write(LOCKED)
    ids = [
        [cell["cell_id"] for cell in place.document("plan", "--set", f"lockbox={share}")["cells"]]
        for share in (0, 0.25, 0.2)
    ]
    place.write(LOCKED.replace("lockbox = 0.25", ""))
    plain = [cell["cell_id"] for cell in place.document("plan")["cells"]]
    assert ids[0] == plain
    assert not set(ids[0]) & set(ids[1])
    assert not set(ids[1]) & set(ids[2])


@pytest.mark.exhaustive
def test_of_campaigns_of_ideas_without_effect_at_most_5_percent_have_a_false_verdict(place):
    from benchmark.reporting.comparing.compare import Comparison
    from benchmark.reporting.comparing.referee import rule
    from benchmark.reporting.statistics.families import judge as judged
    from benchmark.reporting.statistics.mean_difference import compare
    from benchmark.reporting.table import Report
    from benchmark.results.records import LookRow

    generator, failed, campaigns = np.random.default_rng(9), 0, 400
    for _ in range(campaigns):
        past: list[LookRow] = []
        for _ in range(20):
            a, b = generator.normal(size=(2, 5))
            overall = judged([compare(dict(enumerate(a)), dict(enumerate(b)))], higher_is_better=True)[0]
            ruling = rule(Comparison(Report((), ()), overall.verdict, overall), past, None)
            past.append(
                LookRow(
                    "judge", "a", "b", ((), ()), 5, 0.0, ruling.low, ruling.high, ruling.alpha, ruling.verdict, None
                )
            )
        failed += any(look.verdict in {"better", "worse"} for look in past)
    assert failed <= 0.065 * campaigns
