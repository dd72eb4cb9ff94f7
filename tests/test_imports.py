"""The walls of the house: who may import what, what stays light, and which doors are locked."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "benchmark"

# importable by everything
FOUNDATIONS = {"errors", "status"}
# each part may import itself, the foundations, and those named here; docs/architecture.md draws the same table
MAY_IMPORT: dict[str, set[str]] = {
    **{name: {"errors"} - {name} for name in sorted(FOUNDATIONS)},
    "events": set(),
    "machine": set(),
    "faults": set(),
    "catalog": {"errors", "events", "machine"},
    "matrix": {"errors", "events", "machine", "catalog"},
    "results": {"errors", "events", "faults", "machine", "matrix", "catalog"},
    "training": {"errors", "events", "faults", "machine", "matrix", "catalog"},
    "testing": {"events", "faults", "matrix", "training"},
    "forecast": {"events", "machine", "matrix", "catalog"},
    "scheduling": {"errors", "events", "faults", "machine", "matrix", "catalog", "results", "forecast"},
    "reporting": {"errors", "events", "machine", "matrix", "catalog", "results"},
    "cli": {"errors", "events", "machine", "matrix", "catalog", "results", "forecast", "scheduling", "reporting"},
}
# what still stands against the table; it may only become shorter
NOT_YET = {("benchmark.forecast.estimate", "benchmark.scheduling.processes.slots")}
# the version, and the entry points of a worker, which its process imports by name
FREE = {"benchmark"}

HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "scipy", "pandas", "matplotlib", "numpy")
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(module: str) -> str:
    return module.split(".")[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere, inside functions too."""
    found = set()
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names} if module in FREE else {module}
    return found


def test_the_table_of_imports_has_no_cycle():
    order = list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())
    assert order.index("matrix") < order.index("results") < order.index("cli")


def test_the_table_names_every_part():
    parts = {part(name_of(path)) for path in MODULES if "." in name_of(path)}
    assert parts - {"__main__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", [path for path in MODULES if "." in name_of(path)], ids=name_of)
def test_imports_go_one_way(path):
    own = part(name_of(path))
    if own == "__main__":
        return
    foreign = {name for name in imports_of(path) if name.startswith("benchmark.") and name != "benchmark.__version__"}
    wrong = {(name_of(path), name) for name in foreign if part(name) not in MAY_IMPORT[own] | FOUNDATIONS | {own}}
    assert wrong == {pair for pair in NOT_YET if pair[0] == name_of(path)}


def test_only_training_imports_keras_and_tensorflow():
    for path in MODULES:
        heavy = {name.split(".")[0] for name in imports_of(path)} & {"tensorflow", "keras", "tensorflow_datasets"}
        assert not heavy or part(name_of(path)) == "training", f"{path} imports {heavy}"


@pytest.mark.parametrize(
    ("modules", "owner"),
    [
        ({"tomllib"}, {"matrix"}),
        ({"sqlite3", "sqlalchemy", "alembic", "psycopg"}, {"results"}),
        ({"psutil", "pynvml", "cpuinfo"}, {"machine"}),
        ({"rich", "click"}, {"cli", "reporting"}),
        ({"multiprocessing", "concurrent"}, set()),
    ],
    ids=lambda value: "+".join(sorted(value)) or "nobody",
)
def test_each_door_has_one_key(modules, owner):
    for path in MODULES:
        used = {name.split(".")[0] for name in imports_of(path)} & modules
        assert not used or part(name_of(path)) in owner, f"{path} imports {used}"


def test_only_scheduling_starts_processes():
    for path in MODULES:
        starts = "subprocess" in imports_of(path) or any(call in path.read_text() for call in ("os.fork(", "os.exec"))
        # machine asks git; nothing else may start a program
        assert not starts or part(name_of(path)) in {"scheduling", "machine"}, path


def test_only_cli_prints():
    for path in MODULES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or part(name_of(path)) == "cli", path


FORBIDDEN_CALLS = {"eval", "exec", "load_model", "model_from_json"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "yaml", "shelve", "marshal"}


def is_own_model(path: Path, call: ast.Call) -> bool:
    """The one place that loads a model: the file that the same process has just written, with safe_mode spelt out."""
    keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    own = name_of(path) == "benchmark.training.artifacts.model_files" and getattr(call.func, "attr", "") == "load_model"
    return own and keywords == {"compile": False, "safe_mode": True}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_data_never_becomes_code(path):
    assert not {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN_IMPORTS
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            bare = isinstance(function, ast.Name) or called in {"load_model", "model_from_json"}
            assert is_own_model(path, node) or not (bare and called in FORBIDDEN_CALLS), (
                f"{path}:{node.lineno} calls {called}"
            )
            keywords = {keyword.arg for keyword in node.keywords if getattr(keyword.value, "value", None) is True}
            assert not keywords & {"shell", "allow_pickle"}, f"{path}:{node.lineno}"


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_the_command_line_starts_light():
    loaded = loaded_after("import benchmark.cli.main")
    assert not loaded & {*HEAVY, "sqlalchemy", "alembic", "pydantic", "jinja2", "psutil"}


@pytest.mark.parametrize("package", ["matrix", "catalog", "results", "scheduling"])
def test_light_packages_import_no_heavy_library(package):
    modules = [name_of(path) for path in MODULES if name_of(path).startswith(f"benchmark.{package}")]
    modules = [name for name in modules if "migrations" not in name and not name.endswith("_process")]
    loaded = loaded_after("import " + ", ".join(modules))
    assert not loaded & set(HEAVY)
