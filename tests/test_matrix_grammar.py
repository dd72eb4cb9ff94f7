from __future__ import annotations

import copy
import json
import math
import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.report_spec import EnsembleSpec

MACHINE = MachineKind(gpus=1, cores=2)

# the example of the design, with everything that can stand in a matrix
EXAMPLE = """
[matrix]
name     = "digits tour"
on_invalid = "skip"
dataset  = ["digits"]
model    = ["simple_cnn", "resnet18"]
strategy = ["scratch", "regularized"]
seed     = [0, 1]
threads  = [1]
precision = ["float32"]
device   = ["auto"]
backend  = ["tensorflow"]

[[matrix.exclude]]
model = "resnet*"
dataset = ["mnist"]

[[matrix.include]]
dataset = "digits_high"
model = "resnet18"
strategy = "from_low_digits"

[[matrix.zip]]
batch_size = [32, 64]
learning_rate = [5e-4, 1e-3]

[[matrix.override]]
when = { model = "vgg16" }
set  = { batch_size = 32, image_size = 48 }

[defaults]
epochs = 10
validation_fraction = 0.1
early_stopping = { monitor = "val_loss", patience = 3, min_delta = 0.0 }
reduce_learning_rate = 2

[dataset.few_digits]
extends = "digits"
train_examples = 300
classes = [0, 1, 2]

[model.wide_cnn]
extends = "simple_cnn"
filters = [64, 128]

[strategy.v3]
extends = "v2"
label = "V2 + data augmentation"
augment = { flip = "horizontal", rotation = 0.05, color_jitter = 0.1, grayscale = 0.1, erase = 0.25 }

[strategy.two_phase]
weights = "imagenet"
[[strategy.two_phase.stage]]
train = "head"
epochs = 3
learning_rate = 1e-3
[[strategy.two_phase.stage]]
train = "last:30"
epochs = 2
learning_rate = 1e-5

[strategy.from_low_digits]
weights = { dataset = "digits_low", strategy = "scratch" }
train = "all"

[report]
transfer    = [{ fine_tuned = "from_low_digits", scratch = "scratch" }]
progression = [["v1", "v2", "v3", "v4"]]

[plugins]
models = "my_models.py"
"""


def plan_of(text: str, **options) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MACHINE, **options)


def problems_of(text: str, **options) -> list[str]:
    with pytest.raises(MatrixError) as caught:
        plan_of(text, **options)
    return [problem.describe("matrix.toml") for problem in caught.value.problems]


