"""What is decided in one place is written in no other: the words of statuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.status import Cause, Status

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "benchmark"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of each text in a module, those within f-strings too, docstrings and attribute docs not."""
    tree = ast.parse(path.read_text())
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value


# `parent` is an origin of weights as well, and `timeout` an option
STATUS_WORDS = {*Status, *Cause} - {Cause.PARENT, Cause.TIMEOUT}
MAY_WRITE_STATUSES = {
    "status.py": "the one place",
    "results/schema/migrations/versions/0001_first_schema.py": "a frozen step: it must not change when the program does",
    "cli/error_exit.py": "the message that ends an interrupted command",
}


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) not in MAY_WRITE_STATUSES], ids=name_of)
def test_no_status_is_written_outside_its_module(path):
    quoted = re.compile("'({})'".format("|".join(sorted(STATUS_WORDS))))
    written = [(line, text) for line, text in literals(path) if text in STATUS_WORDS or quoted.search(text)]
    assert not written
