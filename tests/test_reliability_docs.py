"""`docs/reliability.md` and the tests agree: every row of the fault matrix, once, with tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "reliability.md"
LAST_ROW = 119

ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def collected(name: str) -> set[str]:
    """The tests that pytest finds in a file: functions and methods whose name says so."""
    path = TESTS / f"{name}.py"
    if not name.startswith("test_") or not path.exists():
        return set()
    top = ast.parse(path.read_text()).body
    bodies = [top, *(node.body for node in top if isinstance(node, ast.ClassDef))]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_row_stands_exactly_once_and_in_order():
    assert [int(number) for number, *_ in ROWS] == list(range(1, LAST_ROW + 1))


@pytest.mark.parametrize(("number", "proof"), [(row[0], row[3]) for row in ROWS])
def test_every_named_test_exists(number, proof):
    named = re.findall(r"`(test_\w+)::(test_\w+)`", proof)
    missing = [f"{file}::{test}" for file, test in named if test not in collected(file)]
    assert not missing
    assert named or "not covered" in proof.lower()


def test_every_test_of_a_fault_is_named():
    named = set(re.findall(r"`test_\w+::(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    for path in sorted(TESTS.glob("test_faults_*.py")):
        assert collected(path.stem) <= named, path.name
