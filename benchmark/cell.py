"""For scripts that bench runs as a cell: what they are to do, and how they report what came of it.

    from benchmark import cell

    images, labels = cell.train                                     # uint8 [n, h, w, c], int64 [n]
    for number in range(cell.settings["epochs"]):
        ...
        cell.epoch(train_loss=loss, val_accuracy=accuracy)
    cell.finish(probabilities=model.predict_proba(cell.test[0]))    # [n_test, classes]

`settings` holds every setting of the cell and the keys of the model's definition. `train`, `validation` (None without any) and
`test` are pairs of memory-mapped images and their labels, where images stay compressed of an object that decodes those which it is
indexed with; `lockbox` has images alone, and is mostly None. `state` is a folder
that the next attempt finds again, should this one be killed. docs/script-cells.md has the whole story.

What is asked for is loaded when it is first asked for, so that importing this module takes no time. It needs NumPy alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import layout

settings: Mapping[str, Any]
train: tuple[Any, Any]
validation: tuple[Any, Any] | None
test: tuple[Any, Any]
lockbox: Any
state: Path
class_names: tuple[str, ...]
earlier_epochs: int

__all__ = [
    "class_names",
    "earlier_epochs",
    "epoch",
    "finish",
    "hugging_face_callback",
    "keras_callback",
    "lightning_callback",
    "lockbox",
    "progress",
    "resume",
    "settings",
    "state",
    "test",
    "train",
    "validation",
]

_CELL, _EVENTS = "BENCH_CELL", "BENCH_EVENTS"
_LOADED: dict[str, Any] = {}
_SPLITS = ("train", "validation", "test", "lockbox")


def __getattr__(name: str) -> Any:
    """What a script asks for, loaded once."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _LOADED:
        _LOADED[name] = _arrays(name) if name in _SPLITS else _value(name)
    return _LOADED[name]


def epoch(
    *,
    train_loss: float | None = None,
    train_accuracy: float | None = None,
    val_loss: float | None = None,
    val_accuracy: float | None = None,
    learning_rate: float | None = None,
    seconds: float | None = None,
    epoch: int | None = None,
    stage: int | None = None,
) -> None:
    """Reports that an epoch has ended; whatever is not known is left out.

    Args:
        train_loss: One that is not finite ends the cell as diverged.
        train_accuracy: A fraction 0..1.
        val_loss: As `train_loss`, on the validation images.
        val_accuracy: As `train_accuracy`.
        learning_rate: Of this epoch.
        seconds: How long it took; by default the time since the epoch before, or since the start of the script.
        epoch: Its number, from 1; by default the next one. A script that goes on from a state says with the first one where.
        stage: From 1, where the strategy has several.
    """
    values = {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
    }
    places = {"epoch": epoch, "stage": stage}
    _report("epoch", **values, learning_rate=learning_rate, seconds=seconds, **places)


def resume(epoch: int) -> None:
    """Reports that the script goes on after this epoch, with a state of its own; `earlier_epochs` have been reported before.

    Without it, and with 1 as the first epoch, the cell begins anew.
    """
    _report("resume", epoch=epoch)


def progress(batch: int = 0, batches: int = 0) -> None:
    """Gives a sign of life between epochs, as often as you like; at most five a second are passed on."""
    now = time.monotonic()
    if now - _LOADED.get("_progressed", 0.0) >= 0.2:
        _LOADED["_progressed"] = now
        _report("progress", batch=batch, batches=batches)


def finish(
    probabilities: Any,
    *,
    validation_probabilities: Any = None,
    lockbox_probabilities: Any = None,
    test_accuracy: float | None = None,
    best_epoch: int | None = None,
    parameters: int | None = None,
    trainable_parameters: int | None = None,
) -> None:
    """Reports the results: the last word of a script.

    Args:
        probabilities: For each test image, in the order of `test`, one for each class: `[n_test, classes]`. Bench counts
            all metrics of the test set from it.
        validation_probabilities: Likewise of `validation`.
        lockbox_probabilities: Likewise of `lockbox`.
        test_accuracy: As the script counts it, 0..1; bench compares it with its own.
        best_epoch: The epoch whose model has answered; by default the last one.
        parameters: How many the model has.
        trainable_parameters: How many of them were trained; by default all.
    """
    given = {
        "probabilities": probabilities,
        "validation_probabilities": validation_probabilities,
        "lockbox_probabilities": lockbox_probabilities,
    }
    files = {name: _written(name, rows) for name, rows in given.items() if rows is not None}
    counts = {"best_epoch": best_epoch, "parameters": parameters, "trainable_parameters": trainable_parameters}
    _report("finish", **files, test_accuracy=test_accuracy, **counts)


