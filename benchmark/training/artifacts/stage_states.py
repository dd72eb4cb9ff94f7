"""States at the ends of stages that cells of a run have in common: one cell leaves its own there, others begin with it.

`<artifacts>/stages/<key>/<circumstances>/state.npz`: a state as in `checkpoints.py`. The key is `stage_key` of the cell,
named by the scheduler, which also takes the folders away when nobody needs them any more. The circumstances are what
else decides the bits and is only known here; where they differ (other data, weights, libraries, another device),
nothing is found.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.events import Job
from benchmark.files import sha256_of
from benchmark.matrix.identity import TRAINING_VERSION
from benchmark.training.artifacts.checkpoints import STATE_NAME, SharedEpochs, State, newest_state, write_state

_SHARE_OF_FREE_DISK = 0.25
"""Of the disk that is free or theirs, what all stored stages may fill."""


class StoredStages:
    """The shared ends of one cell's stages.

    Args:
        job: Names the folders, and which states are to be left there.
        cell_id: Of the cell.
        circumstances: What besides the cell decides the bits; must be JSON.
    """

    def __init__(self, job: Job, cell_id: str, circumstances: Mapping[str, Any]) -> None:
        name = sha256_of(json.dumps(circumstances, sort_keys=True).encode())[:16]
        self._cell_id = cell_id
        self._folders = {int(stages): Path(folder) / name for stages, folder in job.shared_stages.items()}
        self._wanted = set(job.stored_stages)

    def load_longest(self) -> tuple[State | None, list[str]]:
        """The state after most stages, as one of this cell, and why others were passed over.

        A damaged state is going to be stored anew.
        """
        rejected: list[str] = []
        for stages, folder in sorted(self._folders.items(), reverse=True):
            state, reasons = newest_state([folder], _owner(folder), TRAINING_VERSION)
            rejected += reasons
            if reasons:
                self._wanted.add(stages)
            if state:
                seconds = math.fsum([state.features.seconds, *(epoch.seconds for epoch in state.history)])
                shared = SharedEpochs(len(state.history), seconds)
                return replace(state, cell_id=self._cell_id, shared=shared), rejected
        return None, rejected

    def is_needed(self, state: State) -> bool:
        """Whether it is the end of a stage that others wait for."""
        return state.stage_done and state.stage in self._wanted

    def store(self, state: State) -> None:
        """Leaves the end of a stage for others.

        Raises:
            OSError: It cannot be stored: no room, no right to write.
        """
        folder = self._folders[state.stage]
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(folder, state.size_bytes)
        write_state(folder, replace(state, cell_id=_owner(folder), shared=SharedEpochs()))


def _owner(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _check_room(folder: Path, size_bytes: int) -> None:
    stored = sum(path.stat().st_size for path in folder.parent.parent.glob(f"*/*/{STATE_NAME}"))
    limit = int(_SHARE_OF_FREE_DISK * (shutil.disk_usage(folder).free + stored))
    if stored + size_bytes > limit:
        raise OSError(
            f"{folder}: {size_bytes:,} bytes for other cells do not fit into the {limit:,} that stored stages may fill, "
            f"a quarter of the free disk"
        )
