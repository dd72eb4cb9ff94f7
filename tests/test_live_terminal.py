"""The live display on a real terminal: what is on the screen while a run goes on, and what stays there when it has ended."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cli_workplace import Workplace
from simulated_cluster import Cluster
from terminal_screen import Terminal, frame_of

from benchmark.machine import cpu_cores

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1, 2, 3, 4, 5]
backend = "fake"

[defaults]
epochs = 4
"""

needs_two_cores = pytest.mark.skipif(cpu_cores() < 2, reason="on one core one cell runs at a time")

ROW = r"seed \d +\d/4 .*0\.\d{3}"


@pytest.fixture
def place(tmp_path) -> Workplace:
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


def held(place: Workplace, epoch: int = 3) -> dict[str, str]:
    """Cells wait before this epoch, until `let_go`."""
    return {"BENCH_FAKE_GATE": f"{epoch}:{place.directory / 'gate'}"}


def let_go(place: Workplace) -> None:
    (place.directory / "gate").touch()


def two_rows(text: str) -> bool:
    """Both cells wait at the gate, and the computer has been measured."""
    return len(re.findall(r"seed \d +2/4 .*0\.\d{3}", text)) == 2 and "CPU" in text


@needs_two_cores
def test_ctrl_c_takes_the_picture_away_and_says_what_a_second_one_does(place):
    terminal = Terminal(place, "run", "--jobs", "2", **held(place))
    heading, *rows, whole, computer = frame_of(terminal.wait_for(two_rows))
    assert heading.split() == ["cell", "epoch", "val", "images/s", "left"]
    assert len(rows) == 2
    assert re.fullmatch(r"0/6 cells ━*─* \d+:\d\d( · about \d+:\d\d left)?", whole)
    assert re.match(r"CPU \d+ % · memory [\d.]+/[\d.]+ GiB", computer)
    terminal.type("\x03")
    code, lines = terminal.end()
    text = "\n".join(lines)
    assert code == 130, text
    assert terminal.shows_cursor
    assert (
        "interrupted by SIGINT: waiting for 2 running cells to save their state; press\nCtrl-C again to kill them"
        in text
    )
    assert not re.search(rf"{ROW}|^cell |━|CPU|\^C", text, re.MULTILINE), "nothing of the picture is left"
    assert text.count("interrupted  ") == 2
    assert lines[-1] == "  bench run --jobs 2   goes on from here"


