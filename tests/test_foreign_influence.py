"""What surrounds bench (variables, configuration files, Python files, site-packages) does not change what workers do.

`fixtures/foreign_variables.txt` holds variables that TensorFlow, Keras, JAX, PyTorch, OpenMP, BLAS, oneDNN, CUDA, glibc
and Python read, taken from their sources and manuals, each with a value that is not its default.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_workplace import Workplace, typed
from PIL import Image
from results_samples import cell

from benchmark.cli.main import VERBS
from benchmark.files import sha256_of
from benchmark.scheduling.processes.environment import (
    ignored_variables,
    python_command,
    template_environment,
    worker_environment,
)
from benchmark.scheduling.processes.slots import Grant
from benchmark.scheduling.processes.worker_order import worker_order

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = dict(
    line.split("=", 1) for line in (ROOT / "tests/fixtures/foreign_variables.txt").read_text().splitlines()
)
SHELL = {"PATH": "/bin", "HOME": "/home/me", "LANG": "C.UTF-8"}


def environments(shell: dict[str, str]) -> list[dict[str, str]]:
    """Of every kind of process of a run."""
    workers = [worker_environment(shell, backend, 2, gpu) for backend in BACKENDS for gpu in (None, "GPU-1")]
    return workers + [template_environment(shell, backend) for backend in BACKENDS]


BACKENDS = ("tensorflow", "jax", "torch")
PLAIN = environments(SHELL)


# ---- variables


def test_two_hundred_variables_are_tried():
    assert len(VARIABLES) >= 200


@pytest.mark.parametrize("value", [None, "", "0", "1", "true", "/nowhere", "garbage"])
def test_variables_of_the_shell_change_nothing_in_a_worker(value):
    foreign = {name: usual if value is None else value for name, usual in VARIABLES.items()}
    assert environments({**SHELL, **foreign}) == PLAIN


@pytest.mark.exhaustive  # above all of them at once
@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_of_the_shell_changes_nothing_in_a_worker(name):
    for value in (VARIABLES[name], "", "0", "1", "true", "/nowhere", "garbage"):
        assert environments({**SHELL, name: value}) == PLAIN


def test_of_unknown_variables_none_passes():
    unknown = {f"{prefix}_{word}": "1" for prefix in ("TF", "XLA", "KERAS", "NEW", "MY") for word in ("A", "OPTION")}
    assert environments({**SHELL, **unknown}) == PLAIN


def test_only_where_cuda_lies_passes_of_the_flags_of_xla():
    place = "--xla_gpu_cuda_data_dir=/opt/cuda"
    environment = worker_environment({**SHELL, "XLA_FLAGS": f"--xla_cpu_enable_fast_math {place}"}, "jax", 1, None)
    assert environment["XLA_FLAGS"] == place


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"])
@pytest.mark.parametrize("value", ["", ".", ":", ":/opt", "/opt:", "/opt:.:lib", "./lib:/opt"])
def test_no_search_path_names_the_working_folder(name, value):
    environment = worker_environment({**SHELL, name: value}, "tensorflow", 1, None)
    assert environment.get(name) == ("/opt" if "/opt" in value else None)


def test_keras_finds_no_configuration_and_bench_its_weights():
    for shell, home in (({}, "/home/me/.keras"), ({"KERAS_HOME": "/data/keras"}, "/data/keras")):
        environment = worker_environment({**SHELL, **shell}, "tensorflow", 1, None)
        assert not (Path(environment["KERAS_HOME"]) / "keras.json").exists()
        code = "from benchmark.catalog.keras_applications import PUBLISHED; print(PUBLISHED['vgg16'].path.parent)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "HOME": "/home/me", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == f"{home}/models"


def test_a_trial_has_the_environment_of_a_worker_whatever_the_shell_says(tmp_path, monkeypatch):
    def environment_of(**trial) -> dict[str, str]:
        told = {"data_directory": None, "isolation": "spawn", "allow_plugins": False, **trial}
        return worker_order(cell(), Grant((0,), None), tmp_path, **told).environment

    plain = environment_of()
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert environment_of(trial_seconds=1.0, trial_stages=(1,)) == environment_of() == plain


def test_what_is_ignored_is_named():
    shell = {**SHELL, "TF_ENABLE_ONEDNN_OPTS": "0", "OMP_NUM_THREADS": "1", "EDITOR": "vi", "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert ignored_variables(shell) == ["OMP_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS"]


# ---- Python files

MATRIX = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
backend = "fake"
[defaults]
epochs = 1
"""
THIRD_PARTY = ("benchmark", "tensorflow", "keras", "numpy", "pandas", "matplotlib", "sklearn", "PIL", "click", "rich",
               "sqlalchemy", "alembic", "psutil", "filelock", "h5py", "scipy", "sitecustomize", "usercustomize")  # fmt: skip
