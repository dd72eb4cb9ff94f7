"""`bench plan` says what would be done, and does nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_workplace import MATRIX, Workplace, children_seconds

from benchmark.cli.runs.run_forecast import History, expect
from benchmark.matrix.settings import SETTINGS
from benchmark.scheduling.run_options import RunOptions


def options_for(jobs=None):
    return RunOptions("tester", Path("results.artifacts"), Path("cache"), jobs=jobs)


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
        started = children_seconds()
        assert place.run("plan", "--matrix", "tour.toml").returncode == 0
        times.append(children_seconds() - started)
    started = children_seconds()
    subprocess.run([sys.executable, "-c", "import sqlalchemy"], check=True)
    # a sixth of a second on a machine with nothing else to do, where a plan takes less than a second
    assert min(times) < 6 * (children_seconds() - started)


def test_plan_and_run_refuse_a_database_that_is_none(place):
    place.write("not a database, and long enough to be looked at" * 10, "results.sqlite")
    done = place.call("plan")
    assert done.exit_code == 4
    assert "results.sqlite" in done.stderr


def cells():
    from benchmark.matrix.load import load_matrix
    from benchmark.matrix.plan import MachineKind

    return load_matrix("m", MATRIX.replace('"fake"', '"tensorflow"'), machine_kind=MachineKind(0, 2)).cells


def knowing(efforts=()) -> History:
    from benchmark.forecast.estimate import Durations
    from benchmark.results.records import Recorded

    return History(Recorded(), Durations(efforts=efforts))


def effort(cell, seconds: float) -> dict:
    return {
        "spec": json.dumps(cell.to_dict()), "executions": 1, "epochs": cell.epochs, "setup_seconds": 0.1,
        "first_epoch_seconds": 2.0, "fit_seconds": seconds - 1, "total_seconds": seconds, "peak_rss_bytes": 1 << 30,
    }  # fmt: skip


def test_a_machine_without_a_record_is_told_what_is_usual(monkeypatch):
    monkeypatch.setattr("benchmark.machine.available_cores", lambda: (0, 1))
    found = expect(cells(), knowing(), options_for())
    assert (found.known_cells, found.cells) == (0, len(cells()))
    assert 5 < found.wall_seconds < 120
    assert "no cell of these models has been measured on this machine yet" in "\n".join(found.in_words())


def test_like_cells_make_a_forecast(monkeypatch):
    monkeypatch.setattr("benchmark.machine.available_cores", lambda: (0, 1))
    some = [cell for cell in cells() if (cell.model, cell.dataset) == ("simple_cnn", "digits")]
    known = knowing(effort(cell, 10.0) for cell in (some[0], some[-1]))
    found = expect(some, known, options_for())
    assert (found.cells, found.known_cells, found.work_seconds) == (6, 6, 60.0)
    assert found.wall_seconds == pytest.approx(34, abs=1)
    words = found.in_words()
    assert len(words) == 1
    assert re.fullmatch(
        r"forecast: about 34 s, 2 cells at once, up to 2\.0 GiB of memory, \d\.\d MiB on the disk", words[0]
    )
    assert expect(some, known, options_for(1)).wall_seconds == pytest.approx(64, abs=1)


def test_a_budget_names_the_cells_that_fit(monkeypatch):
    monkeypatch.setattr("benchmark.machine.available_cores", lambda: (0, 1))
    some = [cell for cell in cells() if (cell.model, cell.dataset) == ("simple_cnn", "digits")]
    known = knowing([effort(some[0], 10.0), effort(some[-1], 20.0)])
    found = expect(some, known, options_for(), 30.0)
    # 26 s after the imports are enough for two long ones or four short ones
    assert {found.of_cell(cell.cell_id)["fits"] for cell in some[:3]} == {False}
    assert sum(found.of_cell(cell.cell_id)["fits"] for cell in some[3:]) == 2
    assert found.budget.shortest_first == 3
    assert found.in_words()[-1] == "  30 s are enough for 2 of 6 cells; with the shortest first for 3"
    assert expect(some, known, options_for(), 600.0).in_words()[-1] == "  all of it fits into 10:00 min"


def test_the_plan_says_of_each_cell_what_it_will_take(place):
    document = place.document("plan", "--budget", "2h")
    assert all(cell["forecast_seconds"] > 0 and cell["fits"] for cell in document["cells"])
    assert all(cell["forecast_basis"] == "usual" for cell in document["cells"])
    assert document["forecast"]["bases"] == {"usual": len(document["cells"])}
    assert document["forecast"]["budget"]["fitting_cells"] == len(document["cells"])
    text = place.call("plan", "--budget", "2h").stdout
    assert "all of it fits into 2:00 h" in text


def test_a_run_says_how_good_its_forecast_was(place):
    assert "about" in place.call("run", "--select", "seed=0").stderr
    done = place.call("run", "--rerun")
    assert re.search(r"the forecast was [\d.]+ m?s: ", done.stderr)
    query = place.document("query", "SELECT forecast_seconds FROM run ORDER BY run_id")
    assert all(row["forecast_seconds"] > 0 for row in query)
    settled = place.document("plan", "--select", "seed=0")
    assert {cell["forecast_seconds"] for cell in settled["cells"] if cell["status"] == "completed"} == {None}


def test_where_nothing_runs_nothing_is_forecast():
    assert expect([], knowing(), options_for()).in_words() == ["forecast: nothing to do"]


def test_settings_and_epochs_of_stages_are_shown_as_a_matrix_writes_them(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "s"\nloss = [{ kind = "focal", gamma = 1 }, "cross_entropy"]\n'
        '[strategy.s]\n[[strategy.s.stage]]\ntrain = "head"\nepochs = 2\n[[strategy.s.stage]]\nepochs = 2\n'
    )
    shown = place.call("plan").stdout
    assert '{gamma = 1.0, kind = "focal"}' in shown
    assert "epochs 2+2" in shown
