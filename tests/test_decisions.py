"""Whether a cell will run is said once: `plan`, `why`, `run --dry-run` and `status` agree, and `run` does it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_workplace import Workplace, copied_place
from PIL import Image
from waiting import wait_until

from benchmark.status import Outlook

MATRIX = """
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1]
backend = "fake"

[[matrix.include]]
dataset = "digits"
model = "simple_cnn"
strategy = ["continued", "once_more"]
seed = 0

[defaults]
epochs = 3

[strategy.continued]
weights = { dataset = "digits_low", strategy = "scratch" }

[strategy.once_more]
weights = { dataset = "digits", strategy = "continued" }
"""
NAMES = {("scratch", 0): "parent", ("scratch", 1): "other", ("continued", 0): "child", ("once_more", 0): "grandchild"}
SLOW = {"BENCH_FAKE_EPOCH_SECONDS": "0.1"}
DECIDED = ("will_run", "decision", "reason")


# ---- what happened before


def nothing(place: Workplace) -> None:
    place.write(MATRIX)


def finished(place: Workplace) -> None:
    place.write(MATRIX)
    assert place.call("run").exit_code == 0


def failed(place: Workplace) -> None:
    place.write(MATRIX)
    done = place.call("run", "--select", "strategy=scratch,seed=0", BENCH_FAULT="epoch.sent:2:raise:ValueError")
    assert done.exit_code == 3, done.stderr


def failed_with_children(place: Workplace) -> None:
    failed(place)
    assert place.call("run").exit_code == 3


def diverged(place: Workplace) -> None:
    place.write(MATRIX)
    assert place.call("run", "--select", "strategy=scratch,seed=0", BENCH_FAKE_DIVERGES="2").exit_code == 0


def killed(place: Workplace) -> None:
    place.write(MATRIX)
    done = place.run("run", "--select", "strategy=scratch,seed=1", BENCH_FAULT="commit:2:kill9", **SLOW)
    assert done.returncode == -signal.SIGKILL


def undetermined(place: Workplace) -> None:
    place.write(MATRIX + "\n[[matrix.override]]\nset = { deterministic = false }\n")
    assert place.call("run").exit_code == 0


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Callable[[Callable[[Workplace], None]], Workplace]:
    """Places in which something has happened, each made once."""
    made: dict[Callable[[Workplace], None], Workplace] = {}

    def place_of(start: Callable[[Workplace], None]) -> Workplace:
        if start not in made:
            made[start] = Workplace(tmp_path_factory.mktemp(start.__name__))
            start(made[start])
        return made[start]

    return place_of


# ---- what was done to it since


def weights_of(place: Workplace, name: str) -> Path:
    cell_id = next(cell["cell_id"] for cell in place.document("plan")["cells"] if name_of(cell) == name)
    return next((place.directory / "results.artifacts" / cell_id).rglob("weights.npz"))


def deleted(name: str) -> Callable[[Workplace], None]:
    return lambda place: shutil.rmtree(weights_of(place, name).parent)


def damaged(place: Workplace) -> None:
    """One bit is another, and the file has its old size and time of change."""
    weights = weights_of(place, "other")
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(place: Workplace) -> None:
    for path in (place.directory / "results.artifacts").rglob("weights.npz"):
        path.touch()


def other_parent(place: Workplace) -> None:
    """The child's record says that it started from other weights than its parent keeps today."""
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        connection.execute("DROP TRIGGER execution_is_final")
        cells = "SELECT cell_id FROM cell WHERE strategy = 'continued'"
        connection.execute(f"UPDATE execution SET weights_sha256 = '{'0' * 64}' WHERE cell_id IN ({cells})")
        connection.commit()


def untouched(_place: Workplace) -> None:
    return


@dataclass(frozen=True)
class State:
    """A state that cells can be in.

    Attributes:
        start, change: How they came into it.
        options: Of `bench run`.
        decisions: What is said of each cell, by its name.
        said: What the reason of a cell must name.
    """

    start: Callable[[Workplace], None]
    decisions: dict[str, str]
    change: Callable[[Workplace], None] = untouched
    options: tuple[str, ...] = ()
    said: tuple[tuple[str, str], ...] = ()


def all_of(parent: str, child: str, grandchild: str, other: str) -> dict[str, str]:
    return {"parent": parent, "child": child, "grandchild": grandchild, "other": other}


