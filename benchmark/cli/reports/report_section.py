"""`[report]` of a matrix, as comparing commands take it: of a file, or of the matrix of the last run."""

from __future__ import annotations

from benchmark.cli.terminal import verbosity
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_report_spec
from benchmark.matrix.report_spec import ReportSpec
from benchmark.results.read import queries
from benchmark.results.store.database import Database


def report_section(database: Database, matrix: str | None = None, machine: str | None = None) -> ReportSpec | None:
    """`[report]` of the file that was asked for, else of the matrix of the last run; None where that cannot be read."""
    if matrix is not None:
        return load_report_spec(matrix)
    stored = queries.latest_matrix_text(database, machine)
    if stored is None:
        return None
    path, text = stored
    try:
        return load_report_spec(path, text)
    except MatrixError:
        # it was valid for the version that ran it: the other tables can still be shown
        verbosity.inform(
            f"note: [report] of {path}, as it was in the last run, cannot be read here; try --matrix {path}"
        )
        return None
