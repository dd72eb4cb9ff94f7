"""The measuring scripts of `perf/` name what is there: they run by hand, so nothing else would notice that they broke."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "perf").glob("*.py"))


def imported_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of everything of the package that is imported, in programs that stand in texts too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "benchmark":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nfrom benchmark" in node.value:
            yield from imported_names(ast.parse(node.value))


def is_there(module: str, name: str) -> bool:
    place = ROOT.joinpath(*module.split("."))
    if (place / f"{name}.py").exists() or (place / name / "__init__.py").exists():
        return True
    file = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
    return file.exists() and name in top_level_names(ast.parse(file.read_text()))


def top_level_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_measuring_script_imports_what_the_package_has(script):
    missing = [
        f"{module}.{name}"
        for module, name in imported_names(ast.parse(script.read_text()))
        if not is_there(module, name)
    ]
    assert not missing


@pytest.mark.exhaustive
def test_the_script_for_gpus_goes_its_way_without_one(tmp_path):
    notes = tmp_path / "results.md"
    command = [sys.executable, "perf/gpu.py", "--device", "cpu", "--small", "--backends", "tensorflow"]
    around = {**os.environ, "PERF_RESULTS": str(notes)}
    done = subprocess.run(
        [*command, "--models", "simple_cnn"],
        cwd=ROOT,
        env=around,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    texts = notes.read_text().splitlines()
    assert sum("plain Keras" in text and "ratio" in text for text in texts) == 2
    assert any("**identical**" in text for text in texts)
    assert any("two at once" in text and "0 valid timings" in text for text in texts)


def test_the_script_for_gpus_says_that_it_sees_none(tmp_path):
    around = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "perf/gpu.py", "--backends", "jax"]
    done = subprocess.run(command, cwd=ROOT, env=around, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "no backend of jax sees a GPU here" in done.stderr
