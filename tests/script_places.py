"""Folders with commands as models: what tests of script cells share."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from cli_workplace import Workplace

SMALL = """
[defaults]
train_examples = 100
test_examples = 20
epochs = 3
"""


def place_with(folder: Path, models: str, names: list[str], matrix: str = "", **files: str) -> Workplace:
    """A folder with a space in its name, and in it scripts and a matrix with these models."""
    place = Workplace(folder / "a folder")
    place.directory.mkdir()
    for name, text in files.items():
        place.write(text, f"{name}.py")
    listed = ", ".join(f'"{name}"' for name in names)
    place.write(f'[matrix]\ndataset = "digits"\nmodel = [{listed}]\nstrategy = "scratch"\n{matrix}\n{SMALL}\n{models}')
    return place


def rows_of(place: Workplace, statement: str = "select * from results order by execution_id") -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"file:{place.directory}/results.sqlite?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


def model(name: str, *words: str, **keys: Any) -> str:
    lines = [
        f"[model.{name}]",
        f"command = {json.dumps(list(words))}",
        *(f"{k} = {json.dumps(v)}" for k, v in keys.items()),
    ]
    return "\n".join(lines) + "\n"