# ---- callbacks


def keras_callback() -> Any:
    """A callback for Keras's `fit` that reports every epoch."""
    from benchmark.cell_callbacks import keras_callback as made

    return made(_reports())


def lightning_callback() -> Any:
    """A callback for Lightning's `Trainer` that reports every epoch, from what the module logs.

    Logged as `train_loss`, `train_acc`, `val_loss`, `val_acc`, or with `accuracy` in the place of `acc`.
    """
    from benchmark.cell_callbacks import lightning_callback as made

    return made(_reports())


def hugging_face_callback() -> Any:
    """A callback for the `Trainer` of Hugging Face's Transformers that reports every epoch, with its evaluation."""
    from benchmark.cell_callbacks import hugging_face_callback as made

    return made(_reports())


def _reports() -> Any:
    from benchmark.cell_callbacks import Reports

    return Reports(epoch, progress, validates=__getattr__("validation") is not None)


# ---- the two files


def _record() -> dict[str, Any]:
    if "_record" not in _LOADED:
        path = os.environ.get(_CELL)
        if not path:
            raise RuntimeError(
                f"{_CELL} is not set: this script is started by `bench run`, as the command of a model; to try it by hand, set it to "
                "the cell.json of an attempt (results.artifacts/<cell>/<attempt>/script/cell.json)"
            )
        _LOADED["_record"] = json.loads(Path(path).read_text(encoding="utf-8"))
    record: dict[str, Any] = _LOADED["_record"]
    return record


def _value(name: str) -> Any:
    value = _record()[name]
    return {"state": Path, "class_names": tuple}.get(name, lambda plain: plain)(value)


def _arrays(name: str) -> Any:
    """Images and labels of a set; the lockbox has images alone. What a script changes in them it changes for itself."""
    import numpy as np

    files = _record()["arrays"][name]
    if files is None:
        return None
    indices = np.load(files["indices"])
    images = _stored_images(files)
    first = int(indices[0]) if len(indices) else 0
    if files["images"] is None:
        images = images.at(indices)
    elif len(indices) and int(indices[-1]) - first + 1 == len(indices) and (np.diff(indices) == 1).all():
        images = images[first : first + len(indices)]
    else:
        images = _picked(images, indices)
    return (images, np.load(files["labels"])) if "labels" in files else images


def _stored_images(files: Mapping[str, Any]) -> Any:
    """A whole prepared array: mapped into memory, or decoded where it is asked for."""
    import numpy as np

    if files["images"] is not None:
        return np.load(files["images"], mmap_mode="c")
    from benchmark.images.compressed_images import open_array

    facts = Path(files["compressed"]["facts"])
    return open_array(facts.parent, facts.name.removesuffix(layout.COMPRESSED["facts"]))


def _picked(images: Any, indices: Any) -> Any:
    """The chosen images, in a file without a name that memory is mapped to: they need not fit into memory."""
    import tempfile

    import numpy as np

    with tempfile.TemporaryFile(dir=_record()["folder"]) as file:
        picked = np.memmap(file, np.uint8, "w+", shape=(len(indices), *images.shape[1:]))
    np.take(images, indices, axis=0, out=picked, mode="clip")
    return picked


def _written(name: str, rows: Any) -> str:
    """Writes probabilities beside what the script was given; returns the path of the file."""
    import numpy as np

    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().float().numpy()
    file = layout.array_file(Path(_record()["folder"]), name)
    if _EVENTS in os.environ:
        np.save(file, np.asarray(rows, dtype=np.float32), allow_pickle=False)
    return str(file)


def _report(event: str, **values: Any) -> None:
    """Writes a line to bench, in one piece; nothing where the script runs by itself."""
    path = os.environ.get(_EVENTS)
    if not path:
        return
    plain = {name: _plain(value) for name, value in values.items() if value is not None}
    line = json.dumps({"event": event, **plain}).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    """A number of a library, such as NumPy's or a tensor's, as one of Python's."""
    return value.item() if hasattr(value, "item") else value
