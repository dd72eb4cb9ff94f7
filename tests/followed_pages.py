"""Follows a page as its reader would: files are saved under the names in their first lines, commands are typed in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FOLLOWED = (DOCS / "index.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md")))
"""Pages that can be followed from top to bottom, each in an empty folder."""

BLOCK = re.compile(
    r"(?P<sketched><!-- no run -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
SHELLS = {"bash", "sh", "shell", "console"}
NAME = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Step:
    """A command to type, or a file to save when `name` is there; `sketched` ones are for other computers than this."""

    code: str
    name: str | None
    sketched: bool


def steps(page: Path) -> Iterator[Step]:
    """What a page tells to do, in order; files that are only shown in part are left out."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        named = NAME.match(block["code"])
        if block["language"] in SHELLS:
            yield Step(block["code"], None, sketched=bool(block["sketched"]))
        elif named:
            yield Step(block["code"], named["name"], sketched=bool(block["sketched"]))


def save(step: Step, folder: Path) -> None:
    """Save the file of a step."""
    assert step.name
    path = folder / step.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(step.code, encoding="utf-8")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """That of a reader with bench on the path, and without a configuration of bench."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "CLICOLOR"))}
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BENCH_CACHE": str(folder / ".cache"),
        "LANG": "C.UTF-8",
    }
    return {**kept, **own, **variables}


def follow(page: Path, folder: Path, **variables: str) -> None:
    """Do what a page says, in a folder; the first command that fails ends it."""
    for step in steps(page):
        if step.name:
            save(step, folder)
        elif not step.sketched:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", step.code],
                cwd=folder,
                env=environment(folder, **variables),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{page.name}: {step.code}{done.stdout}{done.stderr}"