STATES = {
    "never run": State(
        nothing,
        all_of("runs", "waits", "waits", "runs"),
        said=(("other", "no such cell was ever recorded"), ("child", "its parent cell")),
    ),
    "a parent that comes back though it was not selected": State(
        nothing, {"parent": "runs", "child": "waits"}, options=("--select", "strategy=continued")
    ),
    "completed": State(
        finished, all_of("reused", "reused", "reused", "reused"), said=(("other", "it completed in run 1"),)
    ),
    "run on another machine": State(
        finished,
        all_of("runs", "waits", "waits", "runs"),
        options=("--machine", "elsewhere"),
        said=(("other", "tester only"),),
    ),
    "asked for once more": State(finished, all_of("runs", "waits", "waits", "runs"), options=("--rerun",)),
    "its artifacts deleted": State(
        finished,
        all_of("reused", "reused", "reused", "runs"),
        change=deleted("other"),
        said=(("other", "cannot be read"),),
    ),
    "an artifact damaged": State(
        finished,
        all_of("reused", "reused", "reused", "runs"),
        change=damaged,
        said=(("other", "weights.npz has another digest than recorded"),),
    ),
    "its artifacts touched": State(finished, all_of("reused", "reused", "reused", "reused"), change=touched),
    "its parent runs again and comes to the same": State(
        finished,
        all_of("runs", "reused", "reused", "reused"),
        change=deleted("parent"),
        said=(("child", "the result stands"),),
    ),
    "the weights of its parent have changed": State(
        finished,
        {"parent": "reused", "other": "reused", "child": "runs"},
        change=other_parent,
        options=("--exclude", "strategy=once_more"),
        said=(("child", "the weights of its parent have changed"),),
    ),
    "killed": State(killed, all_of("runs", "waits", "waits", "resumes"), said=(("other", "it was running in run 1"),)),
    "failed": State(
        failed,
        all_of("settled", "blocked", "blocked", "runs"),
        said=(("parent", "--retry-failed"), ("child", "ended as failed"), ("grandchild", "is blocked")),
    ),
    "failed, its children blocked": State(
        failed_with_children, all_of("settled", "blocked", "blocked", "reused"), said=(("child", "ended as failed"),)
    ),
    "failed, to be retried": State(
        failed_with_children, all_of("resumes", "waits", "waits", "reused"), options=("--retry-failed",)
    ),
    "diverged": State(
        diverged, all_of("reused", "blocked", "blocked", "runs"), said=(("parent", "it diverged in run 1"),)
    ),
}


def name_of(cell: dict[str, Any]) -> str:
    return NAMES[cell["strategy"], cell["seed"]]


def said_by(place: Workplace, *arguments: str) -> dict[str, tuple[Any, ...]]:
    """What a command says of each cell, by its name."""
    return {name_of(cell): tuple(cell[key] for key in DECIDED) for cell in place.document(*arguments)["cells"]}


def attempts(place: Workplace) -> dict[str, int]:
    """How often each cell was tried."""
    if not (place.directory / "results.sqlite").exists():
        return {}
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        rows = connection.execute(
            "SELECT strategy, seed, count(*) FROM attempt JOIN execution USING (execution_id) JOIN cell USING (cell_id)"
            " GROUP BY 1, 2"
        ).fetchall()
    return {NAMES[strategy, seed]: count for strategy, seed, count in rows}


def files_of(place: Workplace) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns
        for path in place.directory.rglob("*")
        # SQLite's own, of a reader
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("name", STATES)
def test_every_command_says_the_same_of_a_cell_and_run_does_it(name, started, tmp_path):
    state = STATES[name]
    place = copied_place(started(state.start), tmp_path)
    state.change(place)
    before = files_of(place)
    dry = said_by(place, "run", "--dry-run", *state.options)
    assert {cell: decision for cell, (_, decision, _) in dry.items()} == state.decisions
    for cell, words in state.said:
        assert words in dry[cell][2]
    assert all(will_run == Outlook(decision).will_run for will_run, decision, _ in dry.values())

    asked = [option for option in state.options if option not in {"--rerun", "--retry-failed"}]
    if asked == list(state.options):
        assert said_by(place, "plan", *asked) == dry
        for (strategy, seed), cell in NAMES.items():
            if cell in dry:
                answer = place.document("why", f"strategy={strategy},seed={seed}", *asked)
                assert tuple(answer[key] for key in DECIDED) == dry[cell]
    assert files_of(place) == before, "a plan has written something"

    tried = attempts(place)
    done = place.call("run", *state.options)
    to_do = {cell for cell, (will_run, _, _) in dry.items() if will_run}
    now = attempts(place)
    trained = {cell for cell in now if now[cell] > tried.get(cell, 0)}
    assert trained == to_do, done.stderr
    assert f": {len(to_do)} cell{'s' * (len(to_do) != 1)} to do" in done.stderr
    recorded = {name_of(cell): cell for cell in place.document("status")["cells"]}
    for cell, (_, decision, reason) in dry.items():
        if decision == Outlook.BLOCKED:
            assert (recorded[cell]["status"], recorded[cell]["detail"]) == (Outlook.BLOCKED, reason)
        if decision in {Outlook.RUNS, Outlook.WAITS} and tried.get(cell) and "--machine" not in state.options:
            assert "--rerun" in state.options or f"runs again: {reason}" in done.stderr


