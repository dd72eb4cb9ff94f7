"""Tracks first stages that cells of a run have in common: one cell trains them, the others begin where they end.

A cell waits only while a running one trains stages that both have; when that one ends before it has come to their end,
or cannot store it, nobody waits for these stages any more. The states lie in `<artifacts>/stages`, belong to this
database, and are taken away when no cell of the run needs them any more; those of an interrupted run wait for the next.
"""

from __future__ import annotations

import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmark import layout
from benchmark.events import Evaluated, Event, StagesTaken, StageStarted, StageStored
from benchmark.matrix.cell import Cell
from benchmark.matrix.planning.stage_keys import common_stages, stage_key
from benchmark.results.artifacts.artifact_store import ArtifactStore


class SharedStages:
    """Which ends of stages are shared, who trains them now, and what may be begun from.

    Args:
        cells: Those of the plan, finished ones too: what they have left may still be there.
        begun: Ids of cells that have epochs of their own to go on from, and so wait for nobody.
        fresh: Ids of cells that are to be trained anew: what earlier runs have left of their stages is deleted.
        artifacts_root: Of the database.
        store: What is below the URL of artifacts; None where the folder is their place.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        begun: Collection[str],
        fresh: Collection[str],
        artifacts_root: Path,
        store: ArtifactStore | None = None,
    ) -> None:
        self._store = store
        self._ends = common_stages(cells)  # of each cell the end of the fewest stages first
        self._begun = set(begun)
        self._root = layout.stages_folder(artifacts_root.absolute())
        self._members: defaultdict[Hashable, deque[str]] = defaultdict(deque)
        for cell_id, ends in self._ends.items():
            for end in ends.values():
                self._members[end].append(cell_id)
        self._trainers: dict[Hashable, str] = {}
        self._stored: dict[Hashable, bool] = {}
        self._refused: set[Hashable] = set()
        self._unavailable_stages: set[Hashable] = set()
        self._unclean: set[str] = set()
        self._folders: dict[Hashable, Path] = {}
        if self._root.exists() or (fresh and store is not None):
            for cell in cells:
                if cell.cell_id in fresh:
                    for folder in self.folders(cell).values():
                        self._remove(folder)

    # ---- before a cell starts

    def awaited(self, cell: Cell) -> Hashable | None:
        """What a running cell trains for this one; None when there is nothing to wait for."""
        if cell.cell_id in self._begun:
            return None
        for end in reversed(self._ends.get(cell.cell_id, {}).values()):
            if end in self._stored:
                return None
            if end in self._trainers:
                return end
        return None

    def start(self, cell: Cell) -> None:
        """The cell is about to train."""
        self._begun.add(cell.cell_id)
        for end in self._ends.get(cell.cell_id, {}).values():
            if end not in self._stored and end not in self._unavailable_stages:
                self._trainers.setdefault(end, cell.cell_id)

    def folders(self, cell: Cell) -> dict[int, Path]:
        """Where the states lie, or are going to, by the number of first stages."""
        folders = {}
        for stages, end in self._ends.get(cell.cell_id, {}).items():
            if end not in self._folders:
                self._folders[end] = self._root / stage_key(cell, stages)
            folders[stages] = self._folders[end]
        return folders

    def to_store(self, cell: Cell, unfinished: Collection[str]) -> tuple[int, ...]:
        """The numbers of first stages whose state the cell is to leave for others that are unfinished."""
        return tuple(
            stages
            for stages, end in self._ends.get(cell.cell_id, {}).items()
            if end not in self._stored
            and end not in self._refused
            and self._is_needed(end, unfinished, but_for=cell.cell_id)
        )

    def _is_needed(self, end: Hashable, unfinished: Collection[str], but_for: str = "") -> bool:
        """Whether an unfinished cell shares it; those found finished are not looked at again."""
        members = self._members[end]
        while members:
            if members[-1] not in unfinished:
                members.pop()
            elif members[-1] != but_for:
                return True
            elif len(members) == 1:
                return False
            else:
                members.rotate()
        return False

    def clean(self, cell: Cell) -> tuple[int, ...]:
        """The numbers of first stages whose state is there, with timings that count."""
        return tuple(stages for stages, end in self._ends.get(cell.cell_id, {}).items() if self._stored.get(end))

    # ---- while it runs, and afterwards

    def hear(self, cell: Cell, event: Event, undisturbed: Callable[[], bool]) -> None:
        """Takes in what a running cell tells.

        `undisturbed` says whether its timings are good so far.
        """
        ends = self._ends.get(cell.cell_id)
        if not ends:
            return
        match event:
            case StagesTaken() if event.stages in ends:
                if not self._stored.setdefault(ends[event.stages], False):
                    self._unclean.add(cell.cell_id)
                self._release(cell, event.stages)
            case StageStored() if event.stage in ends:
                end = ends[event.stage]
                if event.stored:
                    self._stored[end] = undisturbed() and cell.cell_id not in self._unclean
                else:
                    self._refused.add(end)
                    self._unavailable_stages.add(end)
                self._release(cell, event.stage)
            case StageStarted():
                self._release(cell, event.stage - 1)
            case Evaluated():
                self._release(cell, len(cell.stages))
            case _:
                pass

    def end(self, cell: Cell) -> None:
        """The cell does not run any more, for now or for good."""
        for end in self._ends.get(cell.cell_id, {}).values():
            if self._trainers.get(end) == cell.cell_id:
                self._unavailable_stages.add(end)
        self._release(cell, len(cell.stages))

    def is_disturbed(self, cell: Cell) -> bool:
        """Whether the cell has taken epochs whose timings were disturbed, or of which nobody knows."""
        return cell.cell_id in self._unclean

    def tidy(self, unfinished: Collection[str], cell: Cell | None = None) -> None:
        """Takes away what no unfinished cell is going to need: of the stages of one that is settled, or of all."""
        ends = self._ends.get(cell.cell_id, {}).values() if cell is not None else self._folders
        done = [end for end in ends if end in self._folders and not self._is_needed(end, unfinished)]
        for end in done:
            self._remove(self._folders.pop(end))
        if cell is None:
            with suppress(OSError):  # not there, or not empty
                self._root.rmdir()

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if self._store is not None:
            self._store.remove_below(folder.relative_to(self._root.parent).as_posix())

    def _release(self, cell: Cell, stages: int) -> None:
        for number, end in self._ends.get(cell.cell_id, {}).items():
            if number <= stages and self._trainers.get(end) == cell.cell_id:
                del self._trainers[end]
