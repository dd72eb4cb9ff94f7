"""Will this cell run? Decided here alone, with the reason; `bench plan`, `why`, `run` and its `--dry-run` render it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.catalog.backends import trains
from benchmark.catalog.cache import fingerprint, user_files
from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell
from benchmark.results.artifacts.artifact_store import ArtifactStore, StoredFile
from benchmark.results.records import ArtifactRow, CellState, Recorded
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import FINAL, Cause, Outlook, Status

CLOCK_SECONDS = 60.0
"""How far the clock of an object store may be ahead: files below a URL are read only when they were written later than that."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a run does with a cell, as far as it can be known before.

    Attributes:
        outlook: What is expected.
        reason: Why, as a sentence without its full stop.
        fresh: If it is trained, then as a new execution beside a finished one.
        stands_with: The digest of the weights that a finished cell started from, whose parent is looked at first: its
            result stands when the parent comes to these once more, whatever is expected. None for others.
        unprepared: Its data must be prepared before they can be compared with those of its result.
        other_weights: It is expected to come to other weights than before, because what it starts from has changed.
    """

    outlook: Outlook
    reason: str
    fresh: bool = False
    stands_with: str | None = None
    unprepared: bool = False
    other_weights: bool = False

    @property
    def will_run(self) -> bool:
        """Whether the cell is expected to train."""
        return self.outlook.will_run

    @property
    def is_open(self) -> bool:
        """Whether what becomes of it is seen in the run only."""
        return self.will_run or self.stands_with is not None

    def record(self) -> dict[str, Any]:
        """For JSON and CSV, the same wherever a cell is shown."""
        return {"will_run": self.will_run, "decision": self.outlook, "reason": self.reason}


def decide(
    cells: Sequence[Cell], recorded: Recorded, options: RunOptions, *, compared: bool = False
) -> dict[str, Decision]:
    """What a run does with each cell of a plan, by cell id.

    Args:
        cells: Parents before children.
        recorded: What the database knows of them.
        options: What the user asked for, and where artifacts and caches lie.
        compared: Data that could be prepared for a comparison have been; what is still missing cannot be looked at.

    Side effects: reads the size and the times of every file of the finished cells, and the content of those that were
    written after the cell had finished. Writes nothing.
    """
    evidence = _Evidence(recorded, options, compared)
    if options.retime:
        return {cell.cell_id: _retimed(cell, evidence) for cell in cells}
    alone: dict[str, Decision] = {}
    parents: set[str] = set()
    # children first: a parent whose weights are needed must have kept some
    for cell in reversed(cells):
        own = alone[cell.cell_id] = _alone(cell, evidence, is_needed=cell.cell_id in parents)
        if own.will_run and cell.parent_cell_id is not None:
            parents.add(cell.parent_cell_id)
    decisions: dict[str, Decision] = {}
    deterministic = {cell.cell_id: cell.deterministic for cell in cells}
    for cell in cells:
        own, parent = alone[cell.cell_id], decisions.get(cell.parent_cell_id or "")
        if parent is not None and own.outlook is not Outlook.SETTLED:
            changed = parent.other_weights or not deterministic[str(cell.parent_cell_id)]
            own = _below(cell, own, parent, evidence, changed=changed)
        decisions[cell.cell_id] = own
    return decisions


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a decision goes by; looks at each prepared dataset once."""

    recorded: Recorded
    options: RunOptions
    compared: bool
    fingerprints: dict[Path, str | None] = field(default_factory=dict)
    stored: list[Mapping[str, StoredFile]] = field(default_factory=list)

    def artifacts_problem(self, state: CellState) -> str | None:
        """What is wrong with the files of a finished execution; None when nothing is. A URL is listed once."""
        store = self.options.store
        if store is None:
            return artifacts_problem(state, self.options.artifacts_root)
        if not self.stored:
            self.stored.append(store.files())
        return _stored_problem(state, store, self.stored[0])

    def fingerprint(self, directory: Path) -> str | None:
        if directory not in self.fingerprints:
            self.fingerprints[directory] = fingerprint(directory)
        return self.fingerprints[directory]


