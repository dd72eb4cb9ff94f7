"""What a run and its node agents say to each other: frozen dataclasses, each one JSON object in the mailbox of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmark.events import Failed, from_line, to_line
from benchmark.scheduling.decisions.cell_decisions import Beginning, Ending

# ---- from the run to a node


@dataclass(frozen=True, slots=True)
class RunCell:
    """Run a cell, all its attempts included; `cell` is `Cell.to_dict()`, the rest is its `Beginning`.

    Paths are relative to the folder of artifacts, which may have another place on each node.

    Attributes:
        expected_fingerprint: What the data of the cell were on other nodes; None while no node has told.
    """

    cell: dict[str, Any]
    fresh: bool = False
    parent_weights: list[str] | None = None
    shared_stages: dict[str, str] = field(default_factory=dict)
    stored_stages: list[int] = field(default_factory=list)
    clean_stages: list[int] = field(default_factory=list)
    expected_fingerprint: str | None = None

    def beginning(self, root: Path) -> Beginning:
        """What the cell starts from, on a node whose folder of artifacts is `root`."""
        weights = self.parent_weights
        return Beginning(
            self.fresh,
            None if weights is None else (root / weights[0], weights[1]),
            {int(stages): root / folder for stages, folder in self.shared_stages.items()},
            tuple(self.stored_stages),
            tuple(self.clean_stages),
        )


def run_cell(cell: Mapping[str, Any], beginning: Beginning, expected_fingerprint: str | None, root: Path) -> RunCell:
    """The order for a cell, with paths as texts below `root`, the folder of artifacts here."""
    weights = beginning.parent_weights
    return RunCell(
        dict(cell),
        beginning.fresh,
        None if weights is None else [_below(weights[0], root), weights[1]],
        {str(stages): _below(folder, root) for stages, folder in beginning.shared_stages.items()},
        list(beginning.stored_stages),
        list(beginning.clean_stages),
        expected_fingerprint,
    )


@dataclass(frozen=True, slots=True)
class Refuse:
    """End a running cell: its data are not those of the other nodes."""

    cell_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing more, save the states of what runs within `grace_seconds`, and leave."""

    reason: str
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill what runs, and leave."""


# ---- from a node to the run


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent of a node has begun: so many cores and GPUs are for cells.

    Attributes:
        computer: The same for nodes on one computer; empty where it is the node's own.
    """

    name: str
    cores: int
    gpus: int
    computer: str = ""


@dataclass(frozen=True, slots=True)
class Unfit:
    """The node of this name cannot run cells, and its agent leaves; `cell_id` is that of the cell that showed it."""

    name: str
    reason: str
    cell_id: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt of a cell has its process; attempts count from 1 within the execution."""

    cell_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker has told, as the line of an event, `elapsed` seconds after the start of its attempt."""

    cell_id: str
    line: str
    elapsed: float
    undisturbed: bool = False


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The cell does not run at the moment; it is tried again on its node, or `Settled` follows."""

    cell_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The cell is through for this run; the fields are those of `Ending`, with the error as a line, and a path as in `RunCell`."""

    cell_id: str
    state: str
    detail: str | None = None
    seconds: float = 0.0
    error: str | None = None
    weights: list[str] | None = None

    def ending(self, root: Path) -> Ending:
        """How the cell has ended, where the folder of artifacts is `root`."""
        error = None if self.error is None else from_line(self.error.encode())
        weights = None if self.weights is None else (root / self.weights[0], self.weights[1])
        return Ending(self.state, self.detail, self.seconds, error if isinstance(error, Failed) else None, weights)


def settled(cell_id: str, ending: Ending, root: Path) -> Settled:
    """The report of a cell's end, with its path as a text below `root`, the folder of artifacts here."""
    weights = ending.weights
    return Settled(
        cell_id,
        ending.state,
        ending.detail,
        ending.seconds,
        None if ending.error is None else to_line(ending.error).decode(),
        None if weights is None else [_below(weights[0], root), weights[1]],
    )


def _below(path: Path, root: Path) -> str:
    """A path as it holds on other computers too: relative to the folder of artifacts where it lies in that."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


@dataclass(frozen=True, slots=True)
class LeftPending:
    """The cell cannot run on this node any more: it has no GPU left for it."""

    cell_id: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """What the node prepares now, by name, and how far it has come in words."""

    progress: dict[str, str]


Message = (
    RunCell
    | Refuse
    | Stop
    | Kill
    | Ready
    | Unfit
    | Begun
    | Told
    | AttemptEnded
    | Settled
    | LeftPending
    | Said
    | Preparing
)

_KINDS = {
    kind.__name__: kind
    for kind in (
        *(RunCell, Refuse, Stop, Kill),
        *(Ready, Unfit, Begun, Told, AttemptEnded, Settled, LeftPending, Said, Preparing),
    )
}


def body_of(message: Message) -> dict[str, Any]:
    """The message as a JSON object."""
    # not `asdict`, which copies everything below: an order holds a whole cell
    return {"kind": type(message).__name__, **{each.name: getattr(message, each.name) for each in fields(message)}}


def message_of(body: Mapping[str, Any]) -> Message:
    """The message of a JSON object; fields that this version does not know are left aside.

    Raises:
        KeyError: It is of an unknown kind.
    """
    kind = _KINDS[body["kind"]]
    names = {each.name for each in fields(kind)}
    message: Message = kind(**{name: value for name, value in body.items() if name in names})
    return message
