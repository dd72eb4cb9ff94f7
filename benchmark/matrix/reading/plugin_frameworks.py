"""Tells from the text of a plug-in what its models are written in: nothing is executed or imported here.

What a function or class refers to decides, through everything else in its file that it refers to: Keras, Lightning, or
PyTorch and what builds on it. Where nothing of these is reached, the imports of the whole file decide.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping, Sequence

from benchmark.catalog.facts import KERAS, LIGHTNING, TORCH

_OF_KERAS = frozenset({"keras", "tensorflow", "tf_keras", "keras_hub", "keras_cv"})
_OF_LIGHTNING = frozenset({"lightning", "pytorch_lightning", "lightning_fabric"})
_ON_TORCH = frozenset({"timm", "transformers", "monai", "kornia", "fastai", "open_clip", "einops", "escnn"})
"""Packages without `torch` in their names whose modules are PyTorch's."""


def framework_of(content: bytes, name: str) -> str:
    """What the model `name` of a plug-in's source is written in: `keras`, `torch` or `lightning`; `keras` when unknown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return KERAS
    packages = _imported(ast.walk(tree))
    own = _framework(_packages_reached(tree.body, name, packages))
    return own or _framework(packages.values()) or KERAS


def _imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """The package that each imported name comes from."""
    packages: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            packages |= {
                (alias.asname or alias.name).partition(".")[0]: alias.name.partition(".")[0] for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages |= {alias.asname or alias.name: node.module.partition(".")[0] for alias in node.names}
    return packages


def _packages_reached(body: Sequence[ast.stmt], name: str, packages: Mapping[str, str]) -> set[str]:
    """The packages that a definition refers to, itself or through what it refers to in its file."""
    used: dict[str, set[str]] = {}
    for statement in body:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for bound in _bound_by(statement):
            used[bound] = used.get(bound, set()) | names
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += used.get(current, ())
    return {packages[each] for each in seen if each in packages}


def _bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    nodes = list(ast.walk(statement))
    assigned = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return assigned + [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _framework(packages: Iterable[str]) -> str | None:
    names = set(packages)
    if names & _OF_KERAS:
        return KERAS
    if names & _OF_LIGHTNING:
        return LIGHTNING
    return TORCH if names & _ON_TORCH or any("torch" in name for name in names) else None
