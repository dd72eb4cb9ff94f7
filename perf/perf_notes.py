"""Where measurements are written: one dated line with hardware and versions in perf/results.md, and on the terminal."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from benchmark import machine

RESULTS = Path(os.environ.get("PERF_RESULTS", Path(__file__).resolve().parent / "results.md"))
"""Elsewhere for a try on a machine that has other things to do."""

PACKAGES = ("tensorflow", "jax", "torch", "keras", "numpy")


def append_result(name: str, text: str, command: str) -> None:
    facts = machine.facts()
    versions = ", ".join(f"{package} {version}" for package, version in machine.package_versions(PACKAGES).items())
    where = f"{facts.cpu_model}, {facts.cpu_cores} cores, Python {facts.python_version}, {versions}"
    day = dt.datetime.now(dt.UTC).date().isoformat()
    line = f"- {day} · **{name}** · {text} · `{command}` · {where}\n"
    if not RESULTS.exists():
        RESULTS.write_text("# Measurements\n\nOne line for each run of a script in this folder, oldest first.\n\n")
    with RESULTS.open("a") as file:
        file.write(line)
    print(line, end="")
