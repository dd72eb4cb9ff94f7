"""How far forecasts are off: those of recorded cells, without any record, and without a record of their kind.

    python perf/forecast.py [--db results.sqlite] [--machine reference]

Every line is a group of like cells: what they took, what `bench plan` would have said on a machine that has recorded
nothing, and on one that has recorded all the others but cells of the same kind.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perf_notes import append_result

from benchmark.forecast.estimate import Durations, Estimate
from benchmark.matrix.cell import Cell
from benchmark.results.read.durations import efforts
from benchmark.results.store.database import open_database

Row = Mapping[str, Any]


def forecasts(rows: Sequence[Row]) -> Iterator[tuple[Cell, Row, Estimate, Estimate]]:
    """Each group of like cells, and what was expected of it without and with the other kinds."""
    kind_of = Durations().kind_of
    cells = [Cell.from_dict(json.loads(row["spec"])) for row in rows]
    for cell, row in zip(cells, rows, strict=True):
        others = [past for other, past in zip(cells, rows, strict=True) if kind_of(other) != kind_of(cell)]
        yield cell, row, Durations().estimate(cell), Durations(efforts=others).estimate(cell)


def in_words(factors: Sequence[float]) -> str:
    """Factors that forecasts are off by, in either direction."""
    off = [max(factor, 1 / factor) for factor in factors]
    return f"median {statistics.median(off):.2f}, worst {max(off):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", default="results.sqlite")
    parser.add_argument("--machine", default="reference")
    options = parser.parse_args()
    with open_database(options.db, mode="read") as database:
        rows = efforts(database, options.machine)
    usual, others, memory = [], [], []
    print(f"{'took':>8} {'no record':>16} {'other kinds':>16} {'memory':>6}  cells")
    for cell, row, without, kind_left_out in forecasts(rows):
        took = row["total_seconds"]
        usual.append(without.seconds / took)
        others.append(kind_left_out.seconds / took)
        memory.append(kind_left_out.peak_rss_bytes / row["peak_rss_bytes"])
        said = " ".join(f"{one.seconds:8.2f} s {one.seconds / took:5.2f}x" for one in (without, kind_left_out))
        name = f"{row['executions']} {cell.dataset}/{cell.model}/{cell.strategy}, {cell.data.image_size} px"
        print(f"{took:6.2f} s {said} {memory[-1]:5.2f}x  {name}")
    text = (
        f"{sum(row['executions'] for row in rows)} cells of {options.machine} in {len(rows)} groups, off by a factor: "
        f"without any record {in_words(usual)}; other kinds recorded {in_words(others)}; memory {in_words(memory)}"
    )
    append_result("forecast", text, "python perf/forecast.py")


if __name__ == "__main__":
    main()
