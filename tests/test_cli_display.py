"""What `bench run` shows while it works: the board, the live picture of it, and the plain log."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from benchmark.cli.progress.board import Board
from benchmark.cli.progress.fitting import cut_apart
from benchmark.cli.progress.frame import Paper, frame
from benchmark.cli.progress.live_display import LiveDisplay
from benchmark.cli.progress.machine_text import machine_text
from benchmark.cli.progress.plain_log import PlainLog
from benchmark.cli.terminal import streams
from benchmark.events import EpochFinished, Evaluated, ModelBuilt, Progress, Resumed, StageStarted, Started
from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights
from benchmark.text import encodable
from benchmark.utilization import Utilization


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


def plan_of(*cells: Cell, axes: tuple[str, ...] = ()):
    return SimpleNamespace(cells=cells, axes=axes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock) -> Board:
    return Board(clock=clock)


def drawn(board: Board, width: int, height: int = 24) -> str:
    return "\n".join(line.plain for line in frame(board, Paper(width, height)))


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


LONG = "a_model_with_a_name_that_is_much_too_long_for_any_terminal"


@pytest.mark.parametrize("width", [8, 20, 40, 60, 80, 100, 160])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 24])
def test_the_picture_fits_the_terminal(board, clock, width, height):
    cells = [cell("a"), cell("b", model=LONG), cell("d", model="双子座" * 30)]
    board.begin(plan_of(*cells, cell("c"), axes=("model", "seed")), (), lambda: 90.0)
    for one in cells[:2]:
        board.start(one)
        board.see(one, epoch(1))
        board.see(one, Progress(1, 2, 3, 10))
    board.start(cells[2])
    clock.now += 5
    lines = frame(board, Paper(width, height), FULL)
    assert len(lines) <= max(height - 1, 1)
    assert all(cell_len(line.plain) <= width for line in lines)
    if width >= 40 and height == 24:
        texts = [line.plain for line in lines]
        assert texts[0].split()[:2] == ["cell", "epoch"]
        assert "2/4" in texts[1]
        assert ".875" in texts[1]
        assert "0/4 cells" in texts[-2]
        assert "1:25" in texts[-2]
        assert texts[-1].startswith("CPU 98 %")


FULL = Utilization(0.98, 3 << 30, 16 << 30, 2, 0.45, 3 << 30, 160 << 30)


def test_the_computer_is_one_line_with_what_fits_of_it():
    assert machine_text(FULL, 75) == "CPU 98 % · memory 3.0/16 GiB · 2 GPUs 45 % 3.0/160 GiB"
    assert machine_text(FULL, 50) == "CPU 98 % · memory 3.0/16 GiB · 2 GPUs 45 %"
    assert machine_text(FULL, 35) == "CPU 98 % · memory 3.0/16 GiB"
    assert machine_text(Utilization(None, None, None), 75) == ""
    assert machine_text(Utilization(0.5, None, None), 75) == "CPU 50 %"


def test_a_row_has_all_that_is_known_of_a_running_cell(board, clock):
    one = cell(epochs=20, stages=3)
    board.begin(plan_of(one, axes=("strategy", "seed")), (), lambda: None)
    board.start(one)
    board.see(one, StageStarted(1, 20, 1000))
    board.see(one, replace(epoch(7), traced=False, seconds=2.0, checkpoint_seconds=0.5, images_per_second=1234.5))
    board.see(one, Progress(1, 8, 1, 10))
    clock.now += 10
    heading, row, _ = drawn(board, 80).split("\n")
    assert heading.split() == ["cell", "stage", "epoch", "val", "images/s", "left"]
    # 53 epochs of 2.5 s, less the 10 s that have gone
    assert re.sub("[━─]+ *", "", row).split() == ["scratch", "seed", "0", "1/3", "8/60", "0.875", "1,234", "2:02"]


def test_the_time_left_is_that_of_the_middle_epoch_of_this_stage_without_tracing(board, clock):
    one = cell(epochs=10)
    board.begin(plan_of(one), (), lambda: None)
    running = board.start(one)
    assert running.left_seconds(clock.now) is None
    for number, seconds, traced in [(1, 60.0, True), (2, 1.0, False), (3, 9.0, False), (4, 1.0, False)]:
        board.see(one, replace(epoch(number), seconds=seconds, traced=traced, checkpoint_seconds=0.0))
    assert running.left_seconds(clock.now + 2) == pytest.approx(4)


def test_the_scheduler_is_asked_how_long_the_stages_to_come_will_take(board, clock):
    class Forecast:
        def __call__(self) -> float:
            return 500.0

        def of_cell(self, cell_id: str) -> float:
            return 300.0

    one = cell(stages=2)
    board.begin(plan_of(one), (), Forecast())
    running = board.start(one)
    board.see(one, epoch(1))
    assert running.left_seconds(clock.now) == pytest.approx(300)
    board.see(one, epoch(5, stage=2))
    assert running.left_seconds(clock.now) == pytest.approx(3 * 1.1)


def test_before_its_first_epoch_a_cell_says_what_it_waits_for(board):
    one = cell()
    board.begin(plan_of(one, axes=("seed",)), (), lambda: None)
    board.starting = ("tensorflow",)
    assert drawn(board, 80).startswith("starting TensorFlow\n")
    board.starting = ()
    board.start(one)
    steps = [
        ("starting TensorFlow", Started("2", "3", 1, "cpu")),
        ("loading data and model", ModelBuilt(1, 1, 9, 1, 1, "f", None, "float32", 0.5)),
        ("in epoch 1", Progress(1, 1, 3, 10)),
        ("batch 3/10", epoch(4)),
        ("testing", Evaluated(0.8125, 0.5, 4, 0.1)),
        ("saving", None),
    ]
    for words, event in steps:
        assert drawn(board, 80).split("\n")[-2].endswith(words)
        if event is not None:
            board.see(one, event)


def test_the_score_is_the_one_that_decides(board):
    one = replace(cell(), monitor="val_macro_f1")
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, replace(epoch(1), monitored=0.7))
    heading, row, _ = drawn(board, 80).split("\n")
    assert "val_macro_f1" in heading
    assert "0.700" in row
    board.running[one.cell_id].epoch = 0


def test_cells_on_nodes_stand_with_their_nodes(board):
    one = cell()
    board.begin(plan_of(one, axes=("seed",)), (), lambda: None)
    board.start(one)
    board.place(one, "10.0.0.7")
    board.see(one, epoch(1))
    heading, row, _ = drawn(board, 60).split("\n")
    assert heading.split()[:2] == ["cell", "node"]
    assert row.split()[:4] == ["seed", "0", "10.0.0.7", "1/4"]


def test_names_that_are_too_long_keep_both_ends(board):
    one = cell(model=LONG)
    board.begin(plan_of(one, axes=("model", "seed")), (), lambda: None)
    board.start(one)
    assert re.match(r"a_model\w+\.\.\.\w+ seed 0  starting TensorFlow$", drawn(board, 60).split("\n")[0])


def test_names_that_would_look_alike_show_what_differs():
    names = [f"digits simple_cnn {name} seed {seed} rate=0.1" for name, seed in (("scratch", 0), ("regularized", 1))]
    assert cut_apart(names, 20) == ["scratch seed 0", "regularized seed 1"]
    assert cut_apart(names, 60) == names
    assert cut_apart([*names, "x"], 20) == ["digits si...rate=0.1", "digits si...rate=0.1", "x"]


def test_more_cells_than_lines_are_counted(board):
    cells = [cell(name) for name in "abcdefghij"]
    board.begin(plan_of(*cells), (), lambda: None)
    for one in cells:
        board.start(one)
        board.see(one, epoch(1))
    text = drawn(board, 100, height=8)
    assert len(text.splitlines()) == 7
    assert "+5 running" in text
    # without a heading where there is no room for anything
    assert "+8 running" in drawn(board, 100, height=4)


def test_without_validation_the_training_numbers_are_shown(board):
    one, two = cell("a"), cell("b")
    board.begin(plan_of(one, two), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1, val_accuracy=None))
    assert re.search(r"train .*\n.* 0\.750", drawn(board, 80))
    board.start(two)
    board.see(two, epoch(1))
    assert re.search(r"score .*\n.*train 0\.750 .*\n.* val 0\.875", drawn(board, 80))


def test_a_score_that_is_not_a_number_is_drawn(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1, val_accuracy=float("nan")))
    assert "nan" in drawn(board, 120)


def test_ascii_terminals_get_an_ascii_picture(board):
    one = cell()
    board.begin(plan_of(one), (), lambda: None)
    board.start(one)
    board.see(one, epoch(1))
    board.counts["completed"] = 3
    lines = frame(board, Paper(60, 24, lambda text: encodable(text, "ascii")), FULL)
    assert all(line.plain.isascii() and len(line.plain) <= 60 for line in lines)
    assert "ok3 ==" in lines[-2].plain


def told(display, cells) -> None:
    """One whole run as the scheduler tells it."""
    display.run_started(7, plan_of(*cells), (), lambda: None)
    for one in cells:
        display.cell_started(one, 1)
        display.progress(one, Progress(1, 1, 1, 10))
        display.epoch(one, epoch(1))
    display.progress(cells[0], Evaluated(0.8125, 0.5, 1, 0.1))
    display.note("the disk is nearly [full]")
    display.cell_finished(cells[0], "completed", None, 12.5, None)
    display.cell_finished(cells[1], "failed", "oom", 3.0, "Traceback\nMemoryError: no [/] more")
    display.run_finished(SimpleNamespace())


def test_the_live_display_leaves_one_line_for_each_finished_cell(board):
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, no_color=True)
    with LiveDisplay(console, board) as display:
        told(display, [cell("a"), cell("b", model="net[/]")])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "✓ digits simple_cnn scratch seed 0  completed  test 0.812  12 s" in text
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
        f"[1/2] digits simple_cnn scratch seed 0: completed in 12 s, test_accuracy 0.812, {last}",
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
