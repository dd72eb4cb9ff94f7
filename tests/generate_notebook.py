"""Makes `docs/notebook.ipynb` of `docs/notebook.py`, so that Jupyter opens it as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "notebook.py"
_MARKER = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
_FOR_LINTERS = re.compile(r"  # noqa: \w+$", re.MULTILINE)


def notebook_text() -> str:
    """The text of the file: the cells between the markers of the script, without output."""
    document = {
        "cells": list(_cells(SCRIPT.read_text(encoding="utf-8"))),
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cells(script: str) -> Iterator[dict[str, Any]]:
    _, *parts = _MARKER.split(script)
    for number, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        cell_id = f"cell-{number}"
        if kind:
            lines = [line.removeprefix("#").removeprefix(" ") for line in text.strip().splitlines()]
            yield {
                "cell_type": "markdown",
                "id": cell_id,
                "metadata": {},
                "source": "\n".join(lines).splitlines(keepends=True),
            }
        else:
            source = _FOR_LINTERS.sub("", text.strip()).splitlines(keepends=True)
            empty = {"execution_count": None, "outputs": []}
            yield {"cell_type": "code", "id": cell_id, "metadata": {}, "source": source, **empty}
