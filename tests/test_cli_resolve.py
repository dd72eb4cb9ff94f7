"""`bench run --resolve` adds pairs of seeds until it is decided; every look is recorded, and spends of one budget."""

from __future__ import annotations

import json

import pytest
from cli_workplace import Workplace

from benchmark.results.looks import looks
from benchmark.results.read.queries import results
from benchmark.results.store.database import open_database

MATRIX = """
[matrix]
name = "resolving"
dataset = "digits"
model = "simple_cnn"
strategy = ["short", "long", "same"]
seed = [0, 1]
backend = "fake"

[strategy.short]
epochs = 2

[strategy.long]
epochs = 9

[strategy.same]
epochs = 2
dropout = 0.1
"""
KEYS = ["a", "b", "n", "looks", "verdict", "margin", "difference", "low", "high"]


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


def resolve(place: Workplace, *arguments: str, code: int = 0):
    done = place.call("run", "--resolve", *arguments, "--format", "json")
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def recorded(place: Workplace):
    """Looks, and the seeds of each strategy that have completed, in the order of their executions."""
    with open_database(place.directory / "results.sqlite", mode="read") as opened:
        seeds: dict[str, list[int]] = {}
        for row in results(opened, status="completed"):
            seeds.setdefault(row["strategy"], []).append(row["seed"])
        return looks(opened), seeds


def test_seeds_are_added_until_it_is_decided_and_no_further(place):
    answer = resolve(place, "short,long")
    assert list(answer)[: len(KEYS)] == KEYS
    assert (answer["a"], answer["b"], answer["verdict"]) == ("short", "long", "better")
    assert 3 <= answer["n"] < 20
    assert 0 < answer["low"] < answer["difference"] < answer["high"]
    made, seeds = recorded(place)
    assert [look.verdict for look in made[:-1]] == ["not resolved"] * (len(made) - 1)
    assert made[-1].verdict == "better"
    assert answer["looks"] == len(made)
    assert sorted(seeds) == ["long", "short"]
    assert sorted(seeds["long"]) == sorted(seeds["short"]) == list(range(answer["n"]))


def test_asked_again_the_recorded_verdict_is_given_and_nothing_is_spent(place):
    first = resolve(place, "short,long")
    before = recorded(place)
    assert resolve(place, "short,long") == first
    assert recorded(place) == before


def test_what_is_not_resolved_goes_on_with_the_error_that_is_left_when_more_seeds_are_allowed(place):
    first = resolve(place, "short,same", "--max-seeds", "4")
    assert (first["verdict"], first["n"]) == ("not resolved", 4)
    assert first["alpha"] == pytest.approx(0.045)
    second = resolve(place, "short,same", "--max-seeds", "6")
    assert second["n"] == 6
    assert second["alpha"] == pytest.approx(0.0495)
    assert [look.n for look in recorded(place)[0]] == sorted({look.n for look in recorded(place)[0]})


def test_equivalent_within_a_margin_is_a_verdict(place):
    answer = resolve(place, "short,same", "--margin", "5pp")
    assert (answer["verdict"], answer["margin"]) == ("equivalent", 0.05)
    assert answer["n"] < 20


def test_two_selections_mean_the_same_as_two_names(place):
    named = resolve(place, "short,long")
    selected = resolve(place, "strategy=short", "--resolve", "strategy=long")
    assert (selected["n"], selected["looks"], selected["low"]) == (named["n"], named["looks"], named["low"])


def test_pairs_whose_one_side_is_there_already_come_first(place):
    assert place.call("run", "--select", "strategy=short", "--set", "seed=7").exit_code == 0
    resolve(place, "short,long", "--max-seeds", "3", "--jobs", "1")
    _, seeds = recorded(place)
    assert seeds["long"][0] == 7
    assert sorted(seeds["long"]) == [0, 1, 7]


def test_seeds_of_other_settings_are_no_candidates(place):
    assert place.call("run", "--select", "strategy=short", "--set", "seed=7", "--set", "batch_size=16").exit_code == 0
    resolve(place, "short,long", "--max-seeds", "3")
    assert sorted(recorded(place)[1]["long"]) == [0, 1, 2]