def _alone(cell: Cell, evidence: _Evidence, *, is_needed: bool) -> Decision:
    """What would become of a cell whose parent has the weights that it had before."""
    recorded, options = evidence.recorded, evidence.options
    state = recorded.states.get(cell.cell_id)
    if state is None:
        if machines := recorded.elsewhere.get(cell.cell_id):
            reason = f"it was run on {', '.join(machines)} only, and timings belong to a machine"
        else:
            planned = cell.cell_id in recorded.cell_ids
            reason = "it was planned but never started" if planned else "no such cell was ever recorded"
        return Decision(Outlook.RUNS, reason)
    history = history_of(state)
    again = Outlook.RESUMES if state.attempts else Outlook.RUNS
    if state.status == Status.RUNNING and state.run_id == recorded.live_run:
        return Decision(Outlook.WAITS, f"run {state.run_id} is running it")
    if state.status not in {*FINAL, Status.FAILED}:
        return Decision(again, history)
    if options.rerun or cell.cell_id in options.rerun_cells:
        return Decision(Outlook.RUNS, f"{history}, and it was requested again", fresh=True)
    if state.status == Status.FAILED and options.retry_failed:
        return Decision(again, f"{history}, and --retry-failed tries it again")
    if state.status == Status.FAILED:
        return Decision(Outlook.SETTLED, f"{history}; `bench run --retry-failed` tries it again")
    if (problem := evidence.artifacts_problem(state)) is not None:
        return Decision(Outlook.RUNS, f"{history}, but {problem}", fresh=True)
    if is_needed and state.status == Status.COMPLETED and kept_weights(state.artifacts, options.artifacts_root) is None:
        return Decision(
            Outlook.RUNS, f"{history}, but it kept no weights, and another cell starts from them", fresh=True
        )
    return _by_data(cell, state, evidence)


def _retimed(cell: Cell, evidence: _Evidence) -> Decision:
    """What becomes of a cell of a run that only times again: it starts from the weights that are there, or not at all."""
    states, options = evidence.recorded.states, evidence.options
    state, parent = states[cell.cell_id], states.get(cell.parent_cell_id or "")
    if cell.cell_id not in options.rerun_cells:
        return Decision(Outlook.REUSED, f"{history_of(state)}, and its timings are not asked for")
    if parent is not None and (problem := _lost_weights(parent, evidence)) is not None:
        return Decision(Outlook.SETTLED, f"{history_of(state)}, and cannot be timed again: {problem}")
    return Decision(Outlook.RUNS, f"{history_of(state)}, and its timings were disturbed", fresh=True)


def _lost_weights(state: CellState, evidence: _Evidence) -> str | None:
    kept = kept_weights(state.artifacts, evidence.options.artifacts_root) is not None
    problem = evidence.artifacts_problem(state) if kept else "none were kept"
    return problem and f"the weights that it starts from are gone: {problem}"


def _by_data(cell: Cell, state: CellState, evidence: _Evidence) -> Decision:
    """A finished result is taken while the arrays that its data come to are those that it was trained on."""
    history = history_of(state)
    reused = Decision(Outlook.REUSED, f"{history}, and its files and data are as they were recorded")
    if not trains(cell.backend) or state.data_fingerprint is None:
        return reused
    directory = evidence.options.directories.of(cell.data)
    now = evidence.fingerprint(directory)
    if now is not None and now != state.data_fingerprint:
        return Decision(Outlook.RUNS, f"{history}, but its data have changed", fresh=True, other_weights=True)
    files = user_files(cell.data.source, cell.data.location)
    if now is not None or files is None:
        return reused
    if evidence.compared or not files.exists():
        return replace(reused, reason=f"{history}, and its data can no longer be checked", unprepared=True)
    # a folder of prepared arrays is named by the files' names, sizes and times: older files have another one
    others = directory.parent.glob(f"{directory.name.rpartition('-')[0]}-*")
    if any(evidence.fingerprint(other) == state.data_fingerprint for other in others):
        reason = f"{history}, but the files of its data have changed since; they are prepared again and compared first"
        return Decision(Outlook.RUNS, reason, fresh=True, unprepared=True, other_weights=True)
    reason = f"{history}; its data are no longer in the cache, and are prepared again and compared first"
    return replace(reused, reason=reason, unprepared=True)


def _below(cell: Cell, own: Decision, parent: Decision, evidence: _Evidence, *, changed: bool) -> Decision:
    """What becomes of a cell beside its parent; `changed` when that one comes to other weights if it runs."""
    parent_id = str(cell.parent_cell_id)
    if own.outlook is Outlook.REUSED:
        return _result_below(cell, own, parent, evidence, changed=changed)
    if parent.is_open:
        reason = f"{own.reason}; its parent cell {parent_id} {'runs' if parent.will_run else 'is checked'} first"
        return replace(own, outlook=Outlook.WAITS if own.outlook is Outlook.RUNS else own.outlook, reason=reason)
    status = Status.BLOCKED if parent.outlook is Outlook.BLOCKED else evidence.recorded.states[parent_id].status
    return own if status == Status.COMPLETED else Decision(Outlook.BLOCKED, blocked_reason(cell, status))


