"""Copies between the folder that attempts work in and the URL of their artifacts, in threads beside the loop of a run.

An artifact is put there when its worker has told of it, and its attempt counts as completed only when all are there. States
follow as fast as they can, each whole under its own name: what is not there yet does no harm, because an attempt goes on from
the state that it finds, and trains the epochs after it once more. Before an attempt begins, what it starts from is fetched.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import layout
from benchmark.errors import StorageError
from benchmark.events import ArtifactWritten, CheckpointFailed, EpochFinished, Event, StageStored
from benchmark.scheduling.loop.attempt import Attempt, PendingLaunch
from benchmark.scheduling.loop.attempt_files import AttemptFiles
from benchmark.scheduling.loop.background_work import BackgroundWork, Then

SHARE_OF_TIME = 0.25
"""States are put there no more often than that this share of the time goes by with it."""


@dataclass(slots=True)
class _Uploads:
    """What goes on for one attempt.

    Attributes:
        left: How many uploads have not ended.
        state: Identity of the state file that was put there last, or is being put there.
        is_busy: Whether a state is being put there.
        next_state: Monotonic seconds before which the next one is not begun.
        finished: What follows when all is there; None while the attempt goes on.
        held: What the run is told only when the states of stages before it are there.
        stages: How many of these are on their way.
        epoch: The last one that was told.
    """

    attempt: Attempt
    left: int = 0
    state: Any = None
    is_busy: bool = False
    next_state: float = 0.0
    finished: Callable[[], None] | None = None
    held: list[Callable[[], None]] = field(default_factory=list)
    stages: int = 0
    epoch: int = 0


class Copies:
    """Copies of one process that runs attempts; all methods are called by its loop, and call it back.

    Args:
        files: What copies them.
        selector: Of the loop; it is woken when something is done.
        checkpoint_failed: Told of states that could not be put there.
    """

    def __init__(
        self,
        files: AttemptFiles,
        selector: selectors.BaseSelector,
        checkpoint_failed: Callable[[int, CheckpointFailed], object],
    ) -> None:
        self._files = files
        self._checkpoint_failed = checkpoint_failed
        self._work = BackgroundWork(selector)
        self._attempts: dict[int, _Uploads] = {}
        self._is_abandoned = False

    @property
    def is_busy(self) -> bool:
        """Whether something is being copied that is waited for."""
        return self._work.left > 0 and not self._is_abandoned

    @property
    def cells(self) -> set[str]:
        """Ids of cells whose attempts run, or are over and have files that are not all there."""
        return {each.attempt.cell.cell_id for each in self._attempts.values()}

    def abandon(self) -> None:
        """Waits for nothing any more; attempts that are over end at once, without what is not there."""
        self._is_abandoned = True
        for uploads in list(self._attempts.values()):
            if uploads.finished is not None:
                # it goes on another time from the state that is there
                uploads.attempt.result, uploads.attempt.stopping = None, True
                self._conclude(uploads)

    def close(self) -> None:
        """Lets go of the threads; what they are at is not waited for."""
        self._work.close()

    # ---- before an attempt

    def bring(self, launch: PendingLaunch, directories: Sequence[Path], then: Then) -> None:
        """Fetches the states, weights and stages that an attempt starts from; `then` hears whether that failed.

        Args:
            launch: The attempt.
            directories: Of earlier attempts, newest first.
            then: Called when all are here.
        """
        self._work.do(lambda: self._files.bring(launch.beginning, directories), then)

    # ---- while it runs

    def hear(self, attempt: Attempt, event: Event, tell: Callable[[], None]) -> None:
        """Takes in what a worker has told.

        Args:
            attempt: Of the worker.
            event: What it told.
            tell: Tells the run of it, once other cells could begin from what it says.
        """
        uploads = self._attempts.get(attempt.attempt_id)
        if uploads is None:
            uploads = self._attempts[attempt.attempt_id] = _Uploads(attempt)
        if isinstance(event, ArtifactWritten):
            self._put(uploads, attempt.directory / event.name)
        elif isinstance(event, EpochFinished):
            uploads.epoch = event.epoch
            self._offer_state(uploads)
        elif isinstance(event, StageStored) and event.stored:
            self._put_stage(uploads, attempt.stages.get(event.stage))
        if uploads.stages or uploads.held:
            uploads.held.append(tell)
        else:
            tell()

    def finish(self, attempt: Attempt, then: Callable[[], None]) -> None:
        """The attempt is over: `then` follows when all of its files are there, the last state too."""
        uploads = self._attempts.get(attempt.attempt_id)
        if uploads is None:
            then()
            return
        uploads.finished = then
        self._offer_state(uploads)
        log = attempt.directory / layout.LOG
        if log.exists():
            self._upload(uploads, lambda: self._files.put(log), lambda _: None)
        self._look_after(uploads)

    def forget(self, directories: Sequence[Path]) -> None:
        """Deletes the states of a finished cell and its folders here; what cannot be deleted is left to `bench gc`."""
        self._work.do(lambda: self._files.forget(directories), lambda _: None)

    def _put(self, uploads: _Uploads, path: Path) -> None:
        def note(error: StorageError | None) -> None:
            if error is not None:
                uploads.attempt.uncopied = str(error)

        self._upload(uploads, lambda: self._files.put(path), note)

    def _put_stage(self, uploads: _Uploads, folder: Path | None) -> None:
        def put() -> None:
            for path in folder.glob(f"*/{layout.STATE}") if folder is not None else ():
                self._files.put(path)

        def note(error: StorageError | None) -> None:
            uploads.stages -= 1
            if error is not None:
                self._fail(uploads, f"not stored for other cells: {error}")

        uploads.stages += 1
        self._upload(uploads, put, note)

    def _offer_state(self, uploads: _Uploads) -> None:
        """Begins to put the newest state there, unless one is on its way or it would be too often."""
        is_over = uploads.finished is not None
        if uploads.is_busy or (not is_over and time.monotonic() < uploads.next_state):
            return
        directory = uploads.attempt.directory
        identity = _identity(directory / layout.STATE), _identity(directory / layout.SCRIPT_EPOCHS)
        if identity in {uploads.state, (None, None)}:
            return
        uploads.state, uploads.is_busy = identity, True
        began, epoch = time.monotonic(), uploads.epoch

        def put() -> None:
            if identity[0] is not None:
                self._files.put(directory / layout.STATE)
            if identity[1] is not None:
                self._files.put_script_state(directory)

        def note(error: StorageError | None) -> None:
            now = time.monotonic()
            uploads.is_busy, uploads.next_state = False, now + (now - began) * (1 / SHARE_OF_TIME - 1)
            if error is not None:
                self._fail(uploads, f"epoch {epoch}: {error}")
            if uploads.finished is None:
                uploads.state = None if error is not None else uploads.state
            else:
                self._offer_state(uploads)

        self._upload(uploads, put, note)

    def _fail(self, uploads: _Uploads, reason: str) -> None:
        self._checkpoint_failed(uploads.attempt.attempt_id, CheckpointFailed(uploads.epoch, reason))

    def _upload(self, uploads: _Uploads, act: Callable[[], None], note: Then) -> None:
        def after(error: StorageError | None) -> None:
            uploads.left -= 1
            note(error)
            self._look_after(uploads)

        uploads.left += 1
        self._work.do(act, after)

    def _look_after(self, uploads: _Uploads) -> None:
        while uploads.held and not uploads.stages:
            uploads.held.pop(0)()
        if uploads.finished is not None and (not uploads.left or self._is_abandoned):
            self._conclude(uploads)

    def _conclude(self, uploads: _Uploads) -> None:
        if self._attempts.pop(uploads.attempt.attempt_id, None) is not None and uploads.finished is not None:
            for tell in uploads.held:
                tell()
            uploads.finished()


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells the content of a file from others that had its name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
