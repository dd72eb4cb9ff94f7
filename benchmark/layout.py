"""Where everything lies: the name of every file and folder that bench makes.

    matrix.toml                           the plan
    results.sqlite                        the database; SQLite keeps -wal and -shm beside it while it is open
    results.sqlite.lock                   held by the run that writes to it
    results.artifacts/                    what cells leave on the disk
      .made-by-bench                      which database the folder belongs to
      figures.json                        which figures were drawn of which cells
      stages/<key>/<circumstances>/       the end of a stage that several cells have: a state
      <cell_id>/<attempt_id>/
        log.txt, log.old.txt              the worker's output; its end alone when it is long
        state.npz, state.previous.npz     to go on from, until the cell is finished
        script/, state/, epochs.jsonl     of a command: what it is told, its own states, and the epochs that it told
        weights.npz                       the kept weights
        history.json                      all epochs
        predictions.npz, validation_predictions.npz    the answers to test and validation images, also in the database
        model.keras, model.weights.h5, architecture.json      what `save` asks for
        figures/explanation.npz           Grad-CAM maps
    $BENCH_CACHE/                         whatever can be made again
      prepared/<source>-<size>-<color>-<digest>/    train_images.npy … test_labels.npy; meta.json comes last
      features/<key>/                     features.npy, meta.json: what frozen layers made of images
      compiled/<processor>-<threads>/     programs of JAX
      in-use.lock                         held while a command uses the caches
      artifacts/<url>/                    copies of artifacts that lie below a URL, and pictures made of them
      scratch/<random>/                   what a run whose artifacts go to a URL is working at
      trials/                             <digest>.json: a measured trial; threads-<digest>.json: a choice of threads
      noise.json                          what `bench doctor --noise` has measured, by machine

A file that is being written is named by `files.appearing` instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MATRIX = "matrix.toml"
DATABASE = "results.sqlite"
REFERENCE = "reference.sqlite"
"""The reference results, in the package."""
DATABASE_ENDINGS = (".sqlite", ".sqlite3", ".db", ".db3")
TRUSTED_PLUGINS = "trusted.toml"

OWN_MARK = ".made-by-bench"
"""A file in every folder that bench makes where users may keep class folders; that of artifacts says which database it
belongs to, the others are empty."""

CELL_FOLDER = re.compile(r"[0-9a-f]{20}")
"""The name of the folder of a cell or of a stage."""
LOG, OLD_LOG = "log.txt", "log.old.txt"
"""A log that is full becomes the old one; `scheduling/processes/guardian.py` turns them by the same rule."""
STATE, PREVIOUS_STATE = "state.npz", "state.previous.npz"
SCRIPT, SCRIPT_STATE, SCRIPT_EPOCHS = "script", "state", "epochs.jsonl"
"""Of a command: what it is told and answers with, the folder for its own states, and the epochs that it told."""
SCRIPT_ARCHIVE = "script-state.zip"
"""States and epochs of a command in one file, where artifacts lie below a URL."""
SCRIPT_CELL, SCRIPT_EVENTS = "cell.json", "events"
"""In the first of these: what it is told, and the named pipe for its lines."""
WEIGHTS = "weights.npz"
HISTORY = "history.json"
PREDICTIONS = {
    "test": "predictions.npz",
    "validation": "validation_predictions.npz",
    "lockbox": "lockbox_predictions.npz",
}
"""By the images that were predicted."""
SAVED_NETWORKS = {"model": "model.keras", "h5": "model.weights.h5", "architecture": "architecture.json"}
"""By the word in the setting `save`."""
EXPLANATION = "figures/explanation.npz"
FIGURES = "figures.json"

META = "meta.json"
"""What is known of prepared arrays or features; written last, so that where it is the rest is whole."""
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
"""Of a prepared dataset, in the order of its fingerprint."""
FURTHER_ARRAYS = ("validation_images", "validation_labels", "train_groups", "test_groups")
"""Of some prepared datasets: the source's own validation split, and which group each image belongs to."""
COMPRESSED = {"facts": ".json", "places": ".places.npy", "paths": ".paths", "packed": ".packed"}
"""Endings of the files of images that stay compressed; see `images/compressed_images.py`."""
FEATURES = "features.npy"