def _result_below(cell: Cell, own: Decision, parent: Decision, evidence: _Evidence, *, changed: bool) -> Decision:
    """A finished cell started from its parent's kept weights; when these are other ones now, it begins anew."""
    state, parent_id = evidence.recorded.states[cell.cell_id], str(cell.parent_cell_id)
    began, history = state.weights_sha256, history_of(state)
    if began is None or state.status != Status.COMPLETED:
        return own
    if not parent.is_open:
        now = kept_weights(evidence.recorded.states[parent_id].artifacts, evidence.options.artifacts_root)
        if now is None or now[1] == began:
            return own
        reason = f"{history}, but the weights of its parent have changed"
        return Decision(Outlook.RUNS, reason, fresh=True, other_weights=True)
    if changed and parent.will_run:
        reason = f"{history}, but its parent cell {parent_id} runs first and is expected to come to other weights"
        return Decision(Outlook.WAITS, reason, fresh=True, stands_with=began, other_weights=True)
    reason = f"{history}; its parent cell {parent_id} is checked first, and the result stands if its weights do"
    return replace(own, reason=reason, fresh=True, stands_with=began)


# ---- words


def history_of(state: CellState) -> str:
    """What became of a cell, as the beginning of a sentence: `it failed (oom) in run 3 after 2 epochs`."""
    status = state.status
    verb = status if status in {*FINAL, Status.FAILED} else f"was {status}"
    cause = f" ({state.cause})" if state.cause not in {None, status, Cause.PARENT} else ""
    epochs = (
        f" after {state.epochs} epoch{'s' * (state.epochs != 1)}" if state.epochs and status != Status.COMPLETED else ""
    )
    return f"it {verb}{cause} in run {state.run_id}{epochs}"


def blocked_reason(cell: Cell, status: str) -> str:
    """Why a cell cannot run, when its parent has ended with `status`."""
    verb = "ended as" if status in {Status.FAILED, Status.DIVERGED} else "is"
    return f"its parent cell {cell.parent_cell_id} {verb} {status}, so it has no weights to pass on"


# ---- files


def artifacts_problem(state: CellState, root: Path) -> str | None:
    """What is wrong with the files of a finished execution; None when nothing is.

    A file of the recorded size that was not touched after the execution had finished is not read.
    """
    finished_ns = round(_finished(state) * 1000) * 1_000_000
    inside: dict[Path, bool] = {}
    for artifact in state.artifacts:
        path = root / artifact.path
        # following links is slow, and the files of an execution lie in few folders
        place = path if path.is_symlink() else path.parent
        if place not in inside:
            inside[place] = place.resolve().is_relative_to(root.resolve())
        if not inside[place]:
            return f"{artifact.path} leads out of the artifacts folder"
        if (damage := _damage(path, artifact, finished_ns)) is not None:
            return f"{artifact.path} {damage}"
    return None


def _stored_problem(state: CellState, store: ArtifactStore, files: Mapping[str, StoredFile]) -> str | None:
    """As `artifacts_problem`, of files below a URL."""
    for artifact in state.artifacts:
        file = files.get(artifact.path)
        if file is None or file.size_bytes != artifact.size_bytes:
            return f"{artifact.path} is not at {store.url} with the size that was recorded"
        if file.written > _finished(state) + CLOCK_SECONDS and store.sha256(artifact.path) != artifact.sha256:
            return f"{artifact.path} has another digest than recorded"
    return None


def _finished(state: CellState) -> float:
    """When an execution has finished, in seconds since 1970; 0 if it has not."""
    return datetime.fromisoformat(state.finished_utc).timestamp() if state.finished_utc else 0.0


def _damage(path: Path, artifact: ArtifactRow, finished_ns: int) -> str | None:
    try:
        status = path.stat()
        if status.st_size != artifact.size_bytes:
            return "has another size than recorded"
        # the second is the kernel's own, which nobody can set back
        if max(status.st_mtime_ns, status.st_ctime_ns) <= finished_ns:
            return None
        return None if sha256_of(path) == artifact.sha256 else "has another digest than recorded"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def kept_weights(artifacts: Iterable[ArtifactRow], root: Path) -> tuple[Path, str] | None:
    """Path and digest of the weights that a finished cell kept; None when it kept none."""
    kept = [artifact for artifact in artifacts if artifact.kind == "weights"]
    return (root / kept[-1].path, kept[-1].sha256) if kept else None
