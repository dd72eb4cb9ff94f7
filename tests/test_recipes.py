"""The recipes of `CONTRIBUTING.md`: whoever follows one word for word has what it promises, with so many files touched."""

from __future__ import annotations

import filecmp
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Run
from recipes import ROOT, answers, copy_of_package, follow


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Follows a recipe and gives what types commands to the copy, in a folder with the committed results."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(ROOT / "results.sqlite", folder)
    run = Run(folder, (ROOT / "matrix.toml").read_text())

    def following(heading: str, files: int):
        root = copy_of_package(tmp_path_factory.mktemp("copy"))
        follow(heading, root)
        assert len(touched(root)) == files
        return lambda *commands: answers(run, root, *map(shlex.split, commands), BENCH_MACHINE="reference")

    yield following
    run.kill_everything()


def touched(root: Path) -> list[Path]:
    """The files of a copy that the package does not have so."""
    ours = [path.relative_to(root) for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in ours if not (ROOT / path).exists() or not filecmp.cmp(root / path, ROOT / path, False)]


def test_a_new_model_is_one_definition(bench):
    following = bench("Add a model", files=1)
    listed, planned = following("list models --format json", "plan --set image_size=32 --format json")
    models = {row["name"]: row for row in json.loads(listed)}
    assert models["mobilenet"]["backbone_layers"] == 85
    assert json.loads(planned)["cells"]


def test_a_new_metric_is_a_row_and_shows_in_the_summary(bench):
    (report,) = bench("Add a metric", files=1)("report --table summary --format json")
    (summary,) = json.loads(report)["tables"]
    assert "evaluate_seconds" in {column["key"] for column in summary["columns"]}
    assert all(row["evaluate_seconds"]["mean"] > 0 for row in summary["rows"] if row["evaluate_seconds"])


def test_a_new_table_is_a_module_and_a_row(bench):
    asked, usual = bench("Add a table of a report", files=2)("report --table lowest --format json", "report")
    (table,) = json.loads(asked)["tables"]
    assert table["title"] == "Lowest test accuracy"
    assert all(0 < row["lowest"] < 1 for row in table["rows"])
    assert "Lowest test accuracy" not in usual


def test_a_new_output_format_is_a_module_and_a_row(bench, tmp_path):
    report, _, compared = bench("Add an output format", files=2)(
        "report --format jira",
        f"report --output {tmp_path / 'report.jira'}",
        "compare strategy=scratch strategy=v2 --format jira",
    )
    lines = report.splitlines()
    assert lines[0] == "h2. Summary"
    assert lines[2].startswith(r"|digits|")
    assert r"simple\_cnn" in lines[2]
    assert (tmp_path / "report.jira").read_text().splitlines()[0] == "h2. Summary"
    assert compared


def test_a_new_verb_is_a_module_and_its_summary(bench):
    verbs, page, listed = bench("Add a verb", files=2)("--help", "machines --help", "machines --format json")
    assert "  machines    List the machines" in verbs
    assert "Examples:\n    bench machines --format json" in page
    assert json.loads(listed)[0]["machine"] == "reference"


def test_a_new_column_is_its_description_and_a_migration(bench):
    following = bench("Add a migration", files=2)
    _, asked, report = following("db upgrade", "query 'select note from run' --format json", "report")
    assert json.loads(asked)[0] == {"note": None}
    assert "digits" in report


@pytest.mark.parametrize(
    "heading", ["Add a metric", "Add a table of a report", "Add an output format", "Add a verb", "Add a migration"]
)
def test_recipes_pass_the_linter(heading, tmp_path):
    root = copy_of_package(tmp_path)
    follow(heading, root)
    shutil.copy(ROOT / "pyproject.toml", root)
    files = [str(path) for path in touched(root) if path.suffix == ".py"]
    for command in (["check", "--force-exclude"], ["format", "--check", "--force-exclude"]):
        done = subprocess.run(
            [Path(sys.executable).parent / "ruff", *command, *files],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
