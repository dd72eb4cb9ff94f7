"""Fault points: named places where a test lets this program break, to prove that nothing is lost. Inert otherwise.

What happens at them is in `testing/fault_actions.py`, which registers itself while `BENCH_TESTING=1`.

Points of a worker: start, build, stage, batch, ckpt.write (three times for each state file: empty, half, whole),
ckpt.done, epoch.sent, artifact, evaluate, complete, leave, features (after each piece that is kept). Of the scheduler:
expand, launch, commit, report. Of the template: template.preload, template.fork. Of the database: migrate.step,
db.open, db.commit. Of whoever looks at a user's images: look. Of any process: write (a file is written aside, and not
there yet), delete (before each thing that `bench gc` deletes), verify (before a file of artifacts is read through).
"""

from __future__ import annotations

from collections.abc import Callable

_act: Callable[[str, str], None] | None = None
_cell_id = ""


def register(act: Callable[[str, str], None]) -> None:
    """Has `act(point, cell_id)` called at every point that this process reaches."""
    global _act  # noqa: PLW0603  what breaks a process is decided once for it
    _act = act


def in_cell(cell_id: str) -> None:
    """Says which cell this process works at, for faults that are meant for one cell."""
    global _cell_id  # noqa: PLW0603  one process works at one cell
    _cell_id = cell_id


def point(name: str) -> None:
    """Breaks here if a test asked for it; see `testing/fault_actions.py` for what may be raised."""
    if _act is not None:
        _act(name, _cell_id)
