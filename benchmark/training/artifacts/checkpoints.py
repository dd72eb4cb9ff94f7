"""Checkpoints: the state of an attempt in one file, from which a killed cell resumes as if nothing had happened.

`state.npz` holds, as of the end of one epoch: the weights, the optimizer's variables, the best weights so far, and in
a JSON header the counters, the callbacks' state and every epoch's row. Random states are not in it: they are set anew
at each epoch's begin from (seed, epoch). The header carries a sha256 over everything, for neither `.npz` nor the disk
promises to notice a flipped bit. A file appears whole or not at all, and the one before stays as
`state.previous.npz`. A state of another cell or training version is never used.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import faults, layout
from benchmark.events import EpochFinished
from benchmark.files import write_whole
from benchmark.matrix.identity import TRAINING_VERSION
from benchmark.training.data.fingerprint import sha256_of_arrays
from benchmark.training.features.feature_store import FeatureUse

_HEADER = "header"
_FORMAT = 1
_PLAIN_FIELDS = (
    "cell_id", "stage", "stage_epoch", "stage_done", "callbacks", "best", "on_features",
)  # fmt: skip
"""Fields of a state that stand in the header as they are."""

_AFFORDABLE = 0.03
"""Largest share of the training time that writing states may take."""
_AT_LEAST_EVERY_SECONDS = 300.0
_GUESSED_BYTES_PER_SECOND = 4e8
_GUESSED_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class SharedEpochs:
    """The epochs of a state that another cell trained: how many, and how long they took it, features included."""

    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """All that training needs to continue after an epoch.

    Attributes:
        cell_id: The cell it belongs to; of a stage that cells share, the name of its folder.
        stage: The stage of the last epoch, from 1.
        stage_epoch: The last epoch within its stage, from 1.
        stage_done: Whether that was the stage's last epoch.
        callbacks: State of the stage's callbacks, the user's own among them.
        best: State of `BestWeights`.
        history: All epochs so far, in order; not empty.
        weights: Of the core model, by variable path.
        optimizer: The optimizer's variables in its own order.
        best_weights: By variable path; the same object as `weights` when the last epoch is the kept one and its weights
            are no averages.
        on_features: Whether the stage trains on features of its frozen layers.
        features: Whether stages so far computed or reused features, and what it took.
        data_fingerprint: Of the data that it was trained on, since a user's files may change; empty in older files.
        shared: The epochs of it that another cell trained.
        averages: Averages of weights, by variable path; empty where the stage has none.
        best_plain: What the best weights are the average of, if they are one; the same object as `weights` when the last
            epoch is the kept one.
        callback_arrays: Those that the user's own callbacks hold.
    """

    cell_id: str
    stage: int
    stage_epoch: int
    stage_done: bool
    callbacks: dict[str, Any]
    best: dict[str, Any]
    history: tuple[EpochFinished, ...]
    weights: dict[str, NDArray[Any]] = field(repr=False)
    optimizer: list[NDArray[Any]] = field(repr=False)
    best_weights: dict[str, NDArray[Any]] = field(repr=False)
    on_features: bool = False
    features: FeatureUse = field(default_factory=FeatureUse)
    data_fingerprint: str = ""
    shared: SharedEpochs = field(default_factory=SharedEpochs)
    averages: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    best_plain: dict[str, NDArray[Any]] | None = field(default=None, repr=False)
    callback_arrays: list[NDArray[Any]] = field(default_factory=list, repr=False)

    @property
    def epoch(self) -> int:
        """The last epoch, counted from 1 over the whole cell."""
        return self.history[-1].epoch

    @property
    def size_bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for _, array in _members(self))


class UnusableStateError(ValueError):
    """A state file that is damaged, or belongs to another cell or training version."""


class StateWriter:
    """Writes states into an attempt's directory as often as is cheap, and the newest when training is stopped.

    Args:
        directory: Of the attempt.
        written_epoch: The first value of the attribute.
        every: Whether each state is written, whatever it costs.

    Attributes:
        written_epoch: The last epoch whose state is on disk, there or in an earlier attempt's directory.
    """

    def __init__(self, directory: Path, written_epoch: int, *, every: bool = False) -> None:
        self._directory = directory
        self._every = every
        self.written_epoch = written_epoch
        self._pending: State | None = None
        self._cost_seconds: float | None = None
        self._written_at = perf_counter()

    def offer(self, state: State) -> None:
        """Writes `state` if enough time has passed since the last one, else keeps it for `flush`.

        Raises:
            OSError: It could not be written; the state before stays on disk.
        """
        self._pending = state
        cost = self._cost_seconds
        if cost is None:
            cost = _GUESSED_SECONDS + state.size_bytes / _GUESSED_BYTES_PER_SECOND
        elapsed = perf_counter() - self._written_at
        if self._every or elapsed >= _AT_LEAST_EVERY_SECONDS or cost <= _AFFORDABLE * elapsed:
            self.flush()

    def flush(self) -> None:
        """Writes the newest state that was offered and is not on disk yet.

        Raises:
            OSError: As `offer`.
        """
        if self._pending is None:
            return
        began = perf_counter()
        # set before writing, so that after a failure a full disk is not tried again at once
        state, self._pending, self._written_at = self._pending, None, began
        write_state(self._directory, state)
        self.written_epoch = state.epoch
        self._written_at = perf_counter()
        self._cost_seconds = self._written_at - began


def write_state(directory: Path, state: State) -> None:
    """Writes `state` as the newest of `directory`, whole or not at all; the one before becomes the previous one.

    Raises:
        OSError: The disk is full or not writable.
    """
    members = _members(state)
    header = _header(state)
    header["sha256"] = _digest(header, members)
    encoded = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)

    def write(file: Any) -> None:
        # by hand, since np.savez would copy each array once more
        faults.point("ckpt.write")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for number, (name, array) in enumerate([(_HEADER, encoded), *members]):
                if number == len(members) // 2:
                    faults.point("ckpt.write")
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        faults.point("ckpt.write")

    write_whole(directory / layout.STATE, write, keep_previous=directory / layout.PREVIOUS_STATE)


def read_state(path: Path, cell_id: str) -> State:
    """Reads and verifies the state in `path`.

    Raises:
        UnusableStateError: Damaged, or of another cell or training version, which might continue to other numbers.
        FileNotFoundError, NotADirectoryError: There is no such file.
    """
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        claimed = header.pop("sha256")
        members = [(name, arrays[name]) for name in header["members"]]
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        raise UnusableStateError(f"{path} is damaged: {error}") from error
    if _digest(header, members) != claimed:
        raise UnusableStateError(f"{path} is damaged: its content does not have the digest it was written with")
    owner = (header["format"], header["cell_id"], header["training_version"])
    if owner != (_FORMAT, cell_id, TRAINING_VERSION):
        raise UnusableStateError(
            f"{path} belongs to cell {header['cell_id']}, training version {header['training_version']}"
        )
    try:
        return _state(header, dict(members))
    except (KeyError, TypeError) as error:
        raise UnusableStateError(f"{path} was written by another version of bench: {error}") from error


def newest_state(directories: Iterable[Path], cell_id: str) -> tuple[State | None, Sequence[str]]:
    """The first usable state of `directories` (newest attempt first), and why those before it were rejected."""
    rejected: list[str] = []
    for directory in directories:
        for name in (layout.STATE, layout.PREVIOUS_STATE):
            try:
                return read_state(directory / name, cell_id), rejected
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (UnusableStateError, OSError) as error:
                rejected.append(str(error))
    return None, rejected


def delete_states(directories: Iterable[Path]) -> None:
    """Removes the state files of a finished cell; what cannot be removed is left to `bench gc`."""
    for directory in directories:
        for name in (layout.STATE, layout.PREVIOUS_STATE):
            with contextlib.suppress(OSError):
                (directory / name).unlink(missing_ok=True)


def _members(state: State) -> list[tuple[str, NDArray[Any]]]:
    members = [(f"weights/{path}", array) for path, array in state.weights.items()]
    members += [(f"optimizer/{index:05d}", array) for index, array in enumerate(state.optimizer)]
    if state.best_weights is not state.weights:
        members += [(f"best/{path}", array) for path, array in state.best_weights.items()]
    members += [(f"average/{path}", array) for path, array in state.averages.items()]
    if state.best_plain is not None and state.best_plain is not state.weights:
        members += [(f"plain/{path}", array) for path, array in state.best_plain.items()]
    return members + [(f"callback/{index:05d}", array) for index, array in enumerate(state.callback_arrays)]


def _header(state: State) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "training_version": TRAINING_VERSION,
        **{name: getattr(state, name) for name in _PLAIN_FIELDS},
        "history": [asdict(epoch) for epoch in state.history],
        "best_is_last": state.best_weights is state.weights,
        "plain_is_last": state.best_plain is state.weights,
        "features": asdict(state.features),
        "data_fingerprint": state.data_fingerprint,
        "taken": asdict(state.shared),
        "members": [name for name, _ in _members(state)],
    }


def _state(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> State:
    weights = _with_prefix("weights/", arrays)
    return State(
        **{name: header[name] for name in _PLAIN_FIELDS},
        history=tuple(EpochFinished(**epoch) for epoch in header["history"]),
        weights=weights,
        optimizer=list(_with_prefix("optimizer/", arrays).values()),
        best_weights=weights if header["best_is_last"] else _with_prefix("best/", arrays),
        features=FeatureUse(**header["features"]),
        data_fingerprint=header.get("data_fingerprint", ""),
        shared=SharedEpochs(**header.get("taken", {})),
        averages=_with_prefix("average/", arrays),
        best_plain=weights if header.get("plain_is_last") else _with_prefix("plain/", arrays) or None,
        callback_arrays=list(_with_prefix("callback/", arrays).values()),
    )


def _with_prefix(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _digest(header: dict[str, Any], members: Iterable[tuple[str, NDArray[Any]]]) -> str:
    return sha256_of_arrays(members, head=json.dumps(header, sort_keys=True, allow_nan=False).encode())
