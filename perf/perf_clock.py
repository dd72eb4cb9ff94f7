"""Wall and CPU seconds and memory of programs, taken in turn: A B A B, so that a slow moment of the machine hits both."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Spent:
    """What one run of something took.

    Attributes:
        cpu: Of it and of all its children that it waited for.
        memory: The most main memory in bytes that it, or one of those children, held.
    """

    wall: float
    cpu: float
    memory: int = 0


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, **options) -> Spent:
    """Runs a program to its end; its output goes to `folder`/output.txt. Fails when it fails."""
    with (folder / "output.txt").open("ab") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=options.get("stdout", output),
            stderr=output,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = (folder / "output.txt").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{tail}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def of_attempts(database: Path) -> float:
    """CPU seconds of all workers of a database: their parents are templates, whose children nobody's clock counts."""
    with sqlite3.connect(database) as connection:
        ((seconds,),) = connection.execute("select sum(user_seconds + system_seconds) from attempt")
    return seconds or 0.0


def interleaved(sides: Mapping[str, Callable[[int], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Each side in turn, `rounds` times; each is given the number of the round."""
    found: dict[str, list[Spent]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            spent = side(number)
            found[name].append(spent)
            print(f"  round {number + 1} {name}: {spent.wall:.2f} s wall, {spent.cpu:.2f} s CPU", flush=True)
    return found


def middle(spent: Sequence[Spent]) -> Spent:
    """The median of each quantity."""
    return Spent(
        statistics.median(one.wall for one in spent),
        statistics.median(one.cpu for one in spent),
        max(one.memory for one in spent),
    )


def ratio(ours: Sequence[Spent], theirs: Sequence[Spent]) -> float:
    """The median over the rounds of our wall time by theirs: each pair was taken side by side."""
    return statistics.median(one.wall / other.wall for one, other in zip(ours, theirs, strict=True))


def told(name: str, spent: Sequence[Spent]) -> str:
    one = middle(spent)
    return f"{name} {one.wall:.2f} s wall, {one.cpu:.2f} s CPU"
