"""What `bench run` shows while it works: the board, the live picture of it, and the plain log."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmark.cli.progress.board import Board
from benchmark.cli.progress.live_display import LiveDisplay, Picture
from benchmark.cli.progress.plain_log import PlainLog
from benchmark.cli.terminal import streams
from benchmark.events import EpochFinished, Progress, Resumed, StageStarted
from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cell(name: str = "a", model: str = "simple_cnn", epochs: int = 4, stages: int = 1) -> Cell:
    stage = Stage("all", epochs, 32, "adam", 1e-3, None, 0.0, 0.0, (), None, None)
    return Cell(
        cell_id=name * 20,
        dataset="digits",
        model=model,
        strategy="scratch",
        strategy_label="Scratch",
        seed=0,
        data=Data("digits", None, 10, 16, "grey", None, None, 0.1),
        architecture=Architecture("simple_cnn", ()),
        weights=Weights("none"),
        stages=(stage,) * stages,
        keep="best",
        monitor="val_accuracy",
        labels="integer",
        threads=1,
        precision="float32",
        backend="tensorflow",
        device="auto",
        device_kind="cpu",
        deterministic=True,
    )


def epoch(number: int, stage: int = 1, val_accuracy: float | None = 0.875) -> EpochFinished:
    val_loss = None if val_accuracy is None else 0.25
    return EpochFinished(
        stage, number, number, 0.75, 0.5, val_accuracy, val_loss, 1e-3, 1.0, 0.1, 0.7, 0.1, 0.1, 100.0, False, True
    )


def plan_of(*cells: Cell):
    return SimpleNamespace(cells=cells, axes=(), path="matrix.toml", notes=(), left_out=())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock) -> Board:
    return Board(clock=clock)


def drawn(board: Board, width: int, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False, no_color=True)
    console.print(Picture(board))
    return console.file.getvalue()


def test_what_is_being_prepared_is_drawn_above_the_cells_and_said_in_the_log(board, clock):
    board.preparing = {"folder:own, 16 pixels, rgb": "decoded 5 of 9 train images", "digits": ""}
    assert drawn(board, 100).split("\n")[:2] == [
        "preparing folder:own, 16 pixels, rgb: decoded 5 of 9 train images",
        "preparing digits",
    ]
    lines = []
    log = PlainLog(board, lines.append)
    for words in ("", "decoded 1 of 9", "decoded 2 of 9", "decoded 3 of 9", "decoded 4 of 9"):
        log.preparing({"own": words})
        clock.now += 1
    assert [line.split(" ", 1)[1] for line in lines] == ["own: decoded 3 of 9"]


def test_a_cell_is_as_far_as_its_epochs_and_batches(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    running = board.start(one)
    assert running.share == 0
    board.see(one, StageStarted(1, 4, 1000))
    board.see(one, Progress(1, 1, 5, 10))
    assert running.share == pytest.approx(0.125)
    board.see(one, epoch(1))
    assert running.share == pytest.approx(0.25)
    board.see(one, Progress(1, 2, 5, 10))
    assert running.share == pytest.approx(0.375)
    assert board.share == pytest.approx(0.375)


def test_a_resumed_cell_does_not_go_back_to_the_start(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    running = board.start(one)
    board.see(one, Resumed(2))
    board.see(one, epoch(2))
    assert running.share == pytest.approx(0.5)


def test_the_log_does_not_show_epochs_of_earlier_attempts_again(board, clock):
    lines, one = [], cell()
    log = PlainLog(board, lines.append)
    log.run_started(1, plan_of(one), (), lambda: None)
    log.cell_started(one, 2)
    clock.now += 10
    log.epoch(one, replace(epoch(1), replayed=True))
    log.epoch(one, epoch(2))
    assert ["epoch 1/" in line for line in lines[2:]] == [False]


def test_reused_cells_are_not_waited_for(board):
    board.begin(plan_of(cell("a"), cell("b"), cell("c")), {"a" * 20, "b" * 20}, lambda: None)
    assert (board.total, len(board.idle)) == (1, 2)


def test_the_forecast_counts_down_between_questions(board, clock):
    board.begin(plan_of(cell()), (), lambda: 60.0)
    clock.now += 20
    assert board.left_seconds == pytest.approx(40)
    clock.now += 100
    assert board.left_seconds == 0


def test_without_a_forecast_the_pace_so_far_tells_the_time_left(board, clock):
    one, two = cell("a"), cell("b")
    board.begin(plan_of(one, two), (), lambda: None)
    assert board.left_seconds is None
    board.start(one)
    clock.now += 30
    board.finish(one, "completed", None, 30.0, None)
    assert board.left_seconds == pytest.approx(30)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_the_picture_fits_the_terminal(board, clock, width):
    cells = [cell("a"), cell("b", model="a_model_with_a_name_that_is_much_too_long_for_any_terminal")]
    board.begin(plan_of(*cells, cell("c")), (), lambda: 90.0)
    for one in cells:
        board.start(one)
        board.see(one, epoch(1))
        board.see(one, Progress(1, 2, 3, 10))
    clock.now += 5
    lines = drawn(board, width).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "2/4" in lines[0]
    assert ".875" in lines[0]
    assert "0/3 cells" in lines[-1]
    assert "1:25" in lines[-1]


def test_more_cells_than_lines_are_counted(board):
    cells = [cell(name) for name in "abcdefghij"]
    board.begin(plan_of(*cells), (), lambda: None)
    for one in cells:
        board.start(one)
    text = drawn(board, 100, height=8)
    assert len(text.splitlines()) == 5
    assert "+6 running" in text


def test_wide_pictures_name_the_stage(board):
    one = cell(stages=2)
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(5, stage=2))
    assert "stage 2/2 epoch 5/8" in drawn(board, 120)


def test_without_validation_the_training_numbers_are_shown(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1, val_accuracy=None))
    assert "train 0.750" in drawn(board, 80)


def test_a_loss_that_is_not_a_number_is_drawn(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1, val_accuracy=float("nan")))
    assert "val nan" in drawn(board, 120)


def test_ascii_terminals_get_an_ascii_picture(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    Console(file=stream, width=80, no_color=True).print(Picture(board))
    stream.flush()


def told(display, cells) -> None:
    """One whole run as the scheduler tells it."""
    display.run_started(7, plan_of(*cells), (), lambda: None)
    for one in cells:
        display.cell_started(one, 1)
        display.progress(one, Progress(1, 1, 1, 10))
        display.epoch(one, epoch(1))
    display.note("the disk is nearly [full]")
    display.cell_finished(cells[0], "completed", None, 12.5, None)
    display.cell_finished(cells[1], "failed", "oom", 3.0, "Traceback\nMemoryError: no [/] more")
    display.run_finished(SimpleNamespace())


def test_the_live_display_leaves_one_line_for_each_finished_cell(board):
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, no_color=True)
    with LiveDisplay(console, board) as display:
        told(display, [cell("a"), cell("b", model="net[/]")])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "✓ digits simple_cnn scratch seed 0  completed  val 0.875  12 s" in text
    assert "✗ digits net[/] scratch seed 0  failed (oom)" in text
    assert "MemoryError: no [/] more" in text
    assert "the disk is nearly [full]" in text


def test_the_plain_log_has_one_line_for_what_happened(board, clock):
    lines: list[str] = []
    told(PlainLog(board, lines.append), [cell("a"), cell("b", model="net[/]")])
    texts = [line.split(" ", 1)[1] for line in lines]
    last = "epoch 1/4 loss 0.5 accuracy 0.750 val_loss 0.25 val_accuracy 0.875"
    assert texts == [
        "run 7: 2 cells to do",
        "digits simple_cnn scratch seed 0: started",
        "digits net[/] scratch seed 0: started",
        "the disk is nearly [full]",
        f"[1/2] digits simple_cnn scratch seed 0: completed in 12 s, {last}",
        f"[2/2] digits net[/] scratch seed 0: failed (oom) in 3.0 s, {last}: MemoryError: no [/] more",
    ]


def test_the_plain_log_tells_long_epochs_and_leaves_out_short_ones(board, clock):
    lines: list[str] = []
    one = cell(epochs=100)
    display = PlainLog(board, lines.append)
    display.run_started(1, plan_of(one), (), lambda: None)
    display.cell_started(one, 1)
    for number in range(1, 101):
        clock.now += 0.1
        display.epoch(one, epoch(number))
    assert 4 <= sum(" epoch " in line for line in lines) <= 6


def test_a_label_names_the_settings_that_are_axes():
    from benchmark.cli.cell_names import cell_label

    label = cell_label(cell(), ("model", "batch_size", "learning_rate"))
    assert label == "digits simple_cnn scratch seed 0 batch_size=32 learning_rate=0.001"


def test_events_survive_being_shown(board):
    """The board keeps the last event itself, so it must stay what the worker told."""
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    running = board.start(one)
    told_last = epoch(1)
    board.see(one, told_last)
    assert running.last is told_last
    assert json.dumps(one.to_dict())


def test_what_the_program_logs_passes_through_the_live_display(board, capsys):
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, no_color=True)
    with LiveDisplay(console, board):
        streams.say("warning: [disk] is slow")
    streams.say("after it")
    assert "warning: [disk] is slow" in console.file.getvalue()
    assert capsys.readouterr().err == "after it\n"
