"""What is decided in one place is written in no other: the words of statuses, how files appear, digests, safe text, units, paths."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

import pytest

from benchmark.status import Cause, Status

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "benchmark"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.fixture(scope="module", autouse=True)
def parsed_for_these_tests_alone():
    """A million nodes, which the garbage collector would visit in all tests that follow."""
    yield
    parsed.cache_clear()


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of each text in a module, those within f-strings too, docstrings and attribute docs not."""
    tree = parsed(path)
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value


def offenders(lines_of: Callable[[Path], Iterable[int]], excused: Container[str]) -> dict[str, list[int]]:
    """By module, those lines in which it does what only those that are excused may do."""
    found = {name: list(lines_of(PACKAGE / name)) for name in map(name_of, MODULES) if name not in excused}
    return {name: lines for name, lines in found.items() if lines}


def calls_in(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))


def lines_with(path: Path, word: str) -> list[int]:
    return [number for number, line in enumerate(path.read_text().splitlines(), 1) if word in line]


# `parent` is an origin of weights as well, and `timeout` an option
STATUS_WORDS = {*Status, *Cause} - {Cause.PARENT, Cause.TIMEOUT}
MAY_WRITE_STATUSES = {
    "status.py": "the one place",
    "results/schema/migrations/versions/0001_first_schema.py": "a frozen step: it must not change when the program does",
    "results/schema/migrations/versions/0002_predictions_and_looks.py": "the same",
    "cli/terminal/error_exit.py": "the message that ends an interrupted command",
}


def test_no_status_is_written_outside_its_module():
    quoted = re.compile("'({})'".format("|".join(sorted(STATUS_WORDS))))

    def written(path: Path) -> list[int]:
        return [line for line, text in literals(path) if text in STATUS_WORDS or quoted.search(text)]

    assert offenders(written, MAY_WRITE_STATUSES) == {}


MAY_PUBLISH = {
    "training/data/preparing/streamed_parts.py": "arrays of unknown length, in a folder that appears whole",
    "files.py": "the one place",
    "training/scripts/script_epochs.py": "a folder of states moves from one attempt into the next",
    "scheduling/processes/guardian.py": "imports nothing of the package; a log that is full takes another name",
    "training/data/preparing/tfds.py": "moves an array inside a folder that is still aside",
}
MAY_HASH = {
    "files.py": "the one place",
    "catalog/source_files/image_folders.py": "over the names of 100,000 images, one after the other",
    "testing/fault_actions.py": "to be busy outside of Python, not for the digest",
    "training/data/fingerprint.py": "over arrays that may not fit into memory, one after the other",
    "training/weights/imagenet.py": "MD5, which is what Keras publishes, and while the file is fetched",
}


def publishes(call: ast.Call) -> bool:
    """Whether a call syncs, renames or makes a temporary file; `str.replace` takes two texts, `Path.replace` one path."""
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    of_os = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "os"
    if name == "replace":
        return of_os or (isinstance(function, ast.Attribute) and len(call.args) == 1 and not call.keywords)
    return name in {"fsync", "fdatasync", "mkstemp", "NamedTemporaryFile", "rename"} or (of_os and name == "link")


def test_files_appear_whole_by_one_writer():
    assert offenders(lambda path: [call.lineno for call in calls_in(path) if publishes(call)], MAY_PUBLISH) == {}


def test_digests_are_taken_by_one_function():
    assert offenders(lambda path: lines_with(path, "hashlib"), MAY_HASH) == {}


MAY_JUDGE_CHARACTERS = {
    "text.py": "the one place",
    "matrix/values.py": "refuses a value that holds them",
    "matrix/reading/plugins.py": "refuses a value that holds them",
    "matrix/reading/weight_origins.py": "refuses a value that holds them",
    "cli/progress/live_region.py": "moves the cursor",
}


def test_text_is_made_safe_in_one_place():
    steering = re.compile(r"[\x1b\x7f\u200b\u202e]|\\x(00-|1b|7f)|\\u20(0b|2e)")

    def judged(path: Path) -> list[int]:
        return [line for line, text in literals(path) if steering.search(text)] + lines_with(path, "isprintable(")

    assert offenders(judged, MAY_JUDGE_CHARACTERS) == {}


