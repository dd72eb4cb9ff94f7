"""States at the ends of stages that cells of a run have in common: one cell stores its own, others start from it.

`<artifacts>/stages/<key>/<circumstances>/state.npz`: a state as in `checkpoints.py`. The key is `stage_key` of the cell,
named by the scheduler, which also removes the folders when no cell needs them any more. The circumstances are what
else determines the bits and is known in the worker only (data, weights, libraries, device); a state made under others
is not used.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark import layout
from benchmark.events import CheckpointFailed, Event, Job, StagesTaken
from benchmark.files import sha256_of
from benchmark.training.artifacts.checkpoints import SharedEpochs, State, newest_state, write_state

_SHARE_OF_FREE_DISK = 0.25
"""What all stored stages together may fill of the disk that is free or already theirs."""


class StoredStages:
    """The states of other cells that one cell may start from, and those that it stores for others.

    Args:
        job: Names the folders, and which states to store there.
        cell_id: Of the cell.
        circumstances: What besides the cell determines the bits; must be JSON.
        emit: Told what is taken, and what cannot be read or stored.
    """

    def __init__(
        self, job: Job, cell_id: str, circumstances: Mapping[str, Any], emit: Callable[[Event], object]
    ) -> None:
        name = sha256_of(json.dumps(circumstances, sort_keys=True).encode())[:16]
        self._cell_id = cell_id
        self._folders = {int(stages): Path(folder) / name for stages, folder in job.shared_stages.items()}
        self._wanted = set(job.stored_stages)
        self._emit = emit

    def load_longest(self) -> State | None:
        """The state after most stages, as one of this cell. Where one is damaged, this cell stores it again."""
        for stages, folder in sorted(self._folders.items(), reverse=True):
            state, rejected = newest_state([folder], _owner(folder))
            for reason in rejected:
                self._wanted.add(stages)
                self._emit(CheckpointFailed(0, f"not begun from: {reason}"))
            if state:
                self._emit(StagesTaken(state.stage))
                seconds = math.fsum([state.features.seconds, *(epoch.seconds for epoch in state.history)])
                return replace(state, cell_id=self._cell_id, shared=SharedEpochs(len(state.history), seconds))
        return None

    def offer(self, state: State) -> bool | None:
        """Stores the end of a stage for other cells; whether that worked, and None where no cell waits for it."""
        if not state.stage_done or state.stage not in self._wanted:
            return None
        folder = self._folders[state.stage]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder, state.size_bytes)
            write_state(folder, replace(state, cell_id=_owner(folder), shared=SharedEpochs()))
        except OSError as error:
            reason = f"not stored for other cells: {type(error).__name__}: {error}"
            self._emit(CheckpointFailed(state.epoch, reason))
            return False
        return True


def _owner(folder: Path) -> str:
    """What stands as `cell_id` in the states of a folder."""
    return f"{folder.parent.name}/{folder.name}"


def _check_room(folder: Path, size_bytes: int) -> None:
    stored = sum(path.stat().st_size for path in folder.parent.parent.glob(f"*/*/{layout.STATE}"))
    limit = int(_SHARE_OF_FREE_DISK * (shutil.disk_usage(folder).free + stored))
    if stored + size_bytes > limit:
        raise OSError(
            f"{folder}: {size_bytes:,} bytes for other cells do not fit into the {limit:,} that stored stages may fill, "
            f"a quarter of the free disk"
        )
