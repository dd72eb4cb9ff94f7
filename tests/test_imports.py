"""The walls of the house: who may import what, what stays light, and which doors are locked."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "benchmark"

# importable by everything
FOUNDATIONS = {"errors", "faults", "files", "git_repository", "layout", "prediction_metrics", "status", "text", "units"}
# each part may import itself, the foundations, and those named here; docs/architecture.md draws the same table
MAY_IMPORT: dict[str, set[str]] = {
    **{name: {"errors"} - {name} for name in sorted(FOUNDATIONS)},
    "events": set(),
    "cell": {"cell_callbacks", "images"},
    "cell_callbacks": set(),
    "control_groups": set(),
    "machine": {"control_groups"},
    "utilization": {"control_groups", "machine"},
    "machine_load": {"control_groups", "machine"},
    "catalog": {"errors"},
    "images": {"errors", "machine", "catalog"},
    "matrix": {"errors", "catalog"},
    "results": {"errors", "events", "machine", "matrix", "catalog"},
    "training": {"errors", "events", "machine", "machine_load", "matrix", "catalog", "images"},
    "testing": {"errors", "events", "matrix", "catalog", "scheduling", "training"},
    "forecast": {"events", "machine", "matrix", "catalog"},
    "scheduling": {
        "control_groups",
        "errors",
        "events",
        "machine",
        "machine_load",
        "matrix",
        "catalog",
        "results",
        "forecast",
    },
    "reporting": {"errors", "machine", "matrix", "catalog", "images", "results"},
    "cli": {
        "errors",
        "events",
        "machine",
        "machine_load",
        "matrix",
        "catalog",
        "results",
        "forecast",
        "scheduling",
        "reporting",
        "utilization",
    },
    "frames": {"errors", "matrix", "results", "reporting", "cli"},
}
# each folder may import these folders and modules of its own part; a module that stands directly in a part is held by
# the tests against circles alone
FOLDER_MAY_IMPORT = {
    "catalog.source_files": "",
    "matrix.recipes": "cell problems values",
    "matrix.reading": "plan problems recipes report_spec script_command selection settings values",
    "matrix.json_schema": "plan problems reading recipes settings values",
    "matrix.planning": "cell identity plan problems reading recipes script_command selection settings speed_key",
    "results.schema": "",
    "results.schema.migrations": "schema",
    "results.store": "schema",
    "results.artifacts": "schema store",
    "results.cluster": "schema store",
    "results.read": "records schema store",
    "results.write": "cluster records schema store",
    "results.care": "artifacts read schema store write",
    "results.export": "read schema store",
    "training.process": "",
    "training.steps": "networks process",
    "training.augmenting": "data steps",
    "training.data": "",
    "training.data.preparing": "data process",
    "training.networks": "losses process",
    "training.weights": "callbacks networks",
    "training.features": "augmenting data networks process steps",
    "training.artifacts": "data features",
    "training.scripts": "artifacts data evaluation losses process",
    "training.programs": "augmenting data data.preparing networks plugin_metrics process steps weights",
    "scheduling.processes": "run_options",
    "scheduling.decisions": "run_options",
    "scheduling.executors": "processes",
    "scheduling.programs": "decisions run_options processes",
    "scheduling.loop": "decisions run_options processes programs",
    "scheduling.cluster": "decisions executors loop processes run_options",
    "reporting.statistics": "",
    "reporting.rows": "statistics table",
    "reporting.predictions": "rows statistics table",
    "reporting.comparing": "notation predictions rows shared_notes statistics table",
    "reporting.tables": "comparing notation predictions rows statistics table",
    "reporting.html_page": "figures figures.drawing notation page_content predictions rows table",
    "reporting.writers": "notation page_content statistics table",
    "reporting.writers.latex": "table writers",
    "reporting.figures.drawing": "",
    "reporting.figures.groups": "figures.drawing notation rows statistics tables",
    "reporting.figures.images": "figures.drawing predictions",
    "reporting.figures": "comparing figures.drawing figures.groups figures.images predictions rows statistics table tables",
    "cli.terminal": "cell_names",
    "cli.progress": "cell_names terminal",
    "cli.runs": "cell_lookup cell_names options own_metrics progress terminal",
    "cli.reports": "cell_lookup completions own_metrics runs terminal",
    "cli.texts": "cell_lookup cell_names runs terminal",
    "cli.commands": "cell_lookup cell_names completions doctor_checks exporting options progress reports runs terminal texts verb_group",
}
# what still stands against the rules: module and module, without `benchmark.`; this list may only become shorter
NOT_YET: set[tuple[str, str]] = set()

HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "scipy", "pandas", "matplotlib", "numpy")
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(module: str) -> str:
    return module.split(".")[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}
PACKAGES = {name_of(path) for path in MODULES if path.name == "__init__.py"}


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All that a file consists of."""
    return list(ast.walk(ast.parse(path.read_text())))