@pytest.mark.parametrize(
    ("columns", "lines", "variables"),
    [
        (40, 12, {"LANG": "C", "NO_COLOR": "1"}),
        pytest.param(40, 24, {}, marks=pytest.mark.exhaustive),
        pytest.param(80, 3, {}, marks=pytest.mark.exhaustive),
        pytest.param(120, 4, {"LC_ALL": "C"}, marks=pytest.mark.exhaustive),
        pytest.param(200, 50, {"NO_COLOR": "1"}, marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_in_a_small_terminal_leaves_a_line_for_each_cell(place, columns, lines, variables):
    terminal = Terminal(place, "run", "--jobs", "2", columns=columns, lines=lines, **held(place), **variables)
    shown = terminal.wait_for(
        lambda text: re.search(r"/6 cells.*running\)", text) or len(re.findall(" 2/4 ", text)) == min(2, cpu_cores())
    )
    assert all(len(line) <= columns for line in shown)
    if "LANG" in variables or "LC_ALL" in variables:
        assert "\n".join(shown).isascii()
    let_go(place)
    code, left = terminal.end()
    text = "\n".join([*terminal.above, *left])
    assert code == 0, text
    assert len(re.findall(r"completed +test 0\.\d{3}", text)) == 6
    assert not re.search(r"^cell |running\)|[━=]─|CPU", text, re.MULTILINE)


@needs_two_cores
@pytest.mark.exhaustive
def test_a_terminal_that_becomes_smaller_is_drawn_anew(place):
    terminal = Terminal(place, "run", "--jobs", "2", columns=100, **held(place))
    terminal.wait_for(two_rows)
    terminal.resize(44, 10)
    terminal.wait_for(lambda text: re.search(r"^0/6 cells .*~?", text, re.MULTILINE) and len(text.split("\n")) <= 6)
    terminal.resize(120, 30)
    let_go(place)
    code, lines = terminal.end()
    assert code == 0
    assert sum("completed  test" in line for line in lines) == 6
    assert not re.search(r"^cell |━", "\n".join(lines), re.MULTILINE)


@pytest.mark.exhaustive
def test_a_second_ctrl_c_kills_and_leaves_a_clean_terminal(place):
    """A cell that does not listen to being asked."""
    deaf = {"BENCH_FAULT": "batch:4:stop"}
    terminal = Terminal(place, "run", "--jobs", "1", "--select", "seed=0", **deaf)
    terminal.wait_for(lambda text: re.search(r"seed 0|1/4", text) and "0/1 cells" in text)
    terminal.type("\x03")
    terminal.wait_for(lambda text: "Ctrl-C again" in text.replace("\n", " "))
    terminal.type("\x03")
    code, lines = terminal.end()
    assert code == 130
    assert "killing what still runs" in lines
    assert not re.search(r"^cell |━", "\n".join(lines), re.MULTILINE)


@needs_two_cores
def test_another_terminal_follows_a_run_and_leaves_it_alone(place):
    running = subprocess.Popen(
        place.command("run", "--jobs", "2", "--name", "first"), cwd=place.directory,
        env={**place.environment, **held(place)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    # what it writes first: then its database is there
    assert running.stdout is not None
    while "started" not in running.stdout.readline():
        assert running.poll() is None
    terminal = Terminal(place, "status", "--follow")
    lines = terminal.wait_for(two_rows)
    assert lines[0] == "run 1 'first' on tester: Ctrl-C ends this view, and leaves the run alone"
    heading, *rows, whole, _ = frame_of(lines)
    assert heading.split() == ["cell", "epoch", "val", "images/s", "left"]
    assert [re.sub("[━─]", "", row).split()[:3] for row in rows] == [["seed", "0", "2/4"], ["seed", "1", "2/4"]]
    assert whole.startswith("0/6 cells")
    terminal.type("\x03")
    code, lines = terminal.end()
    assert (code, lines[1:]) == (130, ["", "interrupted"])
    assert terminal.shows_cursor
    assert running.poll() is None
    let_go(place)
    assert "6 completed" in running.communicate()[0]
    assert running.returncode == 0
    assert sorted(Path(place.directory).glob("results.sqlite-*")) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "dumb", "CLICOLOR_FORCE": "1"}])
def test_a_dumb_terminal_gets_lines(place, variables):
    terminal = Terminal(place, "run", "--select", "seed=0", columns=200, **variables)
    code, lines = terminal.end()
    assert code == 0
    assert sum(": completed in" in line for line in lines) == 1
    assert not any("━" in line for line in lines)


@pytest.mark.exhaustive
def test_forced_colour_draws_no_picture_into_a_file(place):
    done = place.run("run", "--select", "seed=0", CLICOLOR_FORCE="1")
    assert done.returncode == 0
    assert "\x1b[?25l" not in done.stderr
    assert done.stderr.count(": completed in") == 1


@pytest.mark.exhaustive
@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_cells_on_nodes_are_shown_with_their_nodes_here_and_from_elsewhere(place, target):
    cluster = Cluster(place, target)
    terminal = Terminal(place, *cluster.arguments(), columns=100, **held(place))
    lines = terminal.wait_for(lambda text: {*re.findall(r"seed \d +(node-\d) +[23]/4", text)} == {"node-1", "node-2"})
    assert frame_of(lines)[0].split()[:2] == ["cell", "node"]
    assert not any(line.startswith("CPU") for line in lines)
    elsewhere = Terminal(place, "status", "--follow", "--db", target, columns=100)
    followed = elsewhere.wait_for(lambda text: {*re.findall(r"seed \d +(node-\d) +2/4", text)} == {"node-1", "node-2"})
    assert frame_of(followed)[0].split()[:2] == ["cell", "node"]
    let_go(place)
    for each in (terminal, elsewhere):
        code, left = each.end()
        assert code == 0
        assert sum("completed  test" in line for line in left) == 6
        assert "6 completed" in "\n".join(left)