def test_a_parent_that_may_come_to_other_weights_is_waited_for(started, tmp_path):
    place = copied_place(started(undetermined), tmp_path)
    deleted("parent")(place)
    said = said_by(place, "plan")
    assert {cell: decision for cell, (_, decision, _) in said.items()} == all_of("runs", "waits", "waits", "reused")
    assert "is expected to come to other weights" in said["child"][2]


def test_a_cell_that_is_running_is_waited_for_and_resumes_when_it_was_interrupted(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    command = place.command("run", "--select", "strategy=scratch,seed=1")
    environment = {**place.environment, "BENCH_FAKE_GATE": f"1:{tmp_path / 'never'}"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: process.poll() is not None or attempts_begun(place))
        assert process.poll() is None
        said = said_by(place, "plan")
        assert said["other"] == (True, "waits", "run 1 is running it")
        process.send_signal(signal.SIGINT)
    said = said_by(place, "plan")
    assert said["other"] == (True, "resumes", "it was interrupted in run 1")
    status = place.document("status")["cells"]
    assert [cell["status"] for cell in status] == ["interrupted"]
    assert place.call("run", "--select", "strategy=scratch,seed=1").exit_code == 0
    assert attempts(place) == {"other": 2}


def attempts_begun(place: Workplace) -> bool:
    try:
        return bool(attempts(place))
    except sqlite3.OperationalError:
        # its tables are being made
        return False


def test_a_dry_run_shows_what_would_end_the_run_and_what_its_options_do(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    notes = place.document("run", "--dry-run", "--yes-n-cells", "3", "--timeout", "0.001s")["notes"]
    assert any("`bench run` would be refused: --yes-n-cells says 3 cells" in note for note in notes)
    assert any("4 cells are expected to take longer than --timeout" in note for note in notes)
    assert place.document("run", "--dry-run", "--exclusive")["forecast"]["jobs"] == 1


# ---- users' own data, which cells other than those of tests are trained on

PICTURES = """
[matrix]
dataset = "own"
model = "own"
strategy = "scratch"

[defaults]
epochs = 1

[dataset.own]
source = "folder:pictures"
image_size = 16
color = "grey"

[model.own]
command = ["python", "own.py"]
"""
SCRIPT = """\
from benchmark import cell
images, _ = cell.test
cell.finish(probabilities=[[0.5, 0.5]] * len(images))
"""


def draw(folder: Path) -> None:
    for side, count in (("train", 20), ("test", 10)):
        for label, name in enumerate("ab"):
            place = folder / side / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = np.random.default_rng(index).integers(0, 99, (16, 16)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")


def test_data_that_have_changed_are_seen_before_a_run_and_those_that_were_touched_are_compared(tmp_path):
    place = Workplace(tmp_path)
    place.write(PICTURES)
    place.write(SCRIPT, "own.py")
    draw(tmp_path / "pictures")
    picture = tmp_path / "pictures" / "train" / "a" / "0.png"

    def ask() -> set[tuple[Any, ...]]:
        said = place.document("plan")
        assert said["cells"] == place.document("run", "--dry-run")["cells"]
        for cell in said["cells"]:
            answer = place.document("why", cell["cell_id"])
            assert all(answer[key] == cell[key] for key in DECIDED)
        return {tuple(cell[key] for key in DECIDED) for cell in said["cells"]}

    def run() -> str:
        done = place.call("run", "--allow-plugins")
        assert done.exit_code == 0, done.stderr
        return done.stderr

    run()
    assert ask() == {(False, "reused", "it completed in run 1, and its files and data are as they were recorded")}
    picture.touch()
    changed = "but the files of its data have changed since; they are prepared again and compared first"
    assert ask() == {(True, "runs", f"it completed in run 1, {changed}")}
    assert "1 completed (1 from earlier runs)" in run()
    Image.new("L", (16, 16), 9).save(picture)
    assert ask() == {(True, "runs", f"it completed in run 1, {changed}")}
    said = run()
    assert "1 cell to do" in said
    assert "but its data have changed" in said
    shutil.rmtree(tmp_path / "cache" / "prepared")
    ((will_run, decision, reason),) = ask()
    assert (will_run, decision) == (False, "reused")
    assert "its data are no longer in the cache, and are prepared again and compared first" in reason
    assert "1 completed (1 from earlier runs)" in run()
    assert {decision for _, decision, _ in ask()} == {"reused"}
