"""Prints the tables of a report as wide as whoever reads them allows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmark.cli import streams
from benchmark.reporting.writers.formats import render

if TYPE_CHECKING:
    from benchmark.reporting.table import Report

FILE_COLUMNS = 110
"""Width of a table that goes to a file or another program."""


def print_report(report: Report, output_format: str) -> None:
    """Writes the report to stdout in one of `formats.FORMATS`."""
    console = streams.out()
    width = console.width if console.is_terminal else min(console.width, FILE_COLUMNS)
    color = console.is_terminal and not console.no_color
    text = render(report, output_format, width=width, color=color, encoding=sys.stdout.encoding or "ascii")
    sys.stdout.write(text)
