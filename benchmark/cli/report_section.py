"""`[report]` of a matrix, as comparing commands take it: of a file, or of the matrix of the last run."""

from __future__ import annotations

from benchmark.cli import verbosity
from benchmark.cli.options import MatrixRequest, machine_kind
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.report_spec import ReportSpec
from benchmark.results.read import queries
from benchmark.results.store.database import Database


def report_section(database: Database, matrix: str | None = None, machine: str | None = None) -> ReportSpec | None:
    """`[report]` of the file that was asked for, else of the matrix of the last run; None where neither can be read."""
    if matrix is not None:
        return MatrixRequest(matrix, (), (), ()).load().report
    stored = queries.latest_matrix_text(database, machine)
    if stored is None:
        return None
    path, text = stored
    try:
        return load_matrix(path, text, machine_kind=machine_kind()).report
    except MatrixError:
        # it was valid for the version that ran it, or for a machine with a GPU: the other tables can still be shown
        verbosity.inform(
            f"note: [report] of {path}, as it was in the last run, cannot be read here; try --matrix {path}"
        )
        return None