def test_the_whole_grammar_is_a_plan():
    plan = plan_of(EXAMPLE)
    assert plan.name == "digits tour"
    # (2 models x 2 strategies + 1 included) x 2 seeds x 2 zipped rows, and the parents of the included ones
    assert len(plan.cells) == 16 + 4 + 4
    assert plan.axes == ("dataset", "model", "strategy", "seed", "batch_size", "learning_rate")
    assert plan.report.progression == (("v1", "v2", "v3", "v4"),)
    assert plan.report.transfer[0].fine_tuned == "from_low_digits"
    assert "plugins.models: there is no file my_models.py" in plan.notes


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"simple_cnn", "resnet18"', '"simple_cnn", "resnet81"', ":6: matrix.model[1]: expected the name of a model, got \"resnet81\"; did you mean 'resnet18'?; `bench list models` shows all"),
        ('dataset  = ["digits"]', 'dataset = "os.system"', ':5: matrix.dataset: expected the name of a dataset, got "os.system"'),
        ("seed     = [0, 1]", "seed = [0, true]", ":8: matrix.seed[1]: expected an integer ≥ 0, got true"),
        ("seed     = [0, 1]", "seed = [0, 1.5]", "matrix.seed[1]: expected an integer ≥ 0, got 1.5"),
        ("seed     = [0, 1]", "seed = 9223372036854775808", "matrix.seed: expected an integer ≥ 0, got 9223372036854775808"),
        ("seed     = [0, 1]", "seed = []", "matrix.seed: expected at least one value, got []"),
        ("seed     = [0, 1]", "sead = 1", ":8: matrix.sead: expected a known key, got 1; did you mean 'seed'?"),
        ("seed     = [0, 1]", "filters = 1", "`filters` belongs in [model.NAME]"),
        ('device   = ["auto"]', 'device = "gpu:x"', "matrix.device: expected auto, cpu, gpu or gpu:N"),
        ('"float32"', '"float23"', "did you mean 'float32'?"),
        ('"tensorflow"', '"theano"', "matrix.backend[0]: expected tensorflow, jax or torch"),
        ('on_invalid = "skip"', 'on_invalid = "ask"', "matrix.on_invalid: expected skip or error"),
        ('name     = "digits tour"', 'name = "a\\u0000b"', "matrix.name: expected a name without control characters"),
        ('name     = "digits tour"', "name = 3", "matrix.name: expected a text, got 3"),
        ('model = "resnet*"', 'model = "resnt18"', ":15: matrix.exclude[0].model: expected the name of a model"),
        ('model = "resnet*"', 'modl = "resnet*"', "matrix.exclude[0].modl: expected dataset, model, strategy or a setting; did you mean 'model'?"),
        ('model = "resnet*"', 'seed = "1"', 'matrix.exclude[0].seed: expected an integer ≥ 0, got "1"; write numbers without quotes'),
        ('strategy = "from_low_digits"', 'strategy = "from_low"', "matrix.include[0].strategy: expected the name of a strategy"),
        ("batch_size = [32, 64]", "batch_size = [32, 64, 96]", ":23: matrix.zip[0]: expected lists of the same length"),
        ("batch_size = [32, 64]", "batch_size = 32", "matrix.zip[0].batch_size: expected a list"),
        ("batch_size = [32, 64]", "seed = [0, 1]", "matrix.zip[0].seed: expected an axis that stands in [matrix] or in one zip, not in both"),
        ('when = { model = "vgg16" }', 'when = { model = "vgg61" }', ":28: matrix.override[0].when.model: expected the name of a model"),
        ("batch_size = 32, image_size = 48", "batch_size = 0, image_size = 7", ":29: matrix.override[0].set.batch_size: expected an integer from 1 to 1000000, got 0"),
        ("batch_size = 32, image_size = 48", "batch_size = 0, image_size = 7", "matrix.override[0].set.image_size: expected an integer from 8 to 1024, got 7"),
        ("[[matrix.override]]", "[[matrix.include]]\n[[matrix.override]]", "matrix.include[1]: expected at least one key"),
        ("[[matrix.override]]", "[[matrix.exclude]]\n[[matrix.override]]", "matrix.exclude[1]: expected at least one key to match"),
        ("set  = {", "sett = {", "matrix.override[0].sett: expected `when` or `set`; did you mean 'set'?"),
        ("epochs = 10\n", 'epochs = "10"\n', ':32: defaults.epochs: expected an integer from 1 to 1000000, got "10"; write numbers without quotes'),
        ("validation_fraction = 0.1", "validation_fraction = 1.0", "defaults.validation_fraction: expected a number ≥ 0 and < 1, got 1.0"),
        ("patience = 3", "patience = -3", "defaults.early_stopping.patience: expected"),
        ("patience = 3, ", "", "defaults.early_stopping.patience: expected an integer from 0 to 1000000; it is missing"),
        ("reduce_learning_rate = 2", "reduce_learning_rate = true", "defaults.reduce_learning_rate: expected false, a patience"),
        ('extends = "digits"', 'extends = "digit"', ":38: dataset.few_digits.extends: expected the name of another dataset, got \"digit\"; did you mean 'digits'?"),
        ('extends = "digits"', 'source = "digits2"', "dataset.few_digits.source: expected digits, tfds:NAME, folder:PATH, npz:PATH, parquet:PATH, hf:PATH, webdataset:PATH or plugin:NAME"),
        ('extends = "digits"', 'source = "folder:/no/such"', 'dataset.few_digits.source: expected a folder of class folders at /no/such, got "folder:/no/such"; No such file or directory'),
        ('extends = "digits"', "", "dataset.few_digits.source: expected a data source; it is missing"),
        ('extends = "digits"', 'source = "tfds:svhn"', "dataset.few_digits.num_classes: expected `num_classes`, because tfds:svhn is not a source that bench knows"),
        ("classes = [0, 1, 2]", "classes = [0, 10]", "dataset.few_digits.classes: expected labels from 0 to 9, as digits has, got [0, 10]"),
        ("classes = [0, 1, 2]", "classes = [0, 0]", "dataset.few_digits.classes: expected at least two labels, each once"),
        ("train_examples = 300", "train_example = 300", "dataset.few_digits.train_example: expected a key of a dataset, got 300; did you mean 'train_examples'?"),
        ("filters = [64, 128]", 'filters = [64, "x"]', 'model.wide_cnn.filters[1]: expected an integer from 1 to 65536, got "x"'),
        ("filters = [64, 128]", "stage_dropout = [0.1]", "model.wide_cnn.stage_dropout: expected a parameter of simple_cnn: filters, kernel_size, dense_units, dropout"),
        ("filters = [64, 128]", 'weights = "none"', "`weights` belongs in [strategy.NAME]"),
        ('extends = "simple_cnn"', 'architecture = "simple_cn"', "model.wide_cnn.architecture: expected the name of an architecture, got \"simple_cn\"; did you mean 'simple_cnn'?"),
        ('extends = "simple_cnn"', 'architecture = "simple_cnn"', 'model.wide_cnn.dropout: expected `dropout` of simple_cnn; it is missing; or extends = "simple_cnn"'),
        ('extends = "simple_cnn"', 'extends = "resnet18"', "model.wide_cnn.filters: expected 4 numbers"),
        ("rotation = 0.05", "rotaton = 0.05", "strategy.v3.augment.rotaton: expected a known key; did you mean 'rotation'?"),
        ('flip = "horizontal"', 'flip = "sideways"', "strategy.v3.augment.flip: expected horizontal, vertical or both"),
        ('label = "V2', 'label = "\\u202e\\u0007V2', "strategy.v3.label: expected a name without control characters"),
        ('train = "last:30"', 'train = "last:0"', ':LINE: strategy.two_phase.stage[1].train: expected head, last:N or all, got "last:0"'),
        ('train = "last:30"', "seed = 3", "strategy.two_phase.stage[1].seed: expected a setting of a stage, got 3; `seed` holds for all stages"),
        ("learning_rate = 1e-5", "learning_rate = nan", ":LINE: strategy.two_phase.stage[1].learning_rate: expected a number > 0 and ≤ 1000, got nan"),
        ("learning_rate = 1e-5", "learning_rate = 1e-400", "learning_rate: expected a number > 0 and ≤ 1000, got 0.0"),
        ('weights = "imagenet"', 'weights = "imagnet"', "did you mean 'imagenet'?"),
        ('dataset = "digits_low"', 'dataset = "digits_lo"', ":LINE: strategy.from_low_digits.weights.dataset: expected the name of a dataset, got \"digits_lo\"; did you mean 'digits_low'?"),
        (', strategy = "scratch" }\ntrain', " }\ntrain", "strategy.from_low_digits.weights: expected a parent cell with a `strategy`"),
        ('strategy = "scratch" }\ntrain', 'strategy = "from_low_digits" }\ntrain', 'expected weights that do not come from the strategy itself, got "from_low_digits → from_low_digits"'),
        ('fine_tuned = "from_low_digits"', 'fine_tuned = "from_low"', "report.transfer[0].fine_tuned: expected the name of a strategy"),
        ('fine_tuned = "from_low_digits", ', "", "report.transfer[0].fine_tuned: expected the name of a strategy; it is missing"),
        ('["v1", "v2", "v3", "v4"]', '["v1", "v22"]', ':LINE: report.progression[0][1]: expected the name of a strategy, got "v22"'),
        ('["v1", "v2", "v3", "v4"]', '["v1"]', "report.progression[0]: expected a list of at least two strategies"),
        ("[plugins]", "[plugin]", ":LINE: plugin: expected a known table; did you mean 'plugins'?"),
        ("[defaults]", "[default]", "default: expected a known table; did you mean 'defaults'?"),
        ("[defaults]", '[dataset.""]\n[defaults]', 'dataset."": expected a name that is not empty'),
        ("[defaults]", f'[model."{"x" * 201}"]\nextends = "vgg16"\n[defaults]', "expected a name of at most 200 characters"),
        ("[defaults]", '[model."a\\u001b[31m"]\nextends = "vgg16"\n[defaults]', 'model."a\\u001b[31m": expected a name without control characters'),
        ("[defaults]", '[model."\u00e9"]\nextends = "vgg16"\n[model."e\u0301"]\nextends = "vgg16"\n[defaults]', "expected names that differ by more than the way an accent is encoded"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_key_expectation_and_nearest_name(old, new, expected):
    assert old in EXAMPLE
    expected = expected.replace("LINE", str(EXAMPLE[: EXAMPLE.index(old)].count("\n") + 1))
    problems = problems_of(EXAMPLE.replace(old, new, 1))
    assert any(expected in problem for problem in problems), problems


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = (
        EXAMPLE.replace('"resnet18"]', '"resnet81"]').replace("epochs = 10", "epochs = -1").replace('"v2"\n', '"v0"\n')
    )
    problems = problems_of(text, overrides=["epoch=3", "seed"], select=["model=vgg61"])
    assert len(problems) == 6
    assert [problem.split(":")[1] for problem in problems[3:]] == ["6", "32", "47"]


def test_a_document_that_is_no_matrix_says_what_is_missing():
    assert problems_of("") == ["matrix.toml: matrix: expected a table [matrix]; it is missing"]
    assert "matrix.toml:1: matrix: expected a table [matrix], got 3" in problems_of("matrix = 3")
    assert len(problems_of("[matrix]")) == 3
    assert problems_of('[matrix]\ndataset="digits"\nmodel="simple_cnn"') == [
        "matrix.toml:1: matrix.strategy: expected a strategy or a list of them; it is missing"
    ]
    assert any("`epochs` belongs in [defaults]" in problem for problem in problems_of("epochs = 3\n[matrix]"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("epochs=x", '--set epochs: expected an integer from 1 to 1000000, got "x"'),
        ("epoch=1", "--set epoch: expected a training setting; did you mean 'epochs'?"),
        ("model=vgg16", "--set model: expected a training setting; `--select` chooses cells"),
        ("epochs", '--set: expected KEY=VALUE, got "epochs"'),
        ("=3", "--set: expected KEY=VALUE"),
        ("epochs=1\n[x]\ny=2", "--set epochs: expected an integer"),
        ("seed=" + "9" * 5000, "--set seed: expected an integer"),
        ("augment=" + "[" * 5000, "--set augment: expected false, or a table"),
        ("\x1b[31m=1", "--set \\x1b[31m: expected a training setting"),
        ("optimizer=\udcff", "--set optimizer: expected adam"),
    ],
)
def test_a_mistake_in_set_is_told_like_one_in_the_file(override, expected):
    assert any(expected in problem for problem in problems_of(EXAMPLE, overrides=[override]))


def test_definitions_are_checked_whether_they_are_used_or_not():
    unused = '\n[strategy.never]\nepochs = 0\n[model.never]\nextends = "nothing"\n'
    assert len(problems_of(EXAMPLE + unused)) == 2


def toml_text(value) -> str:
    """Any plain value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value)


def document_text(document: dict) -> str:
    return "\n".join(f"{json.dumps(key)} = {toml_text(value)}" for key, value in document.items())


def paths_of(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_of(item, (*path, key))


DOCUMENT = tomllib.loads(EXAMPLE)
PATHS = list(paths_of(DOCUMENT))
STRANGE = [
    "", "30", "digits", "resnet*", "\u202e", "x" * 300, "../../etc/passwd", "[", "none", 0, -1, 10**30, True, False,
    1.5, -0.0, math.nan, math.inf, [], [[]], [1, "a"], {}, {"a": {}}, {"strategy": "v4"}, [{}], date(2024, 1, 2),
]  # fmt: skip
ANY_VALUE = st.recursive(
    st.sampled_from(STRANGE) | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def mutated(path, value, how):
    document = copy.deepcopy(DOCUMENT)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if how == "remove":
        del parent[path[-1]]
    elif how == "rename" and isinstance(parent, dict):
        parent[str(path[-1]) + "x"] = parent.pop(path[-1])
    else:
        parent[path[-1]] = value
    return document_text(document)


def is_plan_or_matrix_error(text: str) -> bool:
    """Any other exception goes on, and fails the test."""
    try:
        plan = plan_of(text)
    except MatrixError as error:
        return len(str(error).splitlines()) == len(error.problems) + 1 > 1
    return bool(plan.cells or plan.left_out)


def test_the_writer_of_these_tests_is_right():
    assert tomllib.loads(document_text(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_any_key_may_be_wrong_in_any_way_without_a_traceback(path):
    for how in ("remove", "rename"):
        assert is_plan_or_matrix_error(mutated(path, None, how))
    for value in STRANGE[len(path) % 2 :: 2]:
        assert is_plan_or_matrix_error(mutated(path, value, "replace"))


@given(st.sampled_from(PATHS), ANY_VALUE)
def test_any_value_at_any_key_is_a_plan_or_a_matrix_error(path, value):
    assert is_plan_or_matrix_error(mutated(path, value, "replace"))


ENSEMBLE = """
[matrix]
dataset = "digits"
model = ["simple_cnn", "basic_cnn"]
strategy = "scratch"
[report]
ensemble = [{{ {} }}]
"""


def test_ensembles_are_selections_with_a_label():
    plan = load_matrix(
        "m.toml", ENSEMBLE.format('cells = "model=simple_cnn|basic_cnn,dataset=digits", label = "Both"'),
        machine_kind=MachineKind(0, 2),
    )  # fmt: skip
    assert plan.report.ensemble == (EnsembleSpec(("model=simple_cnn|basic_cnn,dataset=digits",), "Both"),)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('label = "Both"', "report.ensemble[0]: expected a table such as"),
        ("cells = 3", "report.ensemble[0].cells: expected a selection"),
        ("cells = []", "report.ensemble[0].cells: expected a selection"),
        ('cells = "modle=a"', "did you mean 'model'"),
        ('cells = "model"', "expected key=value"),
        ('cells = "seed=0", lable = "x"', "did you mean 'label'"),
    ],
)
def test_an_ensemble_that_is_none_is_refused(inside, words):
    with pytest.raises(MatrixError) as caught:
        load_matrix("m.toml", ENSEMBLE.format(inside), machine_kind=MachineKind(0, 2))
    assert words in str(caught.value)
