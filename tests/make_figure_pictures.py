"""Makes the pictures of docs/figures.md from the reference results: `python -m tests.make_figure_pictures`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "figures"
SHOWN = {
    "heat": "heat",
    "effects": "effects",
    "comparison": "comparison-few_high_digits",
    "time": "time-digits",
    "phases": "phases",
    "forecast": "forecast",
}
"""Kinds of figures that the page shows, by the one of them that it shows."""


def main() -> None:
    """Draw all figures, and keep those that the page shows.

    Side effects: replaces the files in `docs/figures`.
    """
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["report", "--reference", "--table", "summary", "--table", "progression", "--table", "transfer"]
        subprocess.run(
            [sys.executable, "-m", "benchmark", *arguments, "--figures", folder, "--quiet"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        for kind, name in SHOWN.items():
            shutil.copyfile(Path(folder) / f"{name}.svg", PICTURES / f"{kind}.svg")


if __name__ == "__main__":
    main()
