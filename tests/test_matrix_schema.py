"""The JSON Schema of `matrix.toml` takes what `bench plan` takes, and refuses what is wrong whatever the names."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from unmoved_matrices import COUNT, Matrix

from benchmark.catalog.bundled_files import FAMILIES, definitions_text, preset_names, preset_text
from benchmark.matrix.json_schema.document_schema import matrix_schema
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.problems import INVALID, Problems
from benchmark.matrix.settings import SETTINGS

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `test`")
SCHEMA = matrix_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def is_valid(text: str) -> bool:
    return VALIDATOR.is_valid(tomllib.loads(text))


def test_it_is_a_schema_of_the_draft_that_it_names():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_random_matrices_that_say_everything_are_valid():
    for number in range(0, COUNT, 4):
        document = tomllib.loads(Matrix(number).text)
        assert not [error.message for error in VALIDATOR.iter_errors(document)], Matrix(number).text


@pytest.mark.exhaustive  # all of them; a quarter is above
def test_every_random_matrix_is_valid():
    for number in range(COUNT):
        assert is_valid(Matrix(number).text)


def test_presets_and_the_definitions_of_bench_are_valid():
    for name in preset_names():
        assert is_valid(preset_text(name)), name
    for family in FAMILIES:
        assert is_valid(NAMES + definitions_text(family)), family


def test_matrices_of_the_documentation_are_valid():
    blocks = re.findall(r"^```toml\n(.*?)^```", (DOCS / "matrix.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    whole = [block for block in blocks if "[matrix]" in block]
    assert len(whole) > 5
    assert [block for block in whole if not is_valid(block)] == []


VALUES = (
    *(
        False,
        True,
        0,
        1,
        -1,
        2,
        3,
        64,
        65,
        1000,
        10**7,
        2**63,
        0.0,
        0.5,
        1.5,
        -0.5,
        1e4,
        float("inf"),
        "",
        "auto",
        "all",
    ),
    *("none", "seed", "cpu", "gpu:1", "gpu:x", "head", "last:3", "last:0", "val_loss", "val_mine", "loss", "grey"),
    *("rgb", "4-channel", "step", "cosine", "plugin:mine", "balanced", "horizontal", "adam", "tensorflow", "fake"),
    *(
        [],
        {},
        ["model", "h5"],
        ["x"],
        [1],
        {"patience": 3},
        {"patience": -1},
        {"patience": 3, "x": 1},
        {"min_delta": 1},
    ),
    *({"kind": "step", "factor": 0.5, "every": 3}, {"kind": "step", "factor": 0.5}, {"kind": "cosine", "final": 2}),
    *({"kind": "focal", "gamma": 2}, {"kind": "plugin:mine", "a": 1}, {"kind": "mine", "a": [1, "b"]}, {"gamma": 2}),
    *({"flip": "both"}, {"flip": "no"}, {"randaugment": {"layers": 2}}, {"zoom": 2}, {"cat": 2}, {"cat": -1}),
)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_takes_the_same_values_by_the_schema_and_by_the_reader(name):
    validator = jsonschema.Draft202012Validator({**SCHEMA["$defs"][name], "$defs": SCHEMA["$defs"]})
    for value in VALUES:
        problems = Problems()
        # the names of a user's own metrics are not known to the schema
        problems.own_metrics = None
        is_read = SETTINGS[name].kind.read(value, (name,), problems) is not INVALID
        # of class weights that are all 0, and `fake`, which is a backend of tests alone
        if value in ({}, "fake") or (isinstance(value, float) and value.is_integer()):
            continue
        assert validator.is_valid(value) == is_read, value


BROKEN = {
    "no matrix": "[defaults]\nepochs = 1\n",
    "an unknown table": NAMES + "[default]\nepochs = 1\n",
    "an unknown axis": NAMES + "epoch = 3\n",
    "no strategy": '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\n',
    "a number for a name": NAMES.replace('"digits"', "3"),
    "an empty axis": NAMES.replace('"digits"', "[]"),
    "a text for a number": NAMES + 'epochs = "3"\n',
    "too few": NAMES + "epochs = 0\n",
    "one of a list": NAMES + "learning_rate = [0.1, -0.1]\n",
    "an order": NAMES + 'order = "fastest"\n',
    "a table for a rule": NAMES + "[matrix.exclude]\nseed = 1\n",
    "a rule of nothing": NAMES + "[[matrix.exclude]]\n",
    "an unknown key of a rule": NAMES + "[[matrix.exclude]]\nmodle = 'a*'\n",
    "a scalar in a zip": NAMES + "[[matrix.zip]]\nepochs = 1\n",
    "an override of nothing": NAMES + "[[matrix.override]]\nwhen = { seed = 1 }\n",
    "an override of a name": NAMES + '[[matrix.override]]\nset = { model = "a" }\n',
    "an unknown default": NAMES + "[defaults]\nepoch = 1\n",
    "a list of defaults": NAMES + "[defaults]\nepochs = [1, 2]\n",
    "a dataset without a source": NAMES + "[dataset.a]\nimage_size = 8\n",
    "a source of no kind": NAMES + '[dataset.a]\nsource = "ftp:images"\n',
    "an unknown key of a dataset": NAMES + '[dataset.a]\nextends = "digits"\nfilters = [1]\n',
    "an unknown key of a network": NAMES + '[model.a]\nextends = "simple_cnn"\nfliters = [1]\n',
    "a wrong parameter of a network": NAMES + '[model.a]\nextends = "simple_cnn"\nfilters = [0]\n',
    "a model of nothing": NAMES + "[model.a]\nfilters = [8]\n",
    "a command that is a text": NAMES + '[model.a]\ncommand = "python train.py"\n',
    "a strategy with an unknown key": NAMES + "[strategy.a]\nepoch = 1\n",
    "a parent without a strategy": NAMES + '[strategy.a]\nweights = { dataset = "digits" }\n',
    "a seed of a stage": NAMES + "[[strategy.a.stage]]\nseed = 1\n",
    "a nameless definition": NAMES + '[strategy." "]\nepochs = 1\n',
    "a baseline that is a list": NAMES + '[report]\nbaseline = ["scratch"]\n',
    "a margin below 0": NAMES + "[report]\nmargin = -1\n",
    "a progression of one": NAMES + '[report]\nprogression = [["scratch"]]\n',
    "a comparison of one": NAMES + '[report]\ntransfer = [{ fine_tuned = "scratch" }]\n',
    "an unknown key of the report": NAMES + '[report]\nmetric = "test_loss"\n',
    "an unknown kind of plug-in": NAMES + '[plugins]\nmodel = ["a.py"]\n',
    "a plug-in that is a number": NAMES + "[plugins]\nmodels = 3\n",
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_what_plan_refuses_whatever_the_names_is_invalid(mistake, tmp_path):
    from benchmark.errors import MatrixError

    assert not is_valid(BROKEN[mistake])
    with pytest.raises(MatrixError):
        load_matrix(tmp_path / "matrix.toml", BROKEN[mistake], machine_kind=MachineKind(0, 2, {}, ("tensorflow",)))


OWN_CODE = (
    '[model.a]\narchitecture = "plugin:net"\nfilters = "many"\nwidth = [1, [2.5, "x"]]\n',
    '[model.a]\narchitecture = "timm:resnet10t"\ndrop_rate = 0.1\n[model.b]\nextends = "a"\ndepth = 3\n',
    '[model.a]\ncommand = ["python", "a.py", "{trees}"]\ntrees = 3\nsplit-rule = "gini"\n',
    '[plugins]\nmodels = "a.py"\nmetrics = ["b.py"]\n',
    '[report]\nmetrics = "test_accuracy"\nmargin = "0.5pp"\nensemble = [{ cells = "model=*", label = "all" }]\n',
    "[defaults]\nepochs = 2\n[[matrix.override]]\nwhen = { precision = 'mixed_*', seed = [0, 1] }\nset = { epochs = 3 }\n",
)


@pytest.mark.parametrize("text", OWN_CODE)
def test_own_models_take_keys_of_their_own(text):
    assert is_valid(NAMES + text)


def test_every_key_of_every_table_says_what_it_means():
    def unexplained(schema, path):
        for key, each in schema.get("properties", {}).items():
            target = {**(SCHEMA["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else {}), **each}
            if not {"title", "description"} <= target.keys():
                yield (*path, key)

    sections = SCHEMA["properties"]
    models = sections["model"]["additionalProperties"]["anyOf"]
    others = [sections[family]["additionalProperties"] for family in ("dataset", "strategy")]
    for schema in (SCHEMA, *sections.values(), *models, *others):
        assert list(unexplained(schema, ())) == []


def test_the_command_prints_what_is_published():
    from click.testing import CliRunner

    from benchmark.cli.main import bench

    printed = CliRunner().invoke(bench, ["schema"]).stdout
    assert printed == (DOCS / "matrix.schema.json").read_text("utf-8")
    assert json.loads(printed) == SCHEMA