EXECUTOR_LOG = "executor.log"
"""What the library of an engine (`--executor`) writes, of the last run."""

MLFLOW_STORE = "mlflow.db"
"""In the folder that `bench db export --to mlflow` makes."""

CACHE_LOCK = "in-use.lock"
"""Held by every command that uses the caches."""

CACHES = ("prepared", "features", "compiled", "artifacts", "scratch")
"""Folders of the cache that `bench gc --caches` may empty."""


def artifacts_folder(database: Path | None) -> Path:
    """The folder beside a database file; in the working directory for a database on a server."""
    return (database or Path(DATABASE)).with_suffix(".artifacts")


def lock_file(path: Path) -> Path:
    """The file that is locked by who writes to `path`, a file or a folder."""
    return path.with_name(f"{path.name}.lock")


def is_of_database(name: str) -> bool:
    """Whether a file of this name is a database, or kept beside one by SQLite or by us."""
    return name.endswith(tuple(base + more for base in DATABASE_ENDINGS for more in ("", "-wal", "-shm", ".lock")))


def attempt_folder(artifacts_root: Path, cell_id: str, attempt_id: int) -> Path:
    """The folder of one attempt's files."""
    return artifacts_root / cell_id / str(attempt_id)


def stages_folder(artifacts_root: Path) -> Path:
    """The folder of the states at the ends of stages that cells share."""
    return artifacts_root / "stages"


def executor_folder(artifacts_root: Path) -> Path:
    """Where an engine keeps files of its own, for this user alone."""
    return artifacts_root / "executor"


def arrays_in(directory: Path) -> tuple[str, ...]:
    """The names of the arrays of a prepared dataset, in the order of its fingerprint."""
    return (*ARRAYS, *(name for name in FURTHER_ARRAYS if any(array_files(directory, name))))


def array_files(directory: Path, name: str) -> list[Path]:
    """The files that hold an array: one, or those of images that stay compressed; none where it is not there."""
    parts = (compressed_file(directory, name, what) for what in COMPRESSED)
    return [file for file in (array_file(directory, name), *parts) if file.exists()]


def compressed_file(directory: Path, name: str, what: str) -> Path:
    """One of the files in the place of an array of images that stay compressed; `what` is a key of `COMPRESSED`."""
    return directory / f"{name}{COMPRESSED[what]}"


def array_file(directory: Path, name: str) -> Path:
    """The file of one of a prepared dataset's `ARRAYS`."""
    return directory / f"{name}.npy"


def prepared_folder(cache_root: str | os.PathLike[str]) -> Path:
    """The folder of all prepared datasets."""
    return Path(cache_root) / "prepared"


def copies_folder(cache_root: str | os.PathLike[str], digest: str) -> Path:
    """The folder of copies of the artifacts that lie below the URL of this digest."""
    return Path(cache_root) / "artifacts" / digest


def scratch_folder(cache_root: str | os.PathLike[str]) -> Path:
    """The folder of what runs work at whose artifacts go to a URL."""
    return Path(cache_root) / "scratch"


def features_folder(cache_root: str | os.PathLike[str]) -> Path:
    """The folder of what frozen layers made of images."""
    return Path(cache_root) / "features"


def compiled_folder(cache_root: str | os.PathLike[str]) -> Path:
    """The folder where JAX keeps what it has compiled, for other processes."""
    return Path(cache_root) / "compiled"


def noise_file(cache_root: Path) -> Path:
    """What is known of how far equal runs scatter, by machine."""
    return cache_root / "noise.json"


def trials_folder(cache_root: Path) -> Path:
    """The folder of measured trials and of choices of threads."""
    return cache_root / "trials"


def trial_file(cache_root: Path, digest: str) -> Path:
    """A measured trial."""
    return trials_folder(cache_root) / f"{digest}.json"


def threads_file(cache_root: Path, digest: str) -> Path:
    """A choice of threads; a digest of `*` stands for all."""
    return trials_folder(cache_root) / f"threads-{digest}.json"