BUILT_BEFORE = frozenset(sys.builtin_module_names) | {"__future__"}


@pytest.fixture
def work(tmp_path) -> Path:
    """A working folder in which every module of the standard library and every library of bench has a namesake."""
    folder = tmp_path / "work"
    folder.mkdir()
    canary = f"open({str(tmp_path / 'WAS_RUN')!r}, 'a').write(__name__ + '\\n')\n"
    for name in {*sys.stdlib_module_names, *THIRD_PARTY} - BUILT_BEFORE:
        (folder / f"{name}.py").write_text(canary)
    (folder / "benchmark.py").unlink()
    (folder / "benchmark").mkdir()
    (folder / "benchmark/__init__.py").write_text(canary)
    (folder / "matrix.toml").write_text(MATRIX)
    return folder


def variables(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
    own = {"BENCH_CACHE": str(folder.parent / "cache"), "HOME": str(folder.parent / "home"), "BENCH_MACHINE": "tester"}
    return {**kept, **own, **more}


SCRIPT = """\
import sys
sys.path.append({root!r})  # installed or not
from benchmark.__main__ import main
first, *rest = sys.argv
for words in " ".join(rest).split(" then "):
    sys.argv = [first, *words.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def bench(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The console script, as it is installed: its folder, not that of the shell, stands first on the path.

    The word `then` stands between commands that are given to one process, up to the first that fails.
    """
    script = folder.parent / "bin" / "bench"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT.format(root=str(ROOT)))
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=folder, env=variables(folder, **more), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_no_python_file_of_the_working_folder_is_run(work):
    verbs = "plan then prepare then reproduce seed=0 then doctor then report --figures figures then why seed=0"
    for arguments in ("run", f"run --isolation spawn --rerun then {verbs} then db check"):
        done = bench(work, *arguments.split(), BENCH_TESTING="1")
        assert done.returncode == 0, (arguments, done.stderr)
        assert not (work.parent / "WAS_RUN").exists(), (arguments, (work.parent / "WAS_RUN").read_text())


