"""Which cells have their result already, and which go on or begin again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Protocol

from benchmark.files import sha256_of
from benchmark.scheduling.options import RunOptions
from benchmark.scheduling.programs.preparation import fingerprint
from benchmark.status import UNFINISHED, Status


class Stored(Protocol):
    """A file that belongs to a finished cell; `path` is relative to the artifacts' root."""

    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


class Before(Protocol):
    """The latest execution of a cell on this machine."""

    @property
    def status(self) -> str: ...
    @property
    def data_fingerprint(self) -> str | None: ...
    @property
    def weights_sha256(self) -> str | None: ...
    @property
    def artifacts(self) -> Iterable[Stored]: ...


class Decision(Enum):
    """What happens to a cell in this run."""

    RUN = "run"
    """It runs, and goes on with an unfinished execution if there is one."""
    AGAIN = "again"
    """It runs as a new execution."""
    REUSE = "reuse"
    """Its result is taken."""
    LEAVE = "leave"
    """It failed earlier and is not retried."""


def decide(before: Before | None, options: RunOptions, problem: Callable[[Before], str | None]) -> Decision:
    """What to do with a cell.

    Args:
        before: Its latest execution here; None for none.
        options: What the user asked for.
        problem: Why a finished result cannot be taken; asked only when that matters.
    """
    if before is None or before.status in UNFINISHED | {Status.BLOCKED, Status.SKIPPED}:
        return Decision.RUN
    if options.rerun:
        return Decision.AGAIN
    if before.status == Status.FAILED:
        return Decision.RUN if options.retry_failed else Decision.LEAVE
    return Decision.REUSE if problem(before) is None else Decision.AGAIN


def problem_of(before: Before, root: Path, prepared: Path | None) -> str | None:
    """Why a finished result is not taken: its data have changed, or a file of it is missing or damaged.

    Args:
        before: The finished execution.
        root: Folder of all artifacts.
        prepared: The prepared dataset as it is now; where there is none, there is nothing to compare.
    """
    now = None if prepared is None else fingerprint(prepared)
    if now is not None and before.data_fingerprint is not None and now != before.data_fingerprint:
        return "its data have changed"
    for artifact in before.artifacts:
        if not (root / artifact.path).resolve().is_relative_to(root.resolve()):
            return f"{artifact.path} leads out of the artifacts folder"
        if (reason := _damage(root / artifact.path, artifact)) is not None:
            return f"{artifact.path} {reason}"
    return None


def _damage(path: Path, artifact: Stored) -> str | None:
    try:
        if path.stat().st_size != artifact.size_bytes:
            return "has another size than recorded"
        return None if sha256_of(path) == artifact.sha256 else "has another digest than recorded"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def kept_weights(artifacts: Iterable[Stored], root: Path) -> tuple[Path, str] | None:
    """Path and digest of the weights that a finished cell kept; None when it kept none."""
    found = [artifact for artifact in artifacts if artifact.kind == "weights"]
    return (root / found[-1].path, found[-1].sha256) if found else None
