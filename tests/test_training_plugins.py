"""Users' own models in the worker: what they may do, and how each of their faults is told."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from training_cells import cell, job, run_worker, stage

from benchmark.events import Completed, Evaluated, Failed, ModelBuilt, Resumed, StageStarted
from benchmark.matrix.cell import Architecture, Weights
from benchmark.training.programs.prepare import prepare

pytestmark = pytest.mark.tf

GOOD = """\
import keras
from keras import layers


def net(input_shape, num_classes, *, width=4, name="conv"):
    images = keras.Input(input_shape)
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(width, 3, activation="relu", name=name)(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    return keras.Model(images, layers.Dense(num_classes, activation="softmax", name="classes")(x))
"""


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


def plugged(folder: Path, code: str, name: str = "net", **parameters) -> Architecture:
    """The architecture that a matrix with this plug-in beside it would name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "my.py"
    file.write_text(textwrap.dedent(code))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Architecture(f"plugin:{name}", tuple(sorted(parameters.items())), digest, str(file))


def trained(tmp_path, digits, architecture, *, allowed=True, home="", **changes):
    changed = cell(architecture=architecture, **{"stages": (stage(epochs=1),), **changes})
    return run_worker(job(changed, tmp_path / "1", digits, allow_plugins=allowed), XDG_CONFIG_HOME=home)


def failure(tmp_path, digits, code: str, name: str = "net", **parameters) -> str:
    run = trained(tmp_path, digits, plugged(tmp_path, code, name, **parameters))
    failed = run.one(Failed)
    assert (failed.cause, failed.error_type, run.exit_code) == ("failed", "PluginError", 1)
    return failed.message.replace(str(tmp_path / "my.py"), "my.py")


FAULTS = {
    "syntax": ("x = 1\ndef net(:\n", "my.py:2: SyntaxError: invalid syntax"),
    "null": ("x = 1\0", "my.py: SyntaxError: source code string cannot contain null bytes"),
    "import": (
        "import os\nimport no_such_package\n",
        "my.py:2: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "raises": ("\n\nraise ValueError('three\\nlines')\n", "my.py:3: ValueError: three lines"),
    "no symbol": ("def nett(): ...\n", "my.py: expected a function net, found nett"),
    "no function": ("net = 3\n", "my.py: expected net to be a function that returns a model, found 3"),
    "arguments": (
        "\ndef net(input_shape): ...\n",
        (
            "my.py:2: expected a function that can be called as net(input_shape=…, num_classes=…), found net(input_shape): "
            "got an unexpected keyword argument 'num_classes'; add the parameter"
        ),
    ),
    "lacking argument": (
        "def net(input_shape, num_classes, width): ...\n",
        "missing a required argument: 'width'; write it in the definition of the model",
    ),
    "nothing": ("def net(**_):\n    pass\n", "my.py:1: expected a keras.Model to be returned, found NoneType"),
    "inside": ("def net(**_):\n    x = 1\n    return 1 / (x - 1)\n", "my.py:3: ZeroDivisionError: division by zero"),
    "exit": ("import sys\ndef net(**_):\n    sys.exit('enough')\n", "my.py:3: SystemExit: enough"),
    "exit at import": ("import sys\nsys.exit(0)\n", "my.py:2: SystemExit: 0"),
    "shape": (
        GOOD.replace("Dense(num_classes,", "Dense(num_classes + 1,"),
        "my.py:5: expected an output of shape (None, 10), a probability for each class, found (None, 11)",
    ),
    "two outputs": (
        GOOD.replace("keras.Model(images, ", "keras.Model(images, 2 * [").replace('"classes")(x))', '"classes")(x)])'),
        "my.py:5: expected a model with one output, found list",
    ),
    "two inputs": (
        (
            "import keras\ndef net(input_shape, num_classes):\n    x, y = keras.Input(input_shape), keras.Input((num_classes,))\n"
            "    z = keras.layers.Dense(num_classes)(keras.layers.Flatten()(x))\n"
            "    return keras.Model([x, y], keras.layers.Softmax()(z + y))\n"
        ),
        "a model takes the images alone: give it one input",
    ),
    "logits": (
        GOOD.replace('activation="softmax", ', ""),
        "my.py: expected probabilities that sum to 1 for each image, found [",
    ),
    "head": (
        GOOD.replace("return keras", "model = keras") + '    model.bench_head = ["clases"]\n    return model\n',
        ".bench_head: expected names of its layers (",
    ),
    "no weights": (
        (
            "import keras\ndef net(input_shape, num_classes):\n    x = keras.Input(input_shape)\n"
            "    y = keras.layers.Softmax()(keras.layers.GlobalMaxPooling2D()(keras.ops.repeat(x, num_classes, axis=-1)))\n"
            "    return keras.Model(x, y)\n"
        ),
        ": expected a model with weights, found none to train",
    ),
    "names": (
        GOOD.replace(
            "    return",
            '    i = keras.Input((8,))\n    x = keras.Model(i, layers.Dense(4, name="hidden")(i))(x)\n    return',
        ),
        "my.py: expected a name of its own for every layer, found several weights called hidden/",
    ),
}


@pytest.mark.parametrize(("code", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_a_plugin_is_told_with_its_line(tmp_path, digits, code, message):
    told = failure(tmp_path, digits, code)
    assert message in told
    assert "\n" not in told


def test_a_parameter_that_the_function_does_not_take_is_told(tmp_path, digits):
    told = failure(tmp_path, digits, GOOD, dropout=0.5)
    assert told.startswith(
        "my.py:5: expected a function that can be called as net(input_shape=…, num_classes=…, dropout=…)"
    )
    assert told.endswith(
        "got an unexpected keyword argument 'dropout'; `dropout` comes from a strategy or the matrix; add the parameter, "
        "or take it out of the matrix"
    )


def test_memory_that_runs_out_in_a_plugin_is_no_fault_of_its_text(tmp_path, digits):
    run = trained(tmp_path, digits, plugged(tmp_path, "def net(**_):\n    raise MemoryError\n"))
    assert run.one(Failed).cause == "oom"


def test_a_plugin_is_trained_with_the_parameters_of_the_matrix(tmp_path, digits):
    run = trained(tmp_path, digits, plugged(tmp_path, GOOD, width=6))
    assert run.one(Completed).epochs == 1
    # 3x3x1x6+6, 4x6, 14x14x6x8+8, 8x10+10
    assert run.one(ModelBuilt).parameters == 60 + 24 + 9416 + 90


def test_what_a_plugin_does_to_its_process_stays_there(tmp_path, digits):
    rude = """\
        import atexit, os, signal, sys, threading, time
        print("hello", "x" * 100_000)
        sys.stderr.write("noise")
        os.chdir("/")
        os.umask(0)
        os.environ["CUDA_VISIBLE_DEVICES"] = "7"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=time.sleep, args=(600,)).start()
        atexit.register(time.sleep, 600)
        sys.argv = []
    """
    run = trained(tmp_path, digits, plugged(tmp_path, textwrap.dedent(rude) + GOOD))
    assert run.one(Completed)
    assert "hello" in run.log
    assert {path.name for path in (tmp_path / "1").iterdir()} >= {"weights.npz", "history.json"}


@pytest.mark.parametrize("trust", ["none", "other", "file"])
def test_nothing_runs_without_consent(tmp_path, digits, trust):
    canary = tmp_path / "ran"
    architecture = plugged(tmp_path, f"open({str(canary)!r}, 'w')\n" + GOOD)
    entry = {
        "none": "",
        "other": f"[[plugin]]\nsha256 = '{'0' * 64}'\n",
        "file": f"[[plugin]]\nsha256 = '{architecture.code}'\n",
    }
    (tmp_path / "config" / "bench").mkdir(parents=True)
    (tmp_path / "config" / "bench" / "trusted.toml").write_text(entry[trust])
    run = trained(tmp_path, digits, architecture, allowed=False, home=str(tmp_path / "config"))
    assert canary.exists() == (trust == "file")
    if trust == "file":
        assert run.one(Completed)
    else:
        assert run.one(Failed).message.endswith("is not trusted and was not run; `bench run` says how to trust it")


def test_what_has_changed_since_the_plan_is_not_run(tmp_path, digits):
    architecture = plugged(tmp_path, GOOD)
    with Path(architecture.file).open("a") as file:
        file.write("# later\n")
    assert "it has changed: run again" in trained(tmp_path, digits, architecture).one(Failed).message


def test_a_file_that_is_gone_or_open_to_all_is_not_run(tmp_path, digits):
    gone = replace(plugged(tmp_path, GOOD), file=str(tmp_path / "gone.py"))
    assert (
        "gone.py: expected the plug-in of this cell, got: No such file"
        in trained(tmp_path, digits, gone).one(Failed).message
    )
    exposed = plugged(tmp_path / "shared", GOOD)
    (tmp_path / "shared").chmod(0o777)
    told = trained(tmp_path, digits, exposed).one(Failed).message
    assert told.endswith("shared can be written by anybody; `chmod o-w " + str(tmp_path / "shared") + "`")


def trainable(run) -> int:
    return run.one(ModelBuilt).trainable_parameters


def test_the_head_begins_at_the_last_layer_with_weights_unless_the_model_names_it(tmp_path, digits):
    head = (stage(epochs=1, train="head"),)
    assert trainable(trained(tmp_path / "a", digits, plugged(tmp_path / "a", GOOD), stages=head)) == 8 * 10 + 10
    named = (
        GOOD.replace("return keras", "model = keras")
        + '    model.bench_head = ["hidden", "classes"]\n    return model\n'
    )
    assert trainable(trained(tmp_path / "b", digits, plugged(tmp_path / "b", named), stages=head)) == 90 + 784 * 8 + 8
    # before the head stand rescale, conv, norm, flatten and hidden: the last two of these
    two = (stage(epochs=1, train="last:2"),)
    assert trainable(trained(tmp_path / "c", digits, plugged(tmp_path / "c", GOOD), stages=two)) == 90 + 784 * 8 + 8


SHAPES = {
    "sequential": """\
        import keras
        def net(input_shape, num_classes):
            return keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
                                     keras.layers.Dense(num_classes, activation="softmax")])
        """,
    "any size": """\
        import keras
        def net(input_shape, num_classes):
            images = keras.Input((None, None, input_shape[-1]))
            x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(images))
            x = keras.layers.GlobalAveragePooling2D()(x)
            return keras.Model(images, keras.layers.Dense(num_classes, activation="softmax")(x))
        """,
    "class": """\
        import keras
        class Net(keras.Model):
            def __init__(self, classes):
                super().__init__()
                self.flat = keras.layers.Flatten()
                self.scale = keras.layers.Rescaling(1 / 255)
                self.out = keras.layers.Dense(classes, activation="softmax")
            def call(self, images):
                return self.out(self.flat(self.scale(images)))
        def net(input_shape, num_classes):
            return Net(num_classes)
        """,
}


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("code", SHAPES.values(), ids=SHAPES.keys())
def test_every_way_to_write_a_model_is_trained(tmp_path, digits, code, precision):
    run = trained(tmp_path, digits, plugged(tmp_path, code), precision=precision)
    assert run.one(Completed)
    assert run.one(ModelBuilt).compute_dtype == precision.removeprefix("mixed_")


OWN_LAYER = """\
    import keras
    class Halved(keras.layers.Layer):
        def __init__(self, how, **options):
            super().__init__(**options)
            self.how = how
        def call(self, x):
            return x / 2
    def net(input_shape, num_classes):
        return keras.Sequential([keras.Input(input_shape), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3),
                                 Halved("by two"), keras.layers.GlobalAveragePooling2D(),
                                 keras.layers.Dense(num_classes, activation="softmax")])
    """


CALLED_TWICE = """\
    import keras
    def net(input_shape, num_classes):
        images = keras.Input(input_shape)
        shared = keras.layers.Conv2D(1, 3, padding="same")
        once = shared(keras.layers.Rescaling(1 / 255)(images))
        both = keras.layers.Concatenate()([once, shared(once)])
        pooled = keras.layers.GlobalAveragePooling2D()(both)
        return keras.Model(images, keras.layers.Dense(num_classes, activation="softmax")(pooled))
    """


def test_a_model_that_cannot_be_saved_is_refused_before_it_trains(tmp_path, digits):
    run = trained(tmp_path, digits, plugged(tmp_path, OWN_LAYER), save=("model",))
    assert not run.epochs()
    message = run.one(Failed).message
    assert "save = 'model': plugin_net cannot be made again" in message
    assert "register_keras_serializable" in message
    assert len(message) < 900
    assert not list((tmp_path / "1").glob("*model*"))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(GOOD, id="graph"),
        pytest.param(SHAPES["any size"], id="any size", marks=pytest.mark.exhaustive),
        pytest.param(OWN_LAYER, id="own layer", marks=pytest.mark.exhaustive),
        pytest.param(CALLED_TWICE, id="layer called twice"),
    ],
)
def test_frozen_layers_of_a_plugin_are_computed_once_and_come_to_the_same_weights(tmp_path, digits, code):
    head = (stage(epochs=3, train="head"),)
    with_, without = (
        trained(tmp_path / str(reuse), digits, plugged(tmp_path / str(reuse), code), stages=head, reuse_features=reuse)
        for reuse in (True, False)
    )
    assert [run.one(StageStarted).features for run in (with_, without)] == ["computed", "none"]
    losses = [[epoch.train_loss for epoch in run.epochs()] for run in (with_, without)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_weights_pass_between_cells_of_one_plugin_and_the_last_layer_is_replaced(tmp_path, digits):
    architecture = plugged(tmp_path, GOOD)
    low = replace(cell().data, classes=(0, 1, 2, 3, 4), num_classes=5)
    parent = trained(tmp_path / "parent", digits, architecture, data=low)
    assert parent.one(Completed)
    weights = tmp_path / "parent" / "1" / "weights.npz"
    child = cell(
        architecture=architecture, stages=(stage(epochs=1, train="head"),), weights=Weights("parent", None, "p")
    )
    run = run_worker(job(child, tmp_path / "child", digits, allow_plugins=True, parent_weights=str(weights)))
    assert run.one(Completed)
    other = replace(architecture, parameters=(("name", "convolution"),))
    run = run_worker(
        job(
            replace(child, architecture=other),
            tmp_path / "other",
            digits,
            allow_plugins=True,
            parent_weights=str(weights),
        )
    )
    assert run.one(Failed).cause == "data_error"
    assert "convolution/kernel: expected shape (3, 3, 1, 4), found nothing" in run.one(Failed).message


def test_a_plugin_goes_on_after_a_kill_to_the_same_numbers(tmp_path, digits):
    architecture = plugged(tmp_path, GOOD)
    twice = cell(architecture=architecture, stages=(stage(epochs=2),))
    whole = run_worker(job(twice, tmp_path / "whole", digits, allow_plugins=True))
    run_worker(job(twice, tmp_path / "1", digits, allow_plugins=True), faults="stop-after-epoch:1")
    again = job(twice, tmp_path / "2", digits, allow_plugins=True, earlier_directories=(str(tmp_path / "1"),))
    resumed = run_worker(again)
    assert resumed.one(Resumed).epoch == 1
    assert resumed.one(Evaluated).test_loss == whole.one(Evaluated).test_loss