@pytest.mark.parametrize(
    "shell",
    [
        {"PYTHONPATH": ":/opt"},
        # of a worker's own path: test_no_search_path_names_the_working_folder
        *(
            pytest.param(shell, marks=pytest.mark.exhaustive)
            for shell in (
                {"PYTHONPATH": "."}, {"PYTHONPATH": "/opt:./"}, {"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": ""},
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_relative_entry_of_pythonpath_is_none_of_a_worker(work, shell):
    # Python itself reads these for bench's own process, before bench has a say: here only workers would find them
    for namesake in work.iterdir():
        if namesake.stem not in {"keras", "pandas", "matrix"}:
            namesake.unlink() if namesake.is_file() else shutil.rmtree(namesake)
    done = bench(work, "run", BENCH_TESTING="1", **shell)
    assert done.returncode == 0, done.stderr
    assert not (work.parent / "WAS_RUN").exists()


def test_as_a_module_bench_leaves_the_working_folder_before_it_imports_anything(work):
    (work / "matrix.toml").write_text(REAL)
    # what `python -m` itself imports, before a line of bench runs
    code = "import runpy, importlib.util, contextlib, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in loaded.split():
        (work / f"{name}.py").unlink(missing_ok=True)
    shutil.rmtree(work / "benchmark")
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "doctor"], cwd=work, env=variables(work, PYTHONPATH=str(ROOT)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (work.parent / "WAS_RUN").exists()


OBSOLETE = {
    "dataclasses.py": "raise ImportError('for Python 3.6')",
    "typing.py": "raise ImportError('for Python 2')",
    "enum/__init__.py": "raise ImportError('enum34')",
    "asyncio/__init__.py": "raise ImportError('for Python 3.3')",
    "pathlib.py": "raise ImportError('for Python 2')",
    "selectors.py": "raise ImportError('for Python 2')",
}
INSTALLED_THERE = """\
import os, sys
place = next(n for n, path in enumerate(sys.path) if path.endswith("-packages"))
sys.path.insert(place, os.environ["SITE"])
from benchmark.__main__ import main
assert sys.modules["benchmark"].__file__.startswith(os.environ["SITE"])
sys.exit(main())
"""


@pytest.mark.parametrize("isolation", ["fork", pytest.param("spawn", marks=pytest.mark.exhaustive)])
def test_an_obsolete_backport_in_site_packages_stands_behind_the_standard_library(isolation, tmp_path):
    site = tmp_path / "site"
    (tmp_path / "matrix.toml").write_text(MATRIX)
    for name, text in OBSOLETE.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (site / "benchmark").symlink_to(ROOT / "benchmark")
    done = subprocess.run(
        [sys.executable, "-I", "-c", INSTALLED_THERE, "run", "--isolation", isolation], cwd=tmp_path,
        env=variables(tmp_path / "x", BENCH_TESTING="1", SITE=str(site)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_process_runs_the_code_of_the_bench_that_started_it(tmp_path):
    """Another installation of the package on the path, as an older one in site-packages, is not taken for it."""
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/__init__.py").write_text("raise ImportError('another bench')")
    environment = worker_environment({**os.environ, "BENCH_TESTING": ""}, "tensorflow", 1, None)
    environment["BENCH_IMPORT_PATH"] = os.pathsep.join([str(tmp_path), environment["BENCH_IMPORT_PATH"]])
    command = python_command("benchmark.training.programs.prepare", "{}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "another bench" not in done.stderr
    assert "prepare" in done.stdout + done.stderr


# ---- bench's own process: what it prints and decides

SLOW = ("PYTHONTRACEMALLOC", "PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
ENDLESS = ("OPENBLAS_BLOCK_FACTOR", "OPENBLAS_L2_SIZE")
"""With these NumPy computes for ever."""
NUMERICAL = ("OPENBLAS", "OMP", "MKL", "KMP", "GOMP", "GOTO", "NPY", "NUMEXPR", "BLIS", "VECLIB", "MALLOC", "GLIBC")
GROUPS = {
    "python": {name: value for name, value in VARIABLES.items() if name.startswith("PYTHON") and name not in SLOW}
    | {"PYTHONOPTIMIZE": "2", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"},
    "numbers": {name: value for name, value in VARIABLES.items() if name.startswith(NUMERICAL) and name not in ENDLESS},
    "locale": {"LC_ALL": "tr_TR.UTF-8", "LC_NUMERIC": "de_DE.UTF-8", "LC_TIME": "ja_JP.UTF-8", "LANG": "de_DE.UTF-8",
               "LC_COLLATE": "sv_SE.UTF-8", "LANGUAGE": "de:fr", "TZ": "Pacific/Kiritimati"},
    "drawing": {"MPLBACKEND": "no such", "MPLCONFIGDIR": "mpl", "MATPLOTLIBRC": "mpl", "XDG_CONFIG_HOME": "mpl",
                "XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "caches", "XDG_RUNTIME_DIR": "mpl", "SOURCE_DATE_EPOCH": "1"},
    "terminal": {"COLUMNS": "33", "LINES": "7", "NO_COLOR": "1", "CLICOLOR": "0", "TERM": "dumb", "FORCE_COLOR": "1",
                 "TTY_COMPATIBLE": "1", "COLORTERM": "truecolor", "PAGER": "cat", "JUPYTER_COLUMNS": "17"},
}  # fmt: skip
"""Of these only those of a terminal are meant to be seen, and those in tables alone: not in JSON, CSV, HTML, figures."""
ALL = {name: value for group in GROUPS.values() for name, value in group.items()}
MATPLOTLIBRC = """
backend: TkAgg
lines.linewidth: 9
font.size: 3
font.family: serif
text.usetex: True
axes.facecolor: red
axes.prop_cycle: cycler('color', ['k', 'y'])
axes.formatter.use_locale: True
axes.unicode_minus: False
figure.dpi: 31
savefig.dpi: 37
savefig.format: pdf
savefig.bbox: tight
savefig.transparent: True
svg.hashsalt: other
image.cmap: jet
"""
DOCUMENTS = [
    ["plan", "--format", "json"],
    ["plan", "--format", "json", "--db", "none.sqlite"],
    ["report", "--format", "json"],
    ["report", "--format", "html", "--no-pictures"],
    ["compare", "strategy=scratch", "strategy=regularized", "--format", "json"],
    ["list", "cells", "--format", "json"],
    ["list", "cells", "--format", "csv"],
    ["report", "--figures", "pictures", "--select", "model=simple_cnn,dataset=digits", "--format", "json"],
]

CREATED = re.compile(r'"created_utc": "[^"]*"|<time .*</time>')


def documents(folder: Path, foreign: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """What bench says of the reference results, and the digests of its figures, in a folder of hostile configuration."""
    folder.mkdir()
    shutil.copy(ROOT / "results.sqlite", folder)
    shutil.copy(ROOT / "matrix.toml", folder)
    if foreign:
        for place in (folder, folder / "mpl", folder / "mpl" / "matplotlib", folder / ".config" / "matplotlib"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "matplotlibrc").write_bytes(MATPLOTLIBRC.encode() + b"font.family: \xff\n")
    shell = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    own = {"HOME": str(folder), "BENCH_CACHE": str(folder / "cache")}
    said = typed(folder, {**shell, **foreign, **own}, *DOCUMENTS)
    assert {answer.exit_code for answer in said} == {0}, [answer.stderr[:2000] for answer in said if answer.exit_code]
    answers = [CREATED.sub("CREATED", answer.stdout.replace(str(folder), "FOLDER")) for answer in said]
    pictures = [path for path in (folder / "pictures").iterdir() if path.suffix in {".png", ".svg"}]
    return answers, {path.name: sha256_of(path) for path in pictures}


@pytest.fixture(scope="module")
def plain_documents(tmp_path_factory):
    answers, pictures = documents(tmp_path_factory.mktemp("plain") / "work", {})
    assert len(pictures) > 5
    return answers, pictures


def test_a_hundred_variables_surround_bench_itself():
    assert len(ALL) >= 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "foreign", [pytest.param(ALL, id="all"), *(pytest.param(GROUPS[name], id=name, marks=pytest.mark.exhaustive) for name in GROUPS)]
)  # fmt: skip
def test_ids_documents_and_figures_are_the_same_whatever_surrounds_bench(foreign, plain_documents, tmp_path):
    answers, pictures = documents(tmp_path / "work", foreign)
    for words, answer, plain in zip(DOCUMENTS, answers, plain_documents[0], strict=True):
        assert answer == plain, words
    assert pictures == plain_documents[1]


def test_a_warning_of_a_library_is_no_error(tmp_path):
    shutil.copy(ROOT / "results.sqlite", tmp_path)
    done = bench(
        tmp_path,
        "report",
        "--format",
        "json",
        "--machine",
        "reference",
        PYTHONWARNINGS="error",
        NPY_PROMOTION_STATE="weak",
    )
    assert done.returncode == 0, done.stderr


def test_help_says_what_a_verb_does_without_docstrings(tmp_path):
    done = bench(tmp_path, "plan", "--help", PYTHONOPTIMIZE="2")
    assert VERBS["plan"] in " ".join(done.stdout.split())


# ---- all at once, with TensorFlow

FOREIGN_KERAS = {"floatx": "float16", "epsilon": 1, "backend": "torch", "image_data_format": "channels_first", "nnx_enabled": True}  # fmt: skip
REAL = MATRIX.replace('backend = "fake"\n', "") + "train_examples = 100\ntest_examples = 50\n"


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("isolation", ["fork", pytest.param("spawn", marks=pytest.mark.exhaustive)])
def test_all_foreign_influences_at_once_leave_the_digest_and_what_must_pass_is_recorded(isolation, work, tmp_path):
    (work / "matrix.toml").write_text(REAL)
    home = tmp_path / "home/.keras"
    home.mkdir(parents=True)
    (home / "keras.json").write_text(json.dumps(FOREIGN_KERAS))
    # those of Python are obeyed by bench's own process, before it has a say: without bytecode it is slow, not wrong
    # and with these two the NumPy in which it plots computes for ever
    spared = ("PYTHON", "OPENBLAS_BLOCK_FACTOR", "OPENBLAS_L2_SIZE")
    foreign = {name: value for name, value in VARIABLES.items() if not name.startswith(spared)}
    foreign |= {"PYTHONHASHSEED": "77", "PYTHONSTARTUP": "/nowhere/startup.py", "PYTHONUSERBASE": "/nowhere"}
    done = bench(work, "run", "--isolation", isolation, **foreign, LD_LIBRARY_PATH="/opt/foreign")
    assert done.returncode == 0, done.stderr
    assert "LD_LIBRARY_PATH=/opt/foreign" in Workplace(work).call("show", "seed=0").stdout
    if isolation == "spawn":
        # with the environment of a worker that is spawned
        Image.new("L", (8, 8), 90).save(tmp_path / "image.png")
        for words in (["predict", "seed=0", str(tmp_path / "image.png")], ["explain", "seed=0", "--output", "maps"]):
            done = bench(work, *words, **foreign)
            assert done.returncode == 0, done.stderr

    # and with none of them
    (home / "keras.json").unlink()
    found = json.loads(bench(work, "reproduce", "seed=0", "--format", "json").stdout)
    assert found["verdict"] == "identical"
    assert ("device_name", "cpu, with LD_LIBRARY_PATH=/opt/foreign", "cpu") in {
        (change["name"], change["before"], change["now"]) for change in found["changes"]
    }
    assert not (tmp_path / "WAS_RUN").exists(), (tmp_path / "WAS_RUN").read_text()