@pytest.fixture(scope="module", autouse=True)
def parsed_for_these_tests_alone():
    """A million nodes, which the garbage collector would visit in all tests that follow."""
    yield
    nodes_of.cache_clear()


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere: inside functions and for type checkers alone too."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}:{node.lineno}: a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in whole}
    return found - {name_of(path)}


def folder_of(module: str) -> str:
    """The node of a module in the graph of folders: its folder, or itself when it stands directly in a part."""
    return module if module in PACKAGES or module.count(".") < 3 else module.rpartition(".")[0]


@functools.cache
def own_imports() -> dict[str, set[str]]:
    """Who imports whom inside the package, without what may not be so for much longer."""
    return {
        name_of(path): {
            name
            for name in imports_of(path) & NAMES - {"benchmark"}
            if (short(name_of(path)), short(name)) not in NOT_YET
        }
        for path in MODULES
    }


def short(module: str) -> str:
    return module.removeprefix("benchmark.")


def test_the_table_of_imports_has_no_circle():
    order = list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())
    assert order.index("matrix") < order.index("results") < order.index("cli")


def test_the_tables_name_every_part_and_every_folder():
    parts = {part(name) for name in NAMES - {"benchmark"}}
    assert parts - {"__main__"} == set(MAY_IMPORT)
    assert {short(name) for name in PACKAGES if name.count(".") > 1} == set(FOLDER_MAY_IMPORT)


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows_below(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the architecture page, without its head."""
    lines = ARCHITECTURE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return [[field.strip() for field in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]


def test_the_architecture_draws_the_same_table():
    drawn = {
        row[0].strip("`").removesuffix(".py").strip("/"): set(row[2].split(", ")) - {""}
        for row in rows_below("The parts")
    }
    assert drawn == {name: MAY_IMPORT[name] - FOUNDATIONS for name in MAY_IMPORT.keys() - FOUNDATIONS}


def test_the_architecture_names_every_folder():
    assert {row[0].strip("`/").replace("/", ".") for row in rows_below("The folders")} == set(FOLDER_MAY_IMPORT)


def test_what_is_allowed_for_now_is_still_there():
    there = {(short(name_of(path)), short(name)) for path in MODULES for name in imports_of(path)}
    assert there >= NOT_YET, "remove what is not imported any more from NOT_YET"


def test_imports_go_one_way():
    against = {
        module: wrong
        for module, imported in own_imports().items()
        if module not in {"benchmark", "benchmark.__main__"}
        if (wrong := set(map(part, imported)) - MAY_IMPORT[part(module)] - FOUNDATIONS - {part(module)})
    }
    assert against == {}


def test_no_part_may_import_what_it_does_not():
    used: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module, imported in own_imports().items():
        if module not in {"benchmark", "benchmark.__main__"}:
            used[part(module)] |= set(map(part, imported))
    assert {name: more for name in MAY_IMPORT if (more := MAY_IMPORT[name] - FOUNDATIONS - used[name])} == {}


@pytest.mark.parametrize("folder", FOLDER_MAY_IMPORT)
def test_a_folder_imports_what_its_row_names_and_nothing_else(folder):
    own, within = folder.split(".")[0], f"benchmark.{folder}"
    used = {
        folder_of(name).removeprefix(f"benchmark.{own}.")
        for module, imported in own_imports().items()
        if folder_of(module) == within
        for name in imported
        if part(name) == own and folder_of(name) != within
    }
    assert used == set(FOLDER_MAY_IMPORT[folder].split())


def test_no_module_and_no_folder_stands_in_a_circle_of_imports():
    modules = own_imports()
    folders: dict[str, set[str]] = {}
    for module, imported in modules.items():
        own = folder_of(module)
        folders.setdefault(own, set()).update({folder_of(name) for name in imported} - {own})
    for graph in (modules, folders):
        graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_verb_imports_a_verb():
    verbs = {name for name in NAMES if name.startswith("benchmark.cli.commands.")}
    assert not {verb: found for verb in verbs if (found := own_imports()[verb] & verbs)}


def test_no_name_of_a_module_stands_twice_but_for_a_verb_and_what_it_calls():
    # scripts of users import `benchmark.cell`
    named = [path for path in MODULES if path.parent.name != "commands" and path != PACKAGE / "cell.py"]
    stems = Counter(path.stem for path in named if path.stem != "__init__")
    assert [stem for stem, count in stems.items() if count > 1] == []


def test_no_name_of_a_class_stands_twice():
    nodes = [node for path in MODULES for node in nodes_of(path)]
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_only_the_registration_knows_of_what_stands_in_for_training():
    outside = [path for path in MODULES if part_or_root(path) != "testing"]
    assert [path for path in outside if "fake" in path.read_text()] == []
    assert [name_of(path) for path in outside if "benchmark.testing" in path.read_text()] == ["benchmark"]


def part_or_root(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("testing", ["0", "1"])
def test_the_backend_of_tests_is_known_only_while_bench_is_tested(testing):
    code = "from benchmark.catalog.backends import BACKENDS; import sys; print(*BACKENDS, 'benchmark.testing' in sys.modules)"
    environment = {**os.environ, "BENCH_TESTING": testing}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    known = ["tensorflow", "jax", "torch", "script", *(["fake"] if testing == "1" else [])]
    assert done.stdout.split() == [*known, str(testing == "1")]


def test_only_training_imports_keras_and_tensorflow():
    for path in MODULES:
        heavy = {name.split(".")[0] for name in imports_of(path)} & {"tensorflow", "keras", "tensorflow_datasets"}
        # the callbacks of `benchmark.cell` run in a script that uses Keras itself
        allowed = {"training"} | ({"cell_callbacks"} if heavy == {"keras"} else set())
        assert not heavy or part(name_of(path)) in allowed, f"{path} imports {heavy}"


@pytest.mark.parametrize(
    ("modules", "owner"),
    [
        ({"tomllib"}, {"matrix"}),
        ({"sqlite3", "sqlalchemy", "alembic", "psycopg"}, {"results"}),
        ({"psutil", "pynvml", "cpuinfo"}, {"machine", "utilization"}),
        ({"rich", "click"}, {"cli", "reporting"}),
        ({"ray", "submitit"}, {"scheduling"}),
        ({"multiprocessing", "concurrent"}, set()),
    ],
    ids=lambda value: "+".join(sorted(value)) or "nobody",
)
def test_each_door_has_one_key(modules, owner):
    for path in MODULES:
        used = {name.split(".")[0] for name in imports_of(path)} & modules
        assert not used or part(name_of(path)) in owner, f"{path} imports {used}"


# what others than scheduling start, each for one question, and wait for
ASKS_A_PROCESS = {
    "benchmark.git_repository": "git",
    "benchmark.results.care.sqlite_shell": "sqlite3, to recover a damaged file",
    "benchmark.training.data.preparing.decoding": "copies of itself, to decode images on several cores",
    "benchmark.training.scripts.script_process": "the command of a cell, in the group of its worker",
}


def test_only_scheduling_starts_processes():
    for path in MODULES:
        starts = "subprocess" in imports_of(path) or any(call in path.read_text() for call in ("os.fork(", "os.exec"))
        assert not starts or part(name_of(path)) == "scheduling" or name_of(path) in ASKS_A_PROCESS, path


def test_only_cli_prints():
    for path in MODULES:
        calls = [node for node in nodes_of(path) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or part(name_of(path)) == "cli", path


FORBIDDEN_CALLS = {"eval", "exec", "load_model", "model_from_json"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "yaml", "shelve", "marshal"}


def is_own_model(path: Path, call: ast.Call) -> bool:
    """The one place that loads a model: the file that the same process has just written, with safe_mode spelt out."""
    keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    own = name_of(path) == "benchmark.training.artifacts.model_files" and getattr(call.func, "attr", "") == "load_model"
    return own and keywords == {"compile": False, "safe_mode": True}


def dangers_in(path: Path) -> list[str]:
    """What a module does that makes code of data."""
    found = [f"imports {name}" for name in imports_of(path) if name.split(".")[0] in FORBIDDEN_IMPORTS]
    for call in nodes_of(path):
        if isinstance(call, ast.Call):
            function = call.func
            called = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            bare = isinstance(function, ast.Name) or called in {"load_model", "model_from_json"}
            if bare and called in FORBIDDEN_CALLS and not is_own_model(path, call):
                found.append(f"line {call.lineno} calls {called}")
            keywords = {keyword.arg for keyword in call.keywords if getattr(keyword.value, "value", None) is True}
            found += [f"line {call.lineno} sets {name}" for name in keywords & {"shell", "allow_pickle"}]
    return found


def test_data_never_becomes_code():
    assert {name_of(path): found for path in MODULES if (found := dangers_in(path))} == {}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_what_scripts_import_is_light():
    assert not loaded_after("import benchmark.cell") & {*HEAVY, "sqlalchemy", "click", "psutil"}
    # nor does the worker of a script need anything that trains networks
    worker = loaded_after("import benchmark.training.scripts.script_worker")
    assert not worker & {"tensorflow", "keras", "tensorflow_datasets", "sklearn", "scipy", "pandas", "matplotlib"}


def test_the_command_line_starts_light():
    loaded = loaded_after("import benchmark.cli.main")
    assert not loaded & {*HEAVY, "sqlalchemy", "alembic", "jinja2", "psutil"}


@pytest.mark.parametrize("package", ["matrix", "catalog", "results", "scheduling"])
def test_light_packages_import_no_heavy_library(package):
    modules = [name_of(path) for path in MODULES if name_of(path).startswith(f"benchmark.{package}")]
    modules = [name for name in modules if "migrations" not in name and not name.endswith("_process")]
    loaded = loaded_after("import " + ", ".join(modules))
    assert not loaded & set(HEAVY)
