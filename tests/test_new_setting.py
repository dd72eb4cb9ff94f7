"""A version with more settings: it makes the ids that this one made, and takes what this one recorded.

The newer version is a copy of the package in which `CONTRIBUTING.md` was followed, word for word for its example.
"""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from harness import MATRIX, ROOT, Run
from recipes import added, copy_of_package, follow

from benchmark.results.store.reference import RESULTS

FIRST, CHILD = "strategy=scratch,seed=0", "strategy=continued,seed=0"
FIELDS = {
    "Stage": "    distortion: Parameters = ()\n",
    "Data": '    sharpness: str = "plain"\n',
    "Cell": "    echo_seed: int | None = None\n",
}
ROWS = """\
    Setting("distortion", "stage", Augmentation(), (), "false", "a table"),
    Setting("sharpness", "data", Choice(("plain", "sharp")), "plain", "plain", "a word"),
    Setting("echo_seed", "cell", Integer(0, word="seed"), None, "seed", "a number"),
"""
NEW = {"gradient_noise": 0.0, "distortion": None, "sharpness": "plain", "echo_seed": None}
AT_DEFAULT = 'gradient_noise = 0\ndistortion = { rotation = 0 }\nsharpness = "plain"\necho_seed = "seed"\n'


@pytest.fixture(scope="module")
def newer(tmp_path_factory) -> str:
    """Where the newer version is imported from."""
    root = copy_of_package(tmp_path_factory.mktemp("newer"))
    follow("Add a setting", root)
    cell, settings = (root / "benchmark" / "matrix" / name for name in ("cell.py", "settings.py"))
    for kind, lines in FIELDS.items():
        cell.write_text(added(cell.read_text(), f"class {kind}", lines))
    settings.write_text(added(settings.read_text(), "_TABLE", ROWS))
    return str(root)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Run:
    """What this version recorded."""
    run = Run(tmp_path_factory.mktemp("recorded"))
    assert run.bench().returncode == 0
    return run


@pytest.fixture
def place(recorded, tmp_path):
    """The same, to be changed."""
    shutil.copytree(recorded.folder, tmp_path / "place")
    run = Run(tmp_path / "place")
    yield run
    run.kill_everything()


def answer(run: Run, version: str, *arguments: str, machine: str = "test") -> dict:
    done = run.bench(*arguments, "--format", "json", PYTHONPATH=version, BENCH_MACHINE=machine)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def planned(run: Run, version: str, *arguments: str, machine: str = "test") -> dict[str, dict]:
    return {cell["cell_id"]: cell for cell in answer(run, version, "plan", *arguments, machine=machine)["cells"]}


def test_new_settings_leave_the_ids_of_the_default_matrix_and_its_results_as_they_are(newer, tmp_path):
    run = Run(tmp_path, (ROOT / "matrix.toml").read_text())
    shutil.copy(RESULTS, run.database)
    before, after = (planned(run, version, machine="reference") for version in (str(ROOT), newer))
    assert list(after) == list(before)
    assert {cell["status"] for cell in after.values()} == {"completed"}
    assert [{key: cell[key] for key in NEW} for cell in after.values()] == [NEW] * len(after)
    shown = answer(run, newer, "show", next(iter(after)), machine="reference")
    assert {key: shown["settings"][key] for key in NEW} == NEW
    tables = [answer(run, version, "report", machine="reference")["tables"] for version in (str(ROOT), newer)]
    assert tables[0] == tables[1]


def test_a_new_setting_written_at_its_default_is_the_same_cell_as_without(newer, place):
    without = planned(place, str(ROOT))
    (place.folder / "matrix.toml").write_text(MATRIX.replace("[defaults]\n", f"[defaults]\n{AT_DEFAULT}"))
    assert planned(place, newer).keys() == without.keys()


@pytest.mark.parametrize(
    ("written", "shown", "change"),
    [
        ("gradient_noise=0.5", 0.5, ("stages[0].gradient_noise", 0.0, 0.5)),
        ("distortion={ zoom = 0.1 }", {"zoom": 0.1}, ("stages[0].distortion", [], [["zoom", 0.1]])),
        ("sharpness=sharp", "sharp", ("data.sharpness", "plain", "sharp")),
        ("echo_seed=7", 7, ("echo_seed", None, 7)),
    ],
)
def test_a_new_setting_that_asks_for_something_is_another_cell_and_why_names_it(
    written, shown, change, newer, recorded
):
    cells = planned(recorded, newer, "--set", written)
    assert not cells.keys() & {cell_id for (cell_id,) in recorded.rows("select cell_id from cell")}
    assert [cell[written.partition("=")[0]] for cell in cells.values()] == [shown] * len(cells)
    nearest = answer(recorded, newer, "why", FIRST, "--set", written)["nearest"][0]
    assert nearest["changed"] == [dict(zip(("key", "recorded", "now"), change, strict=True))]


def test_finished_cells_are_taken_by_a_newer_version_and_come_out_identical(newer, place):
    assert answer(place, newer, "why", FIRST)["decision"] == "reused"
    assert place.bench("run", "--machine", "test", PYTHONPATH=newer).returncode == 0
    assert place.rows("select count(*), max(first_run_id) from execution") == [(4, 1)]
    for cell in (FIRST, CHILD):
        assert answer(place, newer, "reproduce", cell)["verdict"] == "identical"


def test_an_interrupted_cell_goes_on_in_a_newer_version_to_the_same_numbers(newer, recorded, tmp_path):
    run = Run(tmp_path)
    process = run.start("run", "--machine", "test", **run.held())
    try:
        run.wait_for("select count(*) from epoch where epoch = 2")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        before = run.epochs()
        assert run.bench("run", "--machine", "test", PYTHONPATH=newer).returncode == 0
    finally:
        run.kill_everything()
    assert run.rows("select count(*) > 0 from execution where resumed") == [(1,)]
    assert before.items() <= run.epochs().items()
    assert run.digests() == recorded.digests()


def test_seeds_of_two_versions_stand_in_one_row_of_the_report(newer, place):
    (place.folder / "matrix.toml").write_text(MATRIX.replace("seed = [0, 1]", "seed = [0, 1, 2]"))
    assert place.bench("run", "--machine", "test", PYTHONPATH=newer).returncode == 0
    rows = answer(place, newer, "report", "--select", "strategy=scratch")["tables"][0]["rows"]
    assert [row["n"] for row in rows] == [{"completed": 3, "planned": 3}]


def test_what_only_a_newer_version_can_read_is_said_and_disturbs_nothing_else(newer, place):
    (place.folder / "matrix.toml").write_text(MATRIX.replace("[defaults]\n", "[defaults]\ngradient_noise = 0.5\n"))
    assert place.bench("run", "--machine", "test", PYTHONPATH=newer).returncode == 0
    (place.folder / "matrix.toml").write_text(MATRIX)
    (theirs,) = place.rows("select min(cell_id) from cell where first_run_id = 2")[0]
    shown = place.bench("show", theirs)
    assert shown.returncode == 4
    assert shown.stderr.count("\n") == 1
    assert f"cell {theirs[:8]}" in shown.stderr
    assert "Upgrade bench" in shown.stderr
    assert answer(place, str(ROOT), "why", FIRST)["decision"] == "reused"
    for command in (["plan"], ["report"], ["db", "check"], ["run", "--machine", "test"]):
        done = place.bench(*command)
        assert done.returncode == 0, done.stderr
