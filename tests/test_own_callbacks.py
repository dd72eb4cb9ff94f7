"""Callbacks of one's own: how a matrix names them, when they are called, what they may do, and what a state holds of them."""

from __future__ import annotations

import collections
import json
import operator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from training_cells import cell, history, job, run_worker, stage

from benchmark.errors import MatrixError, UserError
from benchmark.events import CheckpointFailed, Completed, Diverged, Failed
from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.planning.stage_keys import common_stages
from benchmark.matrix.trust import require_consent
from benchmark.reporting.rows.groups import varying_settings
from benchmark.training.artifacts.plain_values import NotPlainError, pack, unpack
from benchmark.training.callbacks import StageCallbacks
from benchmark.training.own_callbacks import StageHooks, load_callbacks
from benchmark.training.process.plugin_code import PluginError

CODE = """\
class Counter:
    def __init__(self, most=3):
        self.most, self.calls, self.file = most, [], None
    def set_model(self, model): self.model = model
    def on_train_begin(self, logs): self.calls.append("begin")
    def on_epoch_begin(self, epoch, logs): self.calls.append(f"epoch {epoch}")
    def on_batch_end(self, batch, logs): self.calls.append(f"batch {batch} {logs['loss']}")
    def on_epoch_end(self, epoch, logs):
        self.calls.append(f"end {epoch}")
        self.model.stop_training = epoch + 1 >= self.most
        self.model.optimizer.learning_rate = 0.5
def early(epoch, logs, limit=0.5): return logs["loss"] < limit
def made(): return Counter(1)
class Itself:
    def on_epoch_end(self, epoch, logs): self.value = {"number": object(), "epoch": epoch}
    def state(self): return self.value["epoch"]
    def load_state(self, state): self.value = state
class Opening(Counter):
    def on_epoch_end(self, epoch, logs): self.file = (x for x in ())
class Failing:
    def on_epoch_end(self, epoch, logs):
        logs["no such"]
instance = Counter(2)
nothing = 3
"""
MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
callbacks = [false, "early", "plugin:early", ["early"], { kind = "early", limit = 0.1 }, ["early", "made"]]
[plugins]
callbacks = ["my.py"]
"""


def plan(folder: Path, text: str = MATRIX, code: str = CODE):
    (folder / "my.py").write_text(code)
    return load_matrix(folder / "matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2))


def calling(folder: Path, *callbacks: object, code: str = CODE, **changes: object):
    """A stage that calls callbacks of a file."""
    file = folder / "my.py"
    file.write_text(code)
    names = sorted({name if isinstance(name, str) else dict(name)["kind"] for name in callbacks})
    codes = tuple((name, sha256_of(file)) for name in names)
    files = tuple((name, str(file)) for name in names)
    return stage(callbacks=callbacks, callback_codes=codes, callback_files=files, **changes)


def hooks(spec, **optimizer: object) -> StageHooks:
    model = SimpleNamespace(stop_training=False)
    made = SimpleNamespace(**{"learning_rate": 1e-3, **optimizer})
    return StageHooks(load_callbacks(spec, allowed=True), model, made, spec, StageCallbacks(spec))


def test_callbacks_are_a_setting_of_stages_whose_code_is_in_the_id_of_the_cells_that_call_them(tmp_path):
    planned = plan(tmp_path)
    assert [each.stages[0].callbacks for each in planned.cells] == [
        (),
        ("early",),
        ((("kind", "early"), ("limit", 0.1)),),
        ("early", "made"),
    ]
    changed = [each.cell_id for each in plan(tmp_path, code=CODE + "# changed\n").cells]
    same = [a == b.cell_id for a, b in zip(changed, planned.cells, strict=True)]
    assert same == [True, False, False, False]
    assert all(Cell.from_dict(json.loads(json.dumps(each.to_dict()))) == each for each in planned.cells)
    with pytest.raises(UserError, match=r"my.py \(callback early, made\)"):
        require_consent(planned.cells, "bench run", allowed=False)
    assert not common_stages([planned.cells[1], planned.cells[1]])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[["early", "early"]]', "each callback once"),
        ('[["", "early"]]', "a name that is not empty"),
        ("3", "false, or a list of callbacks"),
        ('{ kind = "early", limit = nan }', "limit"),
    ],
)
def test_a_mistake_in_a_matrix_is_said(tmp_path, written, said):
    head, _, rest = MATRIX.partition("callbacks = ")
    with pytest.raises(MatrixError, match=said):
        plan(tmp_path, f"{head}callbacks = {written}\n{rest.partition(chr(10))[2]}")


def test_a_name_that_no_file_defines_is_refused_or_remarked_on(tmp_path):
    with pytest.raises(MatrixError, match=r"name its file in \[plugins\] callbacks"):
        plan(tmp_path, MATRIX.partition("[plugins]")[0])
    (note,) = [text for text in plan(tmp_path, MATRIX.replace('["early"]', '"erly"')).notes if "erly" in text]
    assert "did you mean 'early'" in note


def test_a_command_calls_no_callback_and_the_plan_says_so(tmp_path):
    planned = plan(
        tmp_path, MATRIX.replace('"simple_cnn"', '"mine"') + '[model.mine]\ncommand = ["python", "-c", "1"]\n'
    )
    assert [each.stages[0].callbacks for each in planned.cells] == [()]
    assert any("model mine: a command trains by itself" in note for note in planned.notes)


def test_callbacks_are_called_in_turn_may_stop_and_set_the_rate(tmp_path):
    spec = calling(tmp_path, (("kind", "Counter"), ("most", 2)))
    called = hooks(spec)
    called.begin({}, 0)
    assert called.wants_batches
    for epoch in range(2):
        assert not called.stopped
        called.epoch_begin(epoch, 0, epoch + 1)
        called.batch_end(0, {"loss": 1.0})
        called.epoch_end(epoch, {"loss": 1.0})
    assert called.stopped
    (target,) = [each.target for each in called._callbacks]
    assert target.calls == ["begin", "epoch 0", "batch 0 1.0", "end 0", "epoch 1", "batch 0 1.0", "end 1"]
    assert called._stage.learning_rate == 0.5
    scheduled = hooks(calling(tmp_path, "Counter", schedule="cosine"))
    scheduled.begin({}, 0)
    with pytest.raises(PluginError, match=r"leave the learning rate to the schedule"):
        scheduled.epoch_end(0, {})


@pytest.mark.parametrize(("name", "stops"), [("early", True), ("made", True), ("instance", False), ("Counter", False)])
def test_a_class_a_function_and_an_object_are_callbacks(tmp_path, name, stops):
    called = hooks(calling(tmp_path, name))
    called.begin({}, 0)
    called.epoch_end(0, {"loss": 0.1})
    assert called.stopped == stops


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing", "expected nothing to be a callback or to make one"), ("missing", "expected a function missing")],
)
def test_what_is_no_callback_is_said_before_training(tmp_path, name, said):
    with pytest.raises(PluginError, match=said):
        load_callbacks(calling(tmp_path, name), allowed=True)


@pytest.mark.parametrize("name", ["Counter", "Itself"])
def test_a_state_holds_what_a_callback_holds(tmp_path, name):
    first, second = hooks(calling(tmp_path, name)), hooks(calling(tmp_path, name))
    first.begin({}, 0)
    first.epoch_end(0, {})
    arrays: list = []
    kept = json.loads(json.dumps(first.state(arrays), allow_nan=False))
    second.begin({}, 0)
    second.restore(kept, arrays)
    if name == "Counter":
        assert second._callbacks[0].target.calls == first._callbacks[0].target.calls
    else:
        assert second._callbacks[0].target.value == 0


def test_what_no_state_can_hold_is_named(tmp_path):
    called = hooks(calling(tmp_path, "Opening"))
    called.begin({}, 0)
    called.epoch_end(0, {})
    with pytest.raises(NotPlainError, match=r"callback Opening holds `file`, generator"):
        called.state([])


def test_plain_values_come_back_as_they_were():
    value = {
        "a": [1, 2.5, float("inf"), None, True, "text"],
        (1, 2): {3, 1},
        "more": (np.float32(0.1), np.arange(3), collections.deque([1], maxlen=4), operator.lt),
    }
    arrays: list = []
    back = unpack(json.loads(json.dumps(pack(value, arrays), allow_nan=False)), arrays)
    assert repr(back) == repr(value)
    with pytest.raises(NotPlainError):
        pack([lambda: 0], [])


KERAS = """\
import keras, random
from keras.callbacks import EarlyStopping, LambdaCallback, ReduceLROnPlateau, TerminateOnNaN
class Noise(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.total = 0.0
    def on_epoch_begin(self, epoch, logs=None):
        self.total += random.random()
        layer = self.model.layers[-1]
        layer.set_weights([w + 0.01 * self.total for w in layer.get_weights()])
        self.model.optimizer.learning_rate = 1e-3 / (1 + epoch)
    def on_epoch_end(self, epoch, logs=None):
        assert set(logs) >= {"loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1"}
        if epoch == 4:
            self.model.stop_training = True
class Opening(Noise):
    def on_train_begin(self, logs=None):
        self.file = (x for x in ())
class Failing(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise ValueError(f"batch {batch}")
batches = LambdaCallback(on_train_batch_end=lambda batch, logs: print("batch", batch, logs["loss"]))
"""
PATIENT = (("kind", "EarlyStopping"), ("min_delta", 0.001), ("patience", 2), ("restore_best_weights", True))
OFTEN = ("Noise", PATIENT, (("kind", "ReduceLROnPlateau"), ("patience", 1)), "TerminateOnNaN", "batches")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    from benchmark.training.programs.prepare import prepare

    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


def resumed_alike(spec, digits, folder: Path, backend: str = "tensorflow") -> tuple:
    """What a cell came to without interruption, where one that was interrupted comes to the same."""
    wanted = cell(stages=(stage(epochs=1), spec), backend=backend)
    whole = run_worker(job(wanted, folder / "1", digits, allow_plugins=True), backend=backend)
    stopped = run_worker(
        job(wanted, folder / "2", digits, allow_plugins=True), faults="stop-in-epoch:4", backend=backend
    )
    again = job(wanted, folder / "3", digits, allow_plugins=True, earlier_directories=(str(folder / "2"),))
    resumed = run_worker(again, backend=backend)
    assert history(resumed) == history(whole), stopped.told
    assert (folder / "3" / "weights.npz").read_bytes() == (folder / "1" / "weights.npz").read_bytes()
    return whole, stopped, resumed


@pytest.mark.exhaustive
@pytest.mark.tf
def test_callbacks_of_keras_train_and_resume_to_the_same_bits(digits, tmp_path):
    whole, _, _ = resumed_alike(calling(tmp_path, *OFTEN, code=KERAS, epochs=8), digits, tmp_path)
    assert whole.one(Completed).epochs == 6
    assert [round(epoch.learning_rate, 7) for epoch in whole.epochs()[1:4]] == [0.001, 0.0005, 0.0003333]
    assert "batch 4 " in whole.log


@pytest.mark.tf
@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_they_do_on_every_backend(digits, tmp_path, backend):
    pytest.importorskip(backend)
    resumed_alike(calling(tmp_path, *OFTEN, code=KERAS, epochs=8), digits, tmp_path, backend)


@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_stage_whose_callback_cannot_be_kept_begins_anew_and_says_so(digits, tmp_path):
    _, stopped, resumed = resumed_alike(calling(tmp_path, "Opening", code=KERAS, epochs=4), digits, tmp_path)
    assert "callback Opening holds `file`" in stopped.one(CheckpointFailed).reason
    assert [epoch.replayed for epoch in resumed.epochs()] == [True, False, False, False, False]


@pytest.mark.tf
@pytest.mark.exhaustive
def test_a_fault_of_a_callback_fails_the_attempt_with_its_line_and_a_loss_that_is_none_still_diverges(digits, tmp_path):
    failing = cell(stages=(calling(tmp_path, "Failing", code=KERAS),))
    run = run_worker(job(failing, tmp_path / "1", digits, allow_plugins=True))
    assert "my.py:21: ValueError: batch 0" in run.one(Failed).message
    diverging = cell(stages=(calling(tmp_path, "TerminateOnNaN", code=KERAS),))
    run = run_worker(job(diverging, tmp_path / "2", digits, allow_plugins=True), faults="nan-loss:3")
    assert run.one(Diverged).batch == 3


def test_codes_are_a_column_of_reports_where_callbacks_of_one_name_differ():
    def group(callbacks: list[str], code: str) -> SimpleNamespace:
        codes = [[name, code] for name in callbacks]
        return SimpleNamespace(names=("a", "b", "c"), settings={"callbacks": callbacks, "callback_codes": codes})

    assert varying_settings([group([], ""), group(["early"], "1")]) == ["callbacks"]
    assert varying_settings([group(["early"], "1"), group(["early"], "2")]) == ["callback_codes"]
