"""`bench`: the command line as a whole."""

from __future__ import annotations

import click

from benchmark import __version__
from benchmark.cli.options import COMMON_OPTIONS, CONTEXT
from benchmark.cli.verb_group import VerbGroup

PLANNING = {
    "init": "Write a commented matrix.toml to start from.",
    "plan": "Show what `bench run` would do, and how long it would take.",
    "prepare": "Download and prepare the datasets that a matrix needs.",
    "run": "Run the matrix: finished cells are skipped, interrupted ones continue.",
    "status": "Show the progress of the current or last run.",
    "schema": "Print the JSON Schema of matrix.toml, for editors.",
}
LOOKING = {
    "list": "List cells, runs, datasets, models, strategies or presets.",
    "show": "Show everything about one cell.",
    "why": "Explain why a cell ran again, or would.",
    "predict": "Predict the classes of images with trained cells.",
    "explain": "Show which parts of an image a prediction is based on.",
    "query": "Run one read-only SQL statement on the database.",
}
COMPARING = {
    "report": "Print comparison tables of the recorded results.",
    "compare": "Compare two selections of results, paired.",
    "diff": "Show the images that one selection fixed and the other broke.",
    "judge": "Judge one idea of a search within the search's error budget.",
    "reproduce": "Run a cell again and check whether the result is the same.",
    "forget": "Leave results out of reports from now on; nothing is deleted.",
}
LOOKING_AFTER = {
    "doctor": "Check whether this machine is ready: devices, versions, caches, data.",
    "db": "Maintain the database: check, upgrade, back up, salvage, merge, export.",
    "gc": "Show or delete files that are no longer needed.",
    "completion": "Print the script for shell completion.",
    "help": "Show the help of a command.",
}
SECTIONS = {
    "Plan and run": PLANNING,
    "Look at results": LOOKING,
    "Compare": COMPARING,
    "Maintain the machine and the database": LOOKING_AFTER,
}
"""The verbs, each with its summary, below the headings of `bench --help`. The verb itself is `command` in
`commands/VERB.py`, imported when it is called."""

VERBS = {name: summary for verbs in SECTIONS.values() for name, summary in verbs.items()}

EPILOG = """\b
Start with two commands:
  bench init
  bench run

Exit codes: 0 all good, 1 a defect of bench, 2 usage or matrix, 3 cells failed,
4 database or disk, 75 another run holds the database, 130/143 interrupted."""


@click.group(cls=VerbGroup, sections=SECTIONS, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="bench")
def bench() -> None:
    """Benchmark matrices of image classifiers: one file in, honest comparison tables out."""


bench.params += COMMON_OPTIONS