MAY_COUNT = {
    "units.py": "the one place",
    "errors.py": "imports nothing of the package",
    "reporting/figures/groups/curves.py": "`s` is the name of a square for matplotlib",
    "reporting/rows/missing_results.py": "a noun before the numbers that it counts",
}


def is_plural(node: ast.AST) -> bool:
    """Whether something is `"s" if … else ""`, or the reverse."""
    return isinstance(node, ast.IfExp) and {getattr(end, "value", None) for end in (node.body, node.orelse)} == {
        "s",
        "",
    }


def test_sizes_durations_and_plurals_are_written_in_one_place():
    def counted(path: Path) -> list[int]:
        units = [line for line, text in literals(path) if text in {"KiB", "02d", " min"}]
        return units + [node.lineno for node in ast.walk(parsed(path)) if is_plural(node)]

    assert offenders(counted, MAY_COUNT) == {}


MAY_NAME_FILES = {
    "matrix/reading/user_files.py": "what `datasets` writes",
    "training/data/preparing/row_sources.py": "what `datasets` writes, and endings of members of shards",
    "layout.py": "the one place",
    "catalog/source_files/npz_headers.py": "members of archives that users bring",
    "catalog/keras_applications.py": "names that Keras publishes and keeps its files by",
    "catalog/bundled_files.py": "the definitions inside the package",
    "catalog/tfds_builds.py": "the record that TensorFlow Datasets leaves",
    "cli/doctor_checks.py": "the folders of Keras and TensorFlow Datasets",
    "reporting/writers/formats.py": "endings by which users choose a format",
    "results/store/database.py": "a rescue of a database that was deleted, named for the moment",
    "scheduling/programs/inference.py": "question and answer in a temporary folder",
    "scheduling/programs/preparation.py": "logs in a temporary folder",
    "training/artifacts/checkpoints.py": "members of the archive",
    "training/weights/hdf5.py": "a member of archives that Keras writes",
}


def test_files_are_named_in_one_place():
    file_name = re.compile(r"[\w.*/-]*\.(json|npz|npy|txt|keras|h5|sqlite3?|db|lock|artifacts|toml)")

    def named(path: Path) -> list[int]:
        return [line for line, text in literals(path) if file_name.fullmatch(text)]

    assert offenders(named, MAY_NAME_FILES) == {}


def made_by_call(kind: str) -> list[str]:
    """The modules that build an object of a class."""
    return [
        *offenders(lambda path: [call.lineno for call in calls_in(path) if getattr(call.func, "id", "") == kind], ())
    ]


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("Job", ["scheduling/processes/worker_order.py"]),
        ("RunOptions", ["cli/runs/start_run.py", "scheduling/cluster/agent.py"]),
    ],
    ids=[
        "what a worker is given, trials as well as cells",
        "what a run is asked to do, and what a node was told of it",
    ],
)
def test_one_module_makes(kind, places):
    assert made_by_call(kind) == places


IMPORTED_AS = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "nvidia-ml-py": "pynvml",
    "tensorflow-datasets": "tensorflow_datasets",
}
FOR_OTHERS = {
    "importlib_resources": "tensorflow-datasets imports it without declaring it",
    "pandas": "reads results.sqlite, as the README says",
}


def test_every_dependency_is_imported_somewhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=\[; ]", line)[0] for line in project["dependencies"]} - set(FOR_OTHERS)
    source = "\n".join(path.read_text() for path in MODULES)
    unused = {
        name
        for name in needed
        if not re.search(rf"^\s*(import|from) {re.escape(IMPORTED_AS.get(name, name))}\b", source, re.MULTILINE)
    }
    assert not unused


@pytest.mark.parametrize(
    "table",
    [MAY_WRITE_STATUSES, MAY_PUBLISH, MAY_HASH, MAY_JUDGE_CHARACTERS, MAY_COUNT, MAY_NAME_FILES],
    ids=["status", "files", "digests", "text", "units", "paths"],
)
def test_exceptions_are_of_modules_that_exist(table):
    assert not set(table) - set(map(name_of, MODULES))
