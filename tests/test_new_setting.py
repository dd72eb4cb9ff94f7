"""A version with more settings: it makes the ids that this one made, and takes what this one recorded.

The newer version is a copy of the package in which `CONTRIBUTING.md` was followed, word for word for its example.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from harness import MATRIX, ROOT, Run
from recipes import added, answers, copy_of_package, follow

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
def newer(tmp_path_factory) -> Path:
    """Where the newer version is imported from."""
    root = copy_of_package(tmp_path_factory.mktemp("newer"))
    follow("Add a setting", root)
    cell, settings = (root / "benchmark" / "matrix" / name for name in ("cell.py", "settings.py"))
    for kind, lines in FIELDS.items():
        cell.write_text(added(cell.read_text(), f"class {kind}", lines))
    settings.write_text(added(settings.read_text(), "_TABLE", ROWS))
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Run:
    """What this version recorded."""
    run = Run(tmp_path_factory.mktemp("recorded"))
    assert run.resume() == 0
    return run


@pytest.fixture
def place(recorded, tmp_path):
    """The same, to be changed."""
    shutil.copytree(recorded.folder, tmp_path / "place")
    run = Run(tmp_path / "place")
    yield run
    run.kill_everything()


def documents(run: Run, newer: Path, *commands: tuple[str, ...], machine: str = "test") -> list[dict]:
    """What the newer version says to commands, in one process."""
    documents = [(*words, "--format", "json") for words in commands]
    return [json.loads(text) for text in answers(run, newer, *documents, BENCH_MACHINE=machine)]


def answer(run: Run, *arguments: str, machine: str = "test") -> dict:
    """What this version says."""
    done = run.call(*arguments, "--format", "json", BENCH_MACHINE=machine)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def by_id(plan: dict) -> dict[str, dict]:
    return {cell["cell_id"]: cell for cell in plan["cells"]}


def test_new_settings_leave_the_ids_of_the_default_matrix_and_its_results_as_they_are(newer, tmp_path):
    run = Run(tmp_path, (ROOT / "matrix.toml").read_text())
    shutil.copy(RESULTS, run.database)
    before = by_id(answer(run, "plan", machine="reference"))
    first = next(iter(before))
    plan, shown, report = documents(run, newer, ("plan",), ("show", first), ("report",), machine="reference")
    after = by_id(plan)
    assert list(after) == list(before)
    assert {cell["status"] for cell in after.values()} == {"completed"}
    assert [{key: cell[key] for key in NEW} for cell in after.values()] == [NEW] * len(after)
    assert {key: shown["settings"][key] for key in NEW} == NEW
    assert report["tables"] == answer(run, "report", machine="reference")["tables"]


def test_a_new_setting_written_at_its_default_is_the_same_cell_as_without(newer, place):
    without = by_id(answer(place, "plan"))
    (place.folder / "matrix.toml").write_text(MATRIX.replace("[defaults]\n", f"[defaults]\n{AT_DEFAULT}"))
    (plan,) = documents(place, newer, ("plan",))
    assert by_id(plan).keys() == without.keys()


WRITTEN = {
    "gradient_noise=0.5": (0.5, ("stages[0].gradient_noise", 0.0, 0.5)),
    "distortion={ zoom = 0.1 }": ({"zoom": 0.1}, ("stages[0].distortion", [], [["zoom", 0.1]])),
    "sharpness=sharp": ("sharp", ("data.sharpness", "plain", "sharp")),
    "echo_seed=7": (7, ("echo_seed", None, 7)),
}


@pytest.fixture(scope="module")
def asked(newer, recorded) -> dict[str, list[dict]]:
    """What the newer version plans with each of these, and says of a cell."""
    commands = [(*words, "--set", written) for written in WRITTEN for words in (("plan",), ("why", FIRST))]
    said = iter(documents(recorded, newer, *commands))
    return {written: [next(said), next(said)] for written in WRITTEN}


@pytest.mark.parametrize("written", WRITTEN)
def test_a_new_setting_that_asks_for_something_is_another_cell_and_why_names_it(written, asked, recorded):
    (shown, change), (plan, why) = WRITTEN[written], asked[written]
    cells = by_id(plan)
    assert not cells.keys() & {cell_id for (cell_id,) in recorded.rows("select cell_id from cell")}
    assert [cell[written.partition("=")[0]] for cell in cells.values()] == [shown] * len(cells)
    assert why["nearest"][0]["changed"] == [dict(zip(("key", "recorded", "now"), change, strict=True))]


def test_finished_cells_are_taken_by_a_newer_version_and_come_out_identical(newer, place):
    count = ("query", "select count(*) n, max(first_run_id) run from execution", "--format", "json")
    commands = ["why", FIRST, "--format", "json"], ["run"], count, *(["reproduce", cell] for cell in (FIRST, CHILD))
    why, _, found, *reproduced = answers(place, newer, *commands, BENCH_MACHINE="test")
    assert json.loads(why)["decision"] == "reused"
    assert json.loads(found) == [{"n": 4, "run": 1}]
    assert [text.partition(":")[0] for text in reproduced] == ["identical"] * 2


def test_an_interrupted_cell_goes_on_in_a_newer_version_to_the_same_numbers(newer, recorded, tmp_path):
    run = Run(tmp_path)
    process = run.start("run", "--machine", "test", **run.held())
    try:
        run.wait_for("select count(*) from epoch where epoch = 2")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        before = run.epochs()
        answers(run, newer, ["run", "--machine", "test"])
    finally:
        run.kill_everything()
    assert run.rows("select count(*) > 0 from execution where resumed") == [(1,)]
    assert before.items() <= run.epochs().items()
    assert run.digests() == recorded.digests()


def test_seeds_of_two_versions_stand_in_one_row_of_the_report(newer, place):
    (place.folder / "matrix.toml").write_text(MATRIX.replace("seed = [0, 1]", "seed = [0, 1, 2]"))
    report = ["report", "--select", "strategy=scratch", "--format", "json"]
    _, text = answers(place, newer, ["run"], report, BENCH_MACHINE="test")
    rows = json.loads(text)["tables"][0]["rows"]
    assert [row["n"] for row in rows] == [{"completed": 3, "planned": 3}]


def test_what_only_a_newer_version_can_read_is_said_and_disturbs_nothing_else(newer, place):
    (place.folder / "matrix.toml").write_text(MATRIX.replace("[defaults]\n", "[defaults]\ngradient_noise = 0.5\n"))
    answers(place, newer, ["run", "--machine", "test"])
    (place.folder / "matrix.toml").write_text(MATRIX)
    (theirs,) = place.rows("select min(cell_id) from cell where first_run_id = 2")[0]
    shown = place.call("show", theirs)
    assert shown.exit_code == 4
    assert shown.stderr.count("\n") == 1
    assert f"cell {theirs[:8]}" in shown.stderr
    assert "Upgrade bench" in shown.stderr
    assert answer(place, "why", FIRST)["decision"] == "reused"
    for command in (["plan"], ["report"], ["db", "check"], ["run", "--machine", "test"]):
        done = place.call(*command)
        assert done.exit_code == 0, done.stderr
