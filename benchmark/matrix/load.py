"""Reads a matrix file and plans its cells, or reports all mistakes in it at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.errors import MatrixError, Problem
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.planning.coordinates import count_coordinates
from benchmark.matrix.planning.planner import Planner
from benchmark.matrix.planning.resolution import Resolver
from benchmark.matrix.problems import Problems, nearest_hint
from benchmark.matrix.reading.definitions import LISTINGS, Library
from benchmark.matrix.reading.library import read_library
from benchmark.matrix.reading.line_numbers import LineScanner
from benchmark.matrix.reading.plugins import Plugins
from benchmark.matrix.reading.specification import Specification, SpecificationReader
from benchmark.matrix.reading.toml import parse_toml, read_text
from benchmark.matrix.report_spec import MetricFile, ReportSpec
from benchmark.matrix.selection import NAME_KEYS, Selection, is_glob, parse_selection
from benchmark.matrix.settings import json_value

CELL_LIMIT = 1_000_000
"""The most combinations that a matrix may have."""

_SHOWN_CHARACTERS = 1000


def load_matrix(
    path: str | Path,
    text: str | None = None,
    *,
    overrides: Sequence[str] = (),
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    machine_kind: MachineKind,
) -> Plan:
    """Reads a matrix file and plans it for a machine.

    Args:
        path: Path of the file; of a text, its name in messages and the base of its relative paths.
        text: The matrix; None to read the file.
        overrides: `key=value` of `--set`, for every cell and every stage.
        select: Expressions of `--select`; cells that match any of them are planned.
        exclude: Expressions of `--exclude`; cells that match any of them are not planned.
        machine_kind: What the machine has.

    Raises:
        NotFoundError: There is no such file.
        MatrixError: The matrix has mistakes, all of which are listed, or no cell is left.
        UserError: A selection is wrong.
    """
    path, text = str(path), read_text(path) if text is None else text
    selected, excluded = parse_selection(select), parse_selection(exclude)
    problems = Problems()
    specification, library, plugins = _read(path, text, problems, overrides)
    selected, excluded = selected.exact(library), excluded.exact(library)
    _check_names(selected, "--select", library, problems)
    _check_names(excluded, "--exclude", library, problems)
    if problems:
        raise MatrixError(path, problems.located(LineScanner(text).scan().lines))
    _check_count(specification, path)
    planner = Planner(specification, Resolver(library, specification, plugins, machine_kind), selected, excluded).walk()
    if not planner.asked:
        raise MatrixError(path, [_nothing_left(specification, select, exclude)])
    _check_folds(planner, specification, problems)
    for path_of_key, wrong in planner.contradictions:
        problems.add(path_of_key, wrong.expected, json_value(wrong.found), wrong.cure)
    if problems:
        raise MatrixError(path, problems.located(LineScanner(text).scan().lines))
    planner.refuse_impossible(path)
    return Plan(
        name=specification.name,
        path=path,
        text=text,
        cells=tuple(planner.cells.values()),
        left_out=tuple(planner.left_out),
        notes=(*plugins.notes, *specification.notes, *planner.notes()),
        axes=planner.axes(),
        report=_report_spec(specification, plugins),
        order=specification.order,
        auto={speed_key: tuple(ids) for speed_key, ids in planner.auto.items()},
        undecided=planner.undecided(),
    )


def load_report_spec(path: str | Path, text: str | None = None) -> ReportSpec:
    """Reads `[report]` of a matrix file alone: no cell is planned, so that no machine is needed for it.

    Args:
        path: Path of the file; of a text, its name in messages and the base of its relative paths.
        text: The matrix; None to read the file.

    Raises:
        NotFoundError: There is no such file.
        MatrixError: The matrix has mistakes.
    """
    path, text = str(path), read_text(path) if text is None else text
    problems = Problems()
    specification, _, plugins = _read(path, text, problems)
    if problems:
        raise MatrixError(path, problems.located(LineScanner(text).scan().lines))
    return _report_spec(specification, plugins)


def _read(
    path: str, text: str, problems: Problems, overrides: Sequence[str] = ()
) -> tuple[Specification, Library, Plugins]:
    document = parse_toml(text, path)
    library, plugins = read_library(document, Path(path).parent.absolute(), problems)
    return SpecificationReader(document, library, problems).read(overrides), library, plugins


def _report_spec(specification: Specification, plugins: Plugins) -> ReportSpec:
    """`[report]`, with the files of `[plugins] metrics`."""
    files = [each for each in plugins.files if each.kind == "metrics"]
    own = tuple(MetricFile(str(each.file), each.sha256, each.names) for each in files)
    return replace(specification.report, metric_files=own)


def _check_names(selection: Selection, option: str, library: Library, problems: Problems) -> None:
    """Notes names in a selection that do not exist: a typing mistake, not a request for nothing."""
    for key, texts in (term for terms in selection.alternatives for term in terms):
        if key in NAME_KEYS and not any(is_glob(text) or text in library[key] for text in texts):
            hint = nearest_hint(texts[-1], library[key], LISTINGS[key])
            problems.add((f"{option} {key}",), f"the name of a {key}", texts[-1], hint)


def _check_count(specification: Specification, path: str) -> None:
    count = count_coordinates(specification)
    if count <= CELL_LIMIT:
        return
    axes = sorted(specification.axes, key=lambda axis: len(axis.rows))
    sizes = " \N{MULTIPLICATION SIGN} ".join(f"{len(axis.rows):,} of {', '.join(axis.keys)}" for axis in axes)
    hint = f"the axes are {sizes}; " if len(sizes) < _SHOWN_CHARACTERS else ""
    others = math.prod(len(axis.rows) for axis in axes[:-1])
    if axes and 0 < others <= CELL_LIMIT:
        hint += f"with the others as they are, {', '.join(axes[-1].keys)} may have {CELL_LIMIT // others:,}; "
    hint += "use fewer values, zip axes that belong together, or write several matrices for one database"
    raise MatrixError(path, [Problem("matrix", f"at most {CELL_LIMIT:,} cells", f"{count:,}", hint=hint)])


def _check_folds(planner: Planner, specification: Specification, problems: Problems) -> None:
    """Notes `folds` without `fold`, a `fold` that is none of them, and an axis `fold` of which nothing has `folds`."""
    where = ("matrix", "fold")
    for folds, fold in planner.folds:
        if folds is not None and (fold is None or fold >= folds):
            hint = f"write fold = [0, …, {folds - 1}] in [matrix], or fold = 0 in [defaults] for one of them"
            expected = f"an integer from 0 to {folds - 1} beside folds = {folds}"
            problems.add(where, expected, "none" if fold is None else fold, hint)
    if planner.folds == {(None, None)} and any("fold" in axis.keys for axis in specification.axes):
        problems.add(where, "`folds` beside it", hint="write folds = 5 in [defaults], or leave `fold` out")


def _nothing_left(specification: Specification, select: Sequence[str], exclude: Sequence[str]) -> Problem:
    if select or exclude:
        asked = " ".join([*(f"--select {text}" for text in select), *(f"--exclude {text}" for text in exclude)])
        return Problem(
            "--select" if select else "--exclude", "at least one cell of the matrix", f"none by {asked[:200]!r}"
        )
    where = "matrix.exclude" if specification.excludes else "matrix"
    return Problem(where, "at least one cell", "none", hint="the rules of [[matrix.exclude]] drop all of them")
