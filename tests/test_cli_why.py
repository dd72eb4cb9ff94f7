"""`bench why` and `bench reproduce`, from the outside."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing

import pytest
from cli_workplace import Workplace, copied_place, finished_place

MATRIX = """
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1, 2]
backend = "fake"

[[matrix.include]]
dataset = "digits"
model = "simple_cnn"
strategy = "continued"
seed = 0

[defaults]
epochs = 4

[strategy.continued]
weights = { dataset = "digits_low", strategy = "scratch" }
"""
CHILD = "strategy=continued"
FIRST = "strategy=scratch,seed=0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workplace:
    return finished_place(tmp_path_factory.mktemp("finished"), MATRIX)


@pytest.fixture
def place(finished, tmp_path) -> Workplace:
    """The same, to be changed."""
    return copied_place(finished, tmp_path)


def change(place: Workplace, old: str, new: str) -> None:
    assert old in MATRIX
    place.write(MATRIX.replace(old, new))


def execute(place: Workplace, sql: str) -> list:
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


# ---- why


def test_a_finished_cell_is_reused_and_says_where_it_finished(finished):
    answer = finished.document("why", FIRST)
    assert (answer["decision"], answer["nearest"]) == ("reused", [])
    assert "completed in run 1" in answer["reason"]
    assert answer["executions"][0]["began"] == "the first on this machine"
    assert finished.document("why", answer["cell_id"][:8]) == answer


def test_a_changed_setting_is_named_with_both_values(place):
    change(place, "epochs = 4", "epochs = 5\nbatch_size = 32")
    answer = place.document("why", FIRST)
    assert (answer["decision"], answer["reason"]) == ("runs", "no such cell was ever recorded")
    assert answer["nearest"][0]["changed"] == [
        {"key": "stages[0].batch_size", "recorded": 64, "now": 32},
        {"key": "stages[0].epochs", "recorded": 4, "now": 5},
    ]
    text = place.call("why", FIRST).stdout
    assert "nearest recorded cell" in text
    assert "stages[0].batch_size" in text


def test_a_changed_table_is_shown_as_a_report_writes_it(place):
    change(place, "epochs = 4", "epochs = 4\nmixup = 0.2\naugment = { random_crop = 2, randaugment = 0.3 }")
    rows = [line.split(maxsplit=2) for line in place.call("why", FIRST).stdout.splitlines() if "stages[0]" in line]
    assert ["stages[0].mixup", "0", "0.2"] in [list(map(str.strip, row)) for row in rows]
    (augment,) = [row[2].strip() for row in rows if row[0] == "stages[0].augment" and row[1] == "none"]
    assert augment == "randaugment={layers=2, magnitude=0.3}, random_crop=2"


def test_what_changed_a_parent_is_told_of_its_child(place):
    change(
        place,
        "[strategy.continued]",
        '[[matrix.override]]\nwhen = { dataset = "digits_low" }\nset = { threads = 2 }\n\n[strategy.continued]',
    )
    answer = place.document("why", CHILD)
    assert answer["nearest"][0]["changed"] == [{"key": "parent.threads", "recorded": 1, "now": 2}]


def test_the_nearest_cell_has_the_fewest_changes(place):
    change(place, "seed = [0, 1, 2]", "seed = [0, 1, 2]\nlearning_rate = [0.1, 0.2]")
    assert place.call("run", "--set", "epochs=3").exit_code == 0
    answer = place.document("why", "strategy=scratch,seed=0,learning_rate=0.1")
    assert [len(one["changed"]) for one in answer["nearest"]] == [1, 1, 2]
    assert {one["changed"][0]["key"] for one in answer["nearest"][:2]} == {
        "stages[0].epochs",
        "stages[0].learning_rate",
    }


def test_another_training_version_is_told_when_nothing_else_changed(place):
    execute(place, "PRAGMA foreign_keys=OFF")
    (old,) = execute(place, "SELECT cell_id FROM cell WHERE strategy = 'scratch' AND seed = 1")[0]
    spec = json.dumps(
        {**json.loads(execute(place, f"SELECT spec FROM cell WHERE cell_id = '{old}'")[0][0]), "cell_id": "0" * 20}
    )
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("DROP TRIGGER execution_is_final")
        for table in ("execution", "run_cell", "cell"):
            connection.execute(f"UPDATE {table} SET cell_id = ? WHERE cell_id = ?", ("0" * 20, old))
        connection.execute("UPDATE cell SET spec = ? WHERE cell_id = ?", (spec, "0" * 20))
        connection.commit()
    answer = place.document("why", "strategy=scratch,seed=1")
    assert [change["key"] for change in answer["nearest"][0]["changed"]] == ["training_version"]
    refused = place.call("reproduce", "00000000")
    assert refused.exit_code == 2
    assert "training code has changed" in refused.stderr


def test_a_damaged_artifact_is_named(place):
    weights = next((place.directory / "results.artifacts").rglob("1/weights.npz"))
    weights.write_bytes(b"other")
    answer = place.document("why", weights.parent.parent.name)
    assert answer["decision"] == "runs"
    assert "weights.npz has another size than recorded" in answer["reason"]
    assert place.call("run").exit_code == 0
    again = place.document("why", weights.parent.parent.name)
    assert "missing or damaged" in again["executions"][1]["began"]


def test_another_machine_is_named(finished):
    answer = finished.document("why", FIRST, "--machine", "elsewhere")
    assert answer["decision"] == "runs"
    assert "tester only" in answer["reason"]


def test_failed_interrupted_and_blocked_cells_say_so(place):
    change(place, "epochs = 4", "epochs = 6")
    assert place.call("run", "--select", FIRST, BENCH_FAULT="epoch.sent:2:raise:ValueError").exit_code == 3
    answer = place.document("why", FIRST)
    assert (answer["decision"], "--retry-failed" in answer["reason"]) == ("settled", True)
    assert place.call("run").exit_code == 3
    answer = place.document("why", CHILD)
    assert (answer["decision"], "ended as failed" in answer["reason"]) == ("blocked", True)


def test_a_cell_that_the_matrix_has_no_more_says_what_became_of_it(place):
    (old,) = execute(place, "SELECT cell_id FROM cell WHERE strategy = 'scratch' AND seed = 2")[0]
    change(place, "epochs = 4", "epochs = 5")
    answer = place.document("why", old)
    assert (answer["decision"], answer["nearest_is"]) == ("settled", "planned")
    assert answer["nearest"][0]["changed"] == [{"key": "stages[0].epochs", "recorded": 4, "now": 5}]
    (place.directory / "matrix.toml").unlink()
    assert "there is no matrix.toml here" in place.document("why", old)["reason"]


def test_without_a_database_every_cell_of_the_matrix_runs(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    assert place.document("why", FIRST)["reason"] == "no such cell was ever recorded"
    assert not (tmp_path / "results.sqlite").exists()
    assert place.call("why", "ffffffff").exit_code == 2


@pytest.mark.parametrize(
    ("meant", "said"), [("abc", "4 digits"), ("strategy=scratch", "matches 3"), ("seed=9", "seed is")]
)
def test_what_is_not_one_cell_is_refused(finished, meant, said):
    done = finished.call("why", meant)
    assert done.exit_code == 2
    assert said in done.stderr


def test_why_as_csv_has_a_row_for_each_changed_key(place):
    change(place, "epochs = 4", "epochs = 5")
    (row,) = csv.DictReader(io.StringIO(place.call("why", FIRST, "--format", "csv").stdout))
    assert (row["decision"], row["key"], row["recorded"], row["now"]) == ("runs", "stages[0].epochs", "4", "5")


# ---- reproduce


def test_a_cell_comes_out_identical_as_a_new_execution(place):
    done = place.run("reproduce", FIRST, "--format", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["difference"], answer["seeds"]) == ("identical", 0.0, 3)
    assert answer["before"]["digest"] == answer["now"]["digest"]
    assert answer["before"]["execution_id"] != answer["now"]["execution_id"]
    assert answer["changes"] == []
    # the others were left as they are
    assert execute(place, "SELECT count(*) FROM execution") == [(5,)]
    assert "asked for" in place.document("why", FIRST)["executions"][1]["began"]


def test_a_childs_parent_gives_its_kept_weights_and_does_not_run(place):
    done = place.call("reproduce", CHILD)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("identical: every recorded number is identical to the last bit")
    assert execute(place, "SELECT strategy, count(*) FROM execution JOIN cell USING (cell_id) GROUP BY 1") == [
        ("continued", 2), ("scratch", 3),
    ]  # fmt: skip


def test_another_machine_reproduces_what_the_first_recorded(place):
    answer = json.loads(place.call("reproduce", CHILD, "--machine", "elsewhere", "--format", "json").stdout)
    assert (answer["verdict"], answer["before"]["machine"], answer["now"]["machine"]) == (
        "identical",
        "tester",
        "elsewhere",
    )


def tamper(place: Workplace, sql: str) -> None:
    with closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        for trigger in ("execution_is_final", "attempt_is_final"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(sql)
        connection.commit()


ALL_SEEDS = (
    "WHERE execution_id IN (SELECT execution_id FROM execution JOIN cell USING (cell_id) WHERE strategy = 'scratch')"
)


@pytest.mark.parametrize(("moved", "verdict", "code"), [(0.001, "within seed noise", 0), (0.4, "different", 3)])
def test_what_moved_is_judged_by_the_spread_of_its_own_seeds(moved, verdict, code, place):
    tamper(
        place,
        f"UPDATE execution SET test_accuracy = test_accuracy - {moved}, digest = 'x', data_fingerprint = 'y' {ALL_SEEDS}",
    )
    done = place.call("reproduce", FIRST, "--format", "json")
    assert done.exit_code == code, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == verdict
    assert answer["difference"] == pytest.approx(moved)
    assert [(change["area"], change["name"], change["before"]) for change in answer["changes"]] == [
        ("data", "data_fingerprint", "y")
    ]


def test_what_was_different_is_named(place):
    tamper(place, "UPDATE execution SET package_version = '0.0.1', git_commit = 'f00'")
    execute(place, "UPDATE run SET cpu_model = 'abacus'")
    execute(place, "UPDATE attempt SET threads = 7")
    done = place.call("reproduce", FIRST)
    assert done.exit_code == 0
    for word in (
        "code",
        "package_version",
        "0.0.1",
        "git_commit",
        "f00",
        "hardware",
        "abacus",
        "settings",
        "threads",
        "7",
    ):
        assert word in done.stdout


def test_a_cell_that_fails_now_is_different(place):
    done = place.call("reproduce", FIRST, "--format", "csv", BENCH_FAULT="epoch.sent:2:raise:ValueError")
    assert done.exit_code == 3
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["verdict"], row["reason"]) == ("different", "it was completed before and is failed now")


def test_a_cell_that_never_finished_cannot_be_reproduced(place):
    change(place, "epochs = 4", "epochs = 6")
    assert place.call("run", "--select", FIRST, BENCH_FAULT="epoch.sent:2:raise:ValueError").exit_code == 3
    (cell_id,) = execute(place, "SELECT cell_id FROM execution WHERE status = 'failed'")[0]
    done = place.call("reproduce", cell_id)
    assert done.exit_code == 2
    assert "bench run" in done.stderr


def test_a_reproduction_takes_no_results_place(place):
    """Neither in reports, comparisons and `status`, nor for reuse, whether it completes, is disturbed or fails."""
    asked = (["report", "--format", "csv"], ["plan", "--format", "json"], ["compare", "seed=0", "seed=1"], ["status"])
    before = [place.call(*arguments).stdout for arguments in asked[:3]]
    assert place.call("reproduce", FIRST).exit_code == 0
    assert "reproduce" in place.call("status").stdout
    failed = place.call("reproduce", FIRST, BENCH_FAULT="epoch.sent:2:raise:ValueError")
    assert failed.exit_code == 3
    assert [place.call(*arguments).stdout for arguments in asked[:3]] == before
    assert place.call("run", "--retry-failed").exit_code == 0
    assert execute(place, "SELECT count(*) FROM execution") == [(6,)], "nothing was trained again"
    assert place.call("gc", "--delete").exit_code == 0
    again = json.loads(place.call("reproduce", FIRST, "--format", "json").stdout)
    assert again["verdict"] == "identical", "it is compared with the result, not with the reproduction that failed"
