"""The recipes of `CONTRIBUTING.md`, followed in a copy of the package."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cli_workplace import typed
from harness import Run

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```(?:python|toml)\n# (?P<path>[\w/.]+)(?:, (?P<place>[^\n]+))?\n(?P<lines>.+?\n)```", re.DOTALL)


def copy_of_package(root: Path) -> Path:
    """A copy of the package that is imported from `root`."""
    shutil.copytree(ROOT / "benchmark", root / "benchmark", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def answers(run: Run, root: Path, *commands: Sequence[str], **variables: str) -> list[str]:
    """What the package that is imported from `root` says to commands, one after the other, all of which end well."""
    said = typed(run.folder, run.environment(PYTHONPATH=str(root), **variables), *commands)
    assert {answer.exit_code for answer in said} == {0}, said
    return [answer.stdout for answer in said]


def follow(heading: str, root: Path) -> None:
    """Does in a copy of the package what the blocks of a recipe say."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = list(BLOCK.finditer(section))
    assert blocks, heading
    for block in blocks:
        path = root / block["path"]
        path.write_text(added(path.read_text() if path.exists() else "", block["place"], block["lines"]))


def added(source: str, place: str | None, lines: str) -> str:
    """The source with more lines.

    Args:
        source: Of a module; empty for a new one.
        place: None for the end; `class NAME` for the end of a dataclass's fields; `before NAME`; or `NAME`, which stands
            for the end of the table, tuple or positional arguments that it is bound to, or for all of it where the lines bind it anew.
        lines: To add.
    """
    if place is None:
        return source + lines
    tree, rows, name = ast.parse(source), source.splitlines(keepends=True), place.split()[-1]
    if place.startswith("class "):
        (node,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        begin = end = max(field.end_lineno for field in node.body if isinstance(field, ast.AnnAssign))
    else:
        (node,) = (node for node in tree.body if name in {getattr(target, "id", "") for target in _targets(node)})
        keywords = getattr(node.value, "keywords", ())
        last = min([node.end_lineno, *(keyword.lineno for keyword in keywords)])
        begin = end = (node.lineno if place.startswith("before ") else last) - 1
        if lines.startswith(f"{name} = "):
            begin, end = node.lineno - 1, node.end_lineno
    return "".join([*rows[:begin], lines, *rows[end:]])


def _targets(node: ast.stmt) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
