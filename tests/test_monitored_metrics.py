"""Metrics of one's own that training monitors: named, in the id, with consent, better the way they say, and their faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training_cells import cell, history, job, run_worker, stage

from benchmark.errors import MatrixError, UserError
from benchmark.events import Evaluated, Failed, Started
from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell, EarlyStopping, ReduceLearningRate
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.trust import require_consent
from benchmark.reporting.rows.training_budget import best_epoch

CODE = """\
from sklearn.metrics import log_loss
calls = 0
def wrong(labels, probabilities):
    return int((probabilities.argmax(axis=1) != labels).sum())
wrong.higher_is_better = False
def counted(labels, probabilities):
    global calls
    calls += 1
    return -calls
def text(labels, probabilities): return "much"
def nothing(labels, probabilities): return float("nan")
def divided(labels, probabilities):
    return 1 / 0
"""
MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["scratch", "regularized"]
[strategy.regularized]
monitor = "val_wrong"
[plugins]
metrics = ["my.py"]
"""


def cells(folder: Path, changed: str = "", code: str = CODE) -> tuple[Cell, ...]:
    (folder / "my.py").write_text(code)
    text = MATRIX.replace('monitor = "val_wrong"', changed or 'monitor = "val_wrong"')
    return load_matrix(folder / "matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).cells


def test_the_code_of_a_monitored_metric_is_in_the_id_of_the_cells_that_monitor_it_alone(tmp_path):
    others, monitoring = cells(tmp_path)
    changed = cells(tmp_path, code=CODE + "# changed\n")
    assert changed[0].cell_id == others.cell_id
    assert changed[1].cell_id != monitoring.cell_id
    assert Cell.from_dict(monitoring.to_dict()) == monitoring
    rule = "early_stopping = { monitor = 'val_wrong', patience = 1 }"
    assert [name for name, _ in cells(tmp_path, rule)[1].metric_codes] == ["wrong"]
    with pytest.raises(UserError, match=r"my.py \(metric wrong\)"):
        require_consent([monitoring], "bench run", allowed=False)
    require_consent([others], "bench run", allowed=False)
    require_consent([monitoring], "bench predict", allowed=False, with_data=False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("monitor = 'val_wrng'", "did you mean 'val_wrong'"),
        ("monitor = 'wrong'", "did you mean 'val_wrong'"),
        ("reduce_learning_rate = { monitor = 'val_divide', patience = 1 }", "did you mean 'val_divided'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path, written, said):
    with pytest.raises(MatrixError, match=said):
        cells(tmp_path, written)


def test_a_command_is_told_the_name_and_its_code_is_not_needed(tmp_path):
    text = '[matrix]\ndataset = "digits"\nmodel = "mine"\nstrategy = "scratch"\nmonitor = "val_wrong"\n'
    text += '[model.mine]\ncommand = ["python", "-c", "1"]\n[plugins]\nmetrics = ["my.py"]\n'
    (tmp_path / "my.py").write_text(CODE)
    (only,) = load_matrix(tmp_path / "matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).cells
    assert (only.monitor, only.metric_codes) == ("val_wrong", ())


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_report_takes_the_best_epoch_as_training_did_whichever_way_is_better(better):
    values = [3.0, 2.0, 1.0] if better == "lower" else [1.0, 2.0, 3.0]
    epochs = [
        {"epoch": n, "monitored": value, "val_loss": 1.0, "val_accuracy": 0.5, "improved": n < 3}
        for n, value in enumerate(values, 1)
    ]
    row = {"spec": {**cell(monitor="val_own").to_dict(), "keep": "best"}}
    assert best_epoch(row, epochs)["epoch"] == 2


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    from benchmark.training.programs.prepare import prepare

    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


def monitoring(folder: Path, name: str, **changes: object) -> Cell:
    file = folder / "my.py"
    file.write_text(CODE)
    own = {"metric_codes": ((name, sha256_of(file)),), "metric_files": ((name, str(file)),)}
    return replace(cell(monitor=f"val_{name}"), **own, **changes)


@pytest.mark.exhaustive
@pytest.mark.tf
def test_fewer_mistakes_are_better_where_the_metric_says_so_and_resuming_changes_no_bit(digits, tmp_path):
    rule = stage(
        epochs=6,
        early_stopping=EarlyStopping("val_wrong", 4, 0.0),
        reduce_learning_rate=ReduceLearningRate("val_wrong", 0.5, 2, 0.0),
    )
    wanted = monitoring(tmp_path, "wrong", stages=(rule,))
    whole = run_worker(job(wanted, tmp_path / "1", digits, allow_plugins=True))
    values = [epoch.monitored for epoch in whole.epochs()]
    assert values == [round(30 * (1 - epoch.val_accuracy)) for epoch in whole.epochs()]
    assert whole.one(Evaluated).best_epoch == 1 + values.index(min(values))
    assert values[-1] < values[0]  # so that it was not stopped, and no rate reduced, for want of larger ones
    stopped = run_worker(job(wanted, tmp_path / "2", digits, allow_plugins=True), faults="stop-in-epoch:4")
    assert stopped.exit_code == 0
    again = job(wanted, tmp_path / "3", digits, allow_plugins=True, earlier_directories=(str(tmp_path / "2"),))
    assert history(run_worker(again)) == history(whole)


@pytest.mark.tf
def test_rules_go_by_the_direction_of_the_metric(digits, tmp_path):
    rule = stage(
        epochs=9,
        early_stopping=EarlyStopping("val_counted", 3, 0.0),
        reduce_learning_rate=ReduceLearningRate("val_counted", 0.5, 1, 0.0),
    )
    run = run_worker(job(monitoring(tmp_path, "counted", stages=(rule,)), tmp_path / "1", digits, allow_plugins=True))
    assert [epoch.monitored for epoch in run.epochs()] == [-1, -2, -3, -4]
    assert [epoch.learning_rate for epoch in run.epochs()] == [1e-3, 1e-3, 5e-4, 2.5e-4]
    assert run.one(Evaluated).best_epoch == 1


@pytest.mark.tf
@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("text", "my.py:10: expected text to return a number, found str", marks=pytest.mark.exhaustive),
        ("nothing", "my.py:11: expected a finite number of nothing, which is monitored, in epoch 1, found none"),
        ("divided", "my.py:13: ZeroDivisionError: division by zero"),
        pytest.param(
            "missing", "my.py: expected a function missing, found counted, divided", marks=pytest.mark.exhaustive
        ),
    ],
)
def test_a_metric_without_a_number_fails_the_attempt_with_its_line(digits, tmp_path, name, said):
    run = run_worker(job(monitoring(tmp_path, name), tmp_path / "1", digits, allow_plugins=True))
    assert run.exit_code == 1
    assert run.one(Failed).cause == "failed"
    assert said in run.one(Failed).message
    assert run.all(Started)
