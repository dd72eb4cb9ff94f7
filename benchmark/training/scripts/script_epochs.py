"""The epochs that a program reports: counted, kept for the next attempt, and passed on as events."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from benchmark import events, faults, layout
from benchmark.training.data.dataset import Dataset
from benchmark.training.process.failures import DivergedError
from benchmark.training.scripts.script_lines import EpochCount, EpochLine, ScriptProtocolError


class ScriptEpochs:
    """The epochs of one attempt, and those of the attempts before that it goes on from.

    Attributes:
        count: Which epoch may be reported next.
        history: All epochs that stand.

    Args:
        job: Names the folders of this attempt and of earlier ones.
        stages: How many stages the cell has.
        dataset: Its images.
        emit: Called with every event, in order.

    Side effects: moves states and epochs of the newest earlier attempt into the folder of this one.
    """

    def __init__(self, job: events.Job, stages: int, dataset: Dataset, emit: Callable[[events.Event], object]) -> None:
        self._directory, self._dataset, self._emit = Path(job.directory), dataset, emit
        self._epoch_began = perf_counter()
        self.history: list[events.EpochFinished] = []
        self._earlier = self._take_over([Path(folder) for folder in job.earlier_directories])
        self.count = EpochCount(stages, len(self._earlier), is_again=bool(job.earlier_directories))

    def _take_over(self, folders: list[Path]) -> list[events.EpochFinished]:
        """Moves states and epochs from the newest earlier attempt into this one; returns these epochs."""
        state, kept = self._directory / layout.SCRIPT_STATE, self._directory / layout.SCRIPT_EPOCHS
        for folder in folders:
            # killed between two moves it goes on with what is left
            if not state.exists() and (folder / layout.SCRIPT_STATE).is_dir():
                (folder / layout.SCRIPT_STATE).rename(state)
            if not kept.exists() and (folder / layout.SCRIPT_EPOCHS).is_file():
                (folder / layout.SCRIPT_EPOCHS).rename(kept)
            shutil.rmtree(folder / layout.SCRIPT, ignore_errors=True)
        fingerprint, earlier = _epochs_in(kept)
        if fingerprint not in {None, self._dataset.fingerprint}:
            shutil.rmtree(state, ignore_errors=True)
            earlier = []
            self._emit(events.CheckpointFailed(0, "its states were of other data, and are gone"))
        state.mkdir(exist_ok=True)
        return earlier

    def resume(self, epoch: int) -> None:
        """The program says after which epoch it goes on; 0 for none.

        Raises:
            ScriptProtocolError: There is no such epoch, or some were reported before.
        """
        self.count.resume(epoch)
        self._replay()

    def end(self) -> None:
        """The program has reported its results; without any epoch before it has begun anew."""
        if not self.count.begun:
            self.resume(0)

    def _replay(self) -> None:
        """Reports the epochs of earlier attempts again that the program goes on from, once it is known that it does."""
        if self.history or not self.count.begun:
            return
        if self._earlier and self.count.resumed_from is None:
            note = f"started again: the command resumed none of the {len(self._earlier)} epochs of the attempts before"
            self._emit(events.CheckpointFailed(0, note))
        elif self.count.resumed_from is not None:
            self._emit(events.Resumed(self.count.resumed_from))
        self.history = self._earlier[: self.count.resumed_from or 0]
        self._earlier = []
        for epoch in self.history:
            self._emit(replace(epoch, replayed=True))
        if self.history:
            self.count.stage, self.count.stage_epoch = self.history[-1].stage, self.history[-1].stage_epoch
        if len(self.history) < self.count.last:
            self.count.stage_epoch += 1
            self.history.append(_row(self.count, EpochLine(), 0.0, 0, traced=True))
            note = "the state that the command went on from was saved, but this epoch was never reported"
            self._emit(events.CheckpointFailed(self.count.last, note))
            self._emit(self.history[-1])

    def add(self, line: EpochLine) -> None:
        """Takes in an epoch, keeps it, and passes it on.

        Raises:
            ScriptProtocolError: It cannot be.
            DivergedError: A loss is not finite; the epoch has been passed on.
        """
        self.count.begin(line)
        self._replay()
        is_first = len(self.history) == (self.count.resumed_from or 0)
        self.count.follow(line)
        if not len(self._dataset.validation) and (line.val_loss is not None or line.val_accuracy is not None):
            raise ScriptProtocolError(
                "epoch: expected no val_loss and val_accuracy, because this cell has no validation images"
            )
        now = perf_counter()
        seconds = now - self._epoch_began if line.seconds is None else line.seconds
        self._epoch_began = now
        traced = is_first or self.count.stage_epoch == 1
        row = _row(self.count, line, seconds, len(self._dataset.training), traced=traced)
        if not all(math.isfinite(loss) for loss in (row.train_loss, row.val_loss) if loss is not None):
            self._emit(row)
            raise DivergedError(row.epoch, 1)
        self.history.append(row)
        self._keep(row)
        self._emit(row)
        faults.point("epoch.sent")

    def _keep(self, row: events.EpochFinished) -> None:
        """Keeps the epochs on the disk, for the attempt after this one."""
        path = self._directory / layout.SCRIPT_EPOCHS
        is_first = len(self.history) == (self.count.resumed_from or 0) + 1
        begin = [json.dumps({"data_fingerprint": self._dataset.fingerprint}).encode() + b"\n"] if is_first else []
        try:
            with path.open("wb" if is_first else "ab") as file:
                file.writelines([*begin, *map(events.to_line, self.history if is_first else [row])])
        except OSError as error:
            self._emit(events.CheckpointFailed(row.epoch, f"{type(error).__name__}: {error}"))

    def forget(self) -> None:
        """Removes states and epochs: the cell is finished."""
        shutil.rmtree(self._directory / layout.SCRIPT_STATE, ignore_errors=True)
        (self._directory / layout.SCRIPT_EPOCHS).unlink(missing_ok=True)


def _epochs_in(path: Path) -> tuple[str | None, list[events.EpochFinished]]:
    """The fingerprint of the data, and the epochs that earlier attempts have reported, as far as the file is whole."""
    epochs: list[events.EpochFinished] = []
    try:
        first, *lines = path.read_bytes().splitlines()
        fingerprint = str(json.loads(first)["data_fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, []
    for line in lines:
        try:
            event = events.from_line(line)
        except events.ProtocolError:
            break
        if not isinstance(event, events.EpochFinished) or event.epoch != len(epochs) + 1:
            break
        epochs.append(event)
    return fingerprint, epochs


def _row(count: EpochCount, line: EpochLine, seconds: float, images: int, *, traced: bool) -> events.EpochFinished:
    return events.EpochFinished(
        stage=count.stage,
        epoch=count.last,
        stage_epoch=count.stage_epoch,
        train_accuracy=line.train_accuracy,
        train_loss=line.train_loss,
        val_accuracy=line.val_accuracy,
        val_loss=line.val_loss,
        learning_rate=line.learning_rate,
        seconds=seconds,
        input_seconds=0.0,
        step_seconds=seconds,
        validation_seconds=0.0,
        checkpoint_seconds=0.0,
        images_per_second=images / max(seconds, 1e-9),
        traced=traced,
        improved=True,
    )