def test_the_budget_ends_it_and_a_later_call_goes_on_with_the_same_looks(place):
    answer = resolve(place, "short,same", "--max-seeds", "6", "--budget", "0.1s")
    assert answer["n"] < 6
    assert any("budget" in remark for remark in answer["remarks"])
    rest = resolve(place, "short,same", "--max-seeds", "6")
    assert rest["n"] == 6
    assert rest["alpha"] == pytest.approx(0.045)


def test_failed_seeds_end_with_3_and_a_verdict_on_the_others(place):
    plan = json.loads(place.call("plan", "--select", "strategy=long,seed=1", "--format", "json").stdout)
    cell = plan["cells"][0]["cell_id"]
    done = place.call(
        "run", "--resolve", "short,long", "--format", "json", BENCH_FAULT=f"build:1:raise:ValueError@{cell}"
    )
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["verdict"]) == (3, "better")
    assert "seed 1: no result" in " ".join(answer["remarks"])


@pytest.mark.parametrize(
    "fault",
    [
        "db.commit:40:kill9",
        pytest.param("report:2:kill9", marks=pytest.mark.exhaustive),
        pytest.param("launch:9:raise:KeyboardInterrupt", marks=pytest.mark.exhaustive),
    ],
)
def test_what_was_broken_off_goes_on_with_its_looks(place, fault):
    broken = place.run("run", "--resolve", "short,same", "--max-seeds", "6", "--jobs", "2", BENCH_FAULT=fault)
    assert broken.returncode in {-9, 130}, broken.stderr
    before = recorded(place)[0]
    answer = resolve(place, "short,same", "--max-seeds", "6", "--jobs", "2")
    made, seeds = recorded(place)
    assert made[: len(before)] == before
    assert (answer["n"], answer["looks"], len(made)) == (6, 4, 4)
    assert answer["alpha"] == pytest.approx(0.045)
    assert sorted(seeds["same"]) == list(range(6))


def test_before_it_runs_the_plan_says_how_many_it_will_about_need(place):
    document = place.document("plan", "--resolve", "short,long", "--budget", "2h")
    assert document["resolve"]["pairs"] == pytest.approx(11, abs=1)
    assert document["resolve"]["fits"] is True
    assert len(document["cells"]) == 2 * document["resolve"]["pairs"]
    assert place.document("plan", "--resolve", "short,long", "--budget", "0.01s")["resolve"]["fits"] is False
    assert (
        place.document("run", "--resolve", "short,long", "--dry-run")["resolve"]["pairs"]
        == document["resolve"]["pairs"]
    )
    assert not (place.directory / "results.sqlite").exists()
    assert place.call("run", "--select", "strategy=short|long").exit_code == 0
    pilot = place.document("plan", "--resolve", "short,long")["resolve"]
    assert pilot["pilot"] == 2
    resolve(place, "short,long")
    assert "better already" in place.call("plan", "--resolve", "short,long").stdout


@pytest.mark.parametrize("value", ["short", "short,none", "short,short", "short,long,same", "strategy=short,seed=0"])
def test_sides_that_are_none_are_the_users_mistake(place, value):
    done = place.call("run", "--resolve", value)
    assert done.exit_code == 2
    assert "--resolve" in done.stderr
    assert not (place.directory / "results.sqlite").exists()


def test_reports_say_that_n_was_chosen_by_looking(place):
    answer = resolve(place, "short,long")
    expected = f"n was chosen by looking {answer['looks']} time"
    assert expected in place.call("report").stdout
    assert expected in place.call("compare", "strategy=short", "strategy=long").stdout
    assert "looking" not in place.call("report", "--select", "strategy=short").stdout


def test_a_budget_without_resolve_runs_what_fits(place):
    assert place.call("run", "--budget", "0.001s").exit_code == 2
    assert place.call("run", "--budget", "2h").exit_code == 0
    _, seeds = recorded(place)
    assert {name: sorted(found) for name, found in seeds.items()} == {
        name: [0, 1] for name in ("short", "long", "same")
    }
