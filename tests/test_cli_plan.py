"""`bench plan` says what would be done, and does nothing."""

from __future__ import annotations

import csv
import io
import time

import pytest
from cli_workplace import MATRIX, Workplace

from benchmark.cli import expectation
from benchmark.cli.expectation import History, expect
from benchmark.matrix.settings import SETTINGS


@pytest.fixture
def place(tmp_path) -> Workplace:
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


def test_json_has_every_setting_status_and_parent_of_every_cell(place):
    document = place.document("plan")
    assert len(document["cells"]) == 14
    for cell in document["cells"]:
        assert {"cell_id", "dataset", "model", "strategy", "seed", "status", "parent_cell_id", *SETTINGS} <= cell.keys()
        assert cell["status"] == "pending"
    child = next(cell for cell in document["cells"] if cell["strategy"] == "from_low_digits")
    assert child["parent_cell_id"] in {cell["cell_id"] for cell in document["cells"]}


def test_what_is_left_out_has_its_reason(place):
    left = place.document("plan")["left_out"]
    assert [{key: row[key] for key in ("dataset", "model", "strategy", "seed")} for row in left] == [
        {"dataset": "digits", "model": "vgg16", "strategy": "scratch", "seed": 0}
    ]
    assert "32 pixels" in left[0]["reason"]
    assert "left out: 1 cell: vgg16 needs" in place.call("plan").stdout


def test_plan_makes_no_database_and_no_other_file(place):
    for arguments in (["plan"], ["plan", "--format", "json"], ["run", "--dry-run"]):
        assert place.call(*arguments).exit_code == 0
    assert [path.name for path in place.directory.iterdir()] == ["matrix.toml"]


def test_dry_run_says_what_plan_says(place):
    assert place.document("run", "--dry-run") == place.document("plan")


def test_csv_has_one_row_for_each_cell(place):
    done = place.call("plan", "--format", "csv", "--select", "model=net*")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["model"] for row in rows} == {"net[/]"}
    assert len(rows) == 6


def test_names_with_brackets_are_printed_verbatim(place):
    assert "net[/]" in place.call("plan").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--select", "modl=x"], "did you mean 'model'"),
        (["--select", "model=simple_cn"], "did you mean 'simple_cnn'"),
        (["--set", "epocs=3"], "did you mean 'epochs'"),
        (["--matrix", "none.toml"], "bench init"),
        (["--select", "seed=7"], "none"),
    ],
)
def test_mistakes_end_with_2_and_a_cure(place, arguments, words):
    done = place.call("plan", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_settings_from_the_command_line_hold(place):
    document = place.document("plan", "--set", "epochs=9", "--exclude", "strategy=from_low_digits")
    assert {cell["epochs"] for cell in document["cells"]} == {9}


def test_large_matrices_are_summed_up(place):
    place.write(MATRIX.replace("seed = [0, 1, 2]", f"seed = {list(range(60))}"))
    text = place.call("plan").stdout
    assert "242 cells: 242 pending; 1 left out" in text
    assert len(text.splitlines()) < 20


def test_the_default_matrix_is_planned_within_a_second(place):
    place.call("init", "--matrix", "tour.toml")
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert place.run("plan", "--matrix", "tour.toml").returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 1


def test_plan_and_run_refuse_a_database_that_is_none(place):
    place.write("not a database, and long enough to be looked at" * 10, "results.sqlite")
    done = place.call("plan")
    assert done.exit_code == 4
    assert "results.sqlite" in done.stderr


def cells():
    from benchmark.matrix.document import parse_matrix
    from benchmark.matrix.plan import MachineKind

    return parse_matrix(MATRIX.replace('"fake"', '"tensorflow"'), "m", machine_kind=MachineKind(0, 2)).cells


def duration(cell, seconds: float) -> dict:
    return {
        "cell_id": cell.cell_id, "dataset": cell.dataset, "model": cell.model, "epochs_planned": cell.epochs,
        "total_seconds": seconds, "peak_rss_bytes": 1 << 30,
    }  # fmt: skip


def test_nothing_is_forecast_from_nothing():
    found = expect(cells(), History(), None)
    assert (found.known_cells, found.wall_seconds, found.peak_rss_bytes) == (0, None, None)
    assert "not known before the first cells have run" in found.in_words()


def test_like_cells_make_a_forecast(monkeypatch):
    monkeypatch.setattr("benchmark.machine.available_cores", lambda: (0, 1))
    some = [cell for cell in cells() if cell.model == "simple_cnn" and cell.dataset == "digits"]
    known = History(durations=[duration(some[0], 10.0)], peaks={"simple_cnn": 1 << 30})
    found = expect(some, known, None)
    assert (found.cells, found.known_cells, found.work_seconds) == (6, 6, 60.0)
    assert found.wall_seconds == pytest.approx(30.0)
    assert found.in_words() == "forecast: about 30 s, 2 cells at once, up to 2.0 GiB of memory"
    assert expect(some, known, 1).wall_seconds == pytest.approx(60.0)


def test_settled_cells_cost_nothing():
    some = cells()
    known = History(statuses=dict.fromkeys((cell.cell_id for cell in some), "completed"))
    assert expect(some, known, None).in_words() == "forecast: nothing to do"
    assert "diverged" in expectation.SETTLED
