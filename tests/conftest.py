"""What every test starts from: neither the terminal nor the shell of whoever runs them is part of it."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from results_targets import database, fresh_file, server, target  # noqa: F401  fixtures for all
from s3_standin import s3_server  # noqa: F401

STARTS_PROCESSES = re.compile(
    r"^(from|import) (subprocess|harness|scheduling_runs|cli_workplace|training_nursery|multiprocessing)\b",
    re.MULTILINE,
)

WHOLLY_TENSORFLOW = re.compile(r"^pytestmark = .*\bmark\.tf\b", re.MULTILINE)

for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "BENCH_DB", "BENCH_MACHINE"):
    os.environ.pop(name, None)

# benchmark reads it when it is imported: the backend and the fault actions of tests are known here and in every process
os.environ["BENCH_TESTING"] = "1"

# the same examples in every `make test`, so that it fails for a change and not by chance; `make test-all` draws new ones,
# and many more; no example is timed: that would fail for what else the machine does
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("varied", deadline=None, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

MEMORY = Path("/dev/shm")


def has_room_for_tests(folder: Path) -> bool:
    """Whether a folder is kept in memory, may hold programs, and has 4 GiB left: containers often give it 64 MiB."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    there = os.statvfs(folder)
    return not there.f_flag & os.ST_NOEXEC and there.f_bavail * there.f_frsize >= 4 << 30


# every database of the tests is written through to its disk, commit by commit, which for nobody here is worth the wait
if has_room_for_tests(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# under nohup SIGHUP is ignored, and so would the commands under test, rightly
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Lets tests see two processors, and each worker of pytest-xdist two others where there are more.

    How many cells run at once follows from that, and nothing that a test expects may depend on the machine.
    """
    worker = getattr(config, "workerinput", {}).get("workerid", "gw0")
    hands_out = config.getoption("numprocesses", default=None) and not hasattr(config, "workerinput")
    if not hands_out and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        first = 2 * int(worker.removeprefix("gw")) % max(1, len(cores) - 1)
        os.sched_setaffinity(0, cores[first : first + 2])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spares `make test-fast` the import of modules that it leaves out whole: Keras alone takes seconds."""
    if collection_path.suffix != ".py" or "not (tf or " not in config.getoption("markexpr"):
        return None
    return WHOLLY_TENSORFLOW.search(collection_path.read_text()) is not None or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Keeps the garbage collector away from what is collected, which stays to the end and is a great deal; it comes seldom."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests whose module starts real processes, so that `make test-fast` can leave them out.

    The modules that take longest come first, so that all workers of pytest-xdist end at about the same time.
    """
    starts: dict[Path, bool] = {}
    for item in items:
        if item.path not in starts:
            starts[item.path] = STARTS_PROCESSES.search(item.path.read_text()) is not None
        if starts[item.path]:
            item.add_marker("process")
    trains = {item.path for item in items if item.get_closest_marker("tf")}
    items.sort(key=lambda item: (item.path not in trains, not starts[item.path]))
