"""The records that callers exchange with the recorder and the queries: frozen dataclasses, one for each kind of row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """What `Recorder.start_attempt` returns of the attempt that it has inserted as running.

    Attributes:
        attempt_id: Its number, which also names its folder.
        execution_id: The execution that it continues or begins.
        number: Which attempt of that execution, from 1.
        earlier_attempt_ids: Earlier attempts of that execution, newest first: their folders may hold a state to resume.
    """

    attempt_id: int
    execution_id: int
    number: int
    earlier_attempt_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaleAttempt:
    """An attempt that a killed run left as `running`, and the process ids by which its processes are found."""

    attempt_id: int
    execution_id: int
    cell_id: str
    run_id: int
    boot_id: str | None
    guardian_pid: int | None
    worker_pid: int | None
    worker_start_ticks: int | None


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """The predictions of a completed cell for its test or validation images.

    Attributes:
        examples: Number of images.
        class_names: Names of the classes, in the order of the network's outputs.
        sha256: Digest of the content.
        content: The bytes of `predictions.npz`: `training/artifacts/prediction_file.py` writes them,
            `reporting/predictions/stored_predictions.py` reads them.
        split: `test`, `validation` or `lockbox`.
    """

    examples: int
    class_names: tuple[str, ...]
    sha256: str
    content: bytes
    split: str = "test"


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """A file that an attempt wrote; `path` is relative to the artifacts folder."""

    attempt_id: int
    kind: str
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CellState:
    """The newest execution of a cell on one machine.

    Attributes:
        attempts: How many attempts it has had.
        artifacts: What its newest attempt left.
        weights_sha256: Digest of the weights it started from; None when random, or when it never came so far.
        finished_utc: When it came to its end (ISO 8601, UTC); None while it can go on.
    """

    execution_id: int
    run_id: int
    status: str
    cause: str | None
    detail: str | None
    attempts: int
    epochs: int | None
    data_fingerprint: str | None
    total_seconds: float | None
    artifacts: tuple[ArtifactRow, ...] = ()
    weights_sha256: str | None = None
    finished_utc: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a database knows of cells before a run on one machine.

    Attributes:
        states: The newest execution of each cell on this machine, by cell id.
        cell_ids: Every cell that it holds, those of other machines and those that never began included.
        elsewhere: Names of the other machines that have completed a cell, by cell id.
        live_run: Number of the run that is at work at this moment; None when there is none.
    """

    states: Mapping[str, CellState] = field(default_factory=dict)
    cell_ids: Collection[str] = frozenset()
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live_run: int | None = None


@dataclass(frozen=True, slots=True)
class LookRow:
    """A verdict on two sides, at the results that there were: a row of the table `look`.

    Attributes:
        kind: `resolve`, `judge` or `lockbox`: what asked for it.
        a, b: The two sides, as they were named.
        executions: Those of A and those of B.
        n: Pairs, or executions of the smaller side.
        difference, low, high: B - A and its interval; None where there is none.
        alpha: Error probability that the look spent, 0..1.
        verdict: `better`, `worse`, `equivalent`, `not resolved` or `not comparable`.
        margin: What counts as equivalent; None where nobody named one.
        details: More about it, as JSON can hold it.
        campaign: Whose error budget it spent; None without one.
        run_id: The run that looked; None outside of one.
        machine: The computer that the results belong to.
        look_id, looked_utc: Its number, and when it was (ISO 8601, UTC); None before it is recorded.
    """

    kind: str
    a: str
    b: str
    executions: tuple[tuple[int, ...], tuple[int, ...]]
    n: int
    difference: float | None
    low: float | None
    high: float | None
    alpha: float
    verdict: str
    margin: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    campaign: str | None = None
    run_id: int | None = None
    machine: str | None = None
    look_id: int | None = None
    looked_utc: str | None = None
