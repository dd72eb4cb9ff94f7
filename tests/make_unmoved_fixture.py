"""Makes the golden files of `test_unmoved.py` anew, after a change that is meant: `python -m tests.make_unmoved_fixture`.

They say which cells matrices come to and what commands answer. Moving files changes none of it; whoever runs this says
in the commit which of them changed and why. The database beside them is never made again: it is what users have.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def make(folder: Path) -> dict[str, str]:
    """The golden files by name."""
    from unmoved import dump, ends, furnish, named_plans, outputs, random_plans, rehearsed, views

    place = furnish(folder)
    plans = {**named_plans(place), **random_plans(place)}
    files = {
        "cells.json": dump(plans, ["text", "code", "cells", "left_out"]),
        "plans.json": dump(plans, ["plan"]),
        "views.json": dump(views(place / "results.sqlite")),
        "rehearsal.csv": rehearsed(place),
        **{f"outputs/{name}": text for name, text in outputs(place).items()},
    }
    # last: they write beside the database
    return {**files, "ends.json": dump(ends(place))}


def _changed(before: str, after: str) -> str:
    """How many records of a golden file are others than before, in words."""
    old: dict[str, Any] = json.loads(before)
    new: dict[str, Any] = json.loads(after)
    return f"{sum(old.get(key) != new.get(key) for key in old | new)} of {len(new)} records"


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from unmoved import GOLDEN

    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder))
    for name, text in files.items():
        path = GOLDEN / name
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before != text:
            compared = before is not None and name in {"cells.json", "plans.json", "views.json", "ends.json"}
            print(f"{name}: {_changed(before, text) if compared else 'new' if before is None else 'changed'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in (GOLDEN / "outputs").iterdir():
        if f"outputs/{path.name}" not in files:
            print(f"outputs/{path.name}: gone")
            path.unlink()


if __name__ == "__main__":
    main()
