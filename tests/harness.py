"""A `Run`: the real command line on a matrix of cells that train nothing, and what must be true after any fault."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scheduling_runs import Place
from waiting import wait_until

from benchmark.cli.main import bench
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind

ROOT = Path(__file__).resolve().parent.parent

MATRIX = """\
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = ["scratch"]
seed = [0, 1]
backend = "fake"

[[matrix.include]]
dataset = "digits"
strategy = "continued"
model = "simple_cnn"

[defaults]
epochs = 4

[strategy.continued]
weights = { dataset = "digits_low", strategy = "scratch" }
"""


class Run:
    """A folder with a matrix and its results. Every process that comes of it carries its mark in the environment."""

    def __init__(self, folder: Path, matrix: str = MATRIX) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.database = folder / "results.sqlite"
        # beside the folder, which some tests take away
        self._gate = folder.with_name(f"{folder.name}.gate")
        self._started: list[subprocess.Popen[str]] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "matrix.toml").write_text(matrix)

    # ---- starting

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        own = {"BENCH_TESTING": "1", "BENCH_RUN_MARK": self.mark, "BENCH_CACHE": str(self.folder / "cache")}
        return {**kept, **own, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmark", *(arguments or ("run", "--machine", "test"))]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def bench(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **extra)
        try:
            stdout, stderr = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def call(self, *arguments: str, **extra: str) -> Result:
        """The command line in this process, which saves the half second that one of its own takes to begin."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            return CliRunner(env=self.environment(**extra)).invoke(bench, arguments, prog_name="bench")

    def resume(self) -> int:
        """`bench run` once more, in this process to save the time; gives the exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment().items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            plan = load_matrix("matrix.toml", machine_kind=MachineKind(gpus=0, cores=2))
            place = Place(self.folder)
            return place.run(list(plan.cells)).exit_code

    def held(self, epoch: int = 3) -> dict[str, str]:
        """Variables with which no cell trains this epoch before `let_on`, or ever when it is asked to stop."""
        return {"BENCH_FAKE_GATE": f"{epoch}:{self._gate}"}

    def let_on(self) -> None:
        self._gate.touch()

    # ---- looking

    def rows(self, statement: str, *values: object) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(statement, values).fetchall()

    def wait_for(self, statement: str) -> None:
        """Waits until a statement on the database gives a first value that is true."""

        def holds() -> bool:
            with contextlib.suppress(sqlite3.OperationalError):
                return bool(self.rows(statement)[0][0])
            return False

        wait_until(holds, statement)

    def processes(self) -> list[int]:
        """Processes that carry the mark, zombies left out."""
        return processes_with(self.mark)

    def wait_until_alone(self) -> None:
        """Waits until no process of this run lives."""
        wait_until(lambda: not self.processes(), "no process of this run lives", pause_seconds=0.005)

    def kill_everything(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.returncode is None:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                stream.close()

    def epochs(self) -> dict[tuple, tuple]:
        """Every recorded epoch, without what a clock measured: its numbers must stay for ever."""
        if not self.database.exists() or not self.rows("select 1 from sqlite_schema where name = 'epoch'"):
            return {}
        columns = "execution_id, epoch, stage, stage_epoch, train_loss, train_accuracy, val_loss, val_accuracy"
        return {row[:2]: row[2:] for row in self.rows(f"select {columns} from epoch")}

    def digests(self) -> dict[str, str]:
        """Digest of the newest completed execution of each cell."""
        done = "select cell_id, digest from execution where status = 'completed' order by execution_id"
        return dict(self.rows(done))

    # ---- the invariants

    def check(self, clean: dict[str, str], before: dict[tuple, tuple] | None = None) -> None:
        """All that must hold after a fault and one more undisturbed run.

        I1 the file is sound, I2 no recorded epoch is lost or changed, I3 nothing counts as running, I4 nothing lives,
        I5 and I6 every cell is complete, with the digest of a run in which nothing happened.
        """
        assert self.rows("pragma quick_check") == [("ok",)]
        assert self.rows("pragma foreign_key_check") == []
        now = self.epochs()
        for key, numbers in (before or {}).items():
            assert now.get(key) == numbers, f"epoch {key} is lost or changed"
        assert self.rows("select count(*) from attempt where state = 'running'") == [(0,)]
        assert self.rows("select count(*) from execution where status = 'running'") == [(0,)]
        assert self.processes() == []
        assert self.digests() == clean
        doubled = "select 1 from epoch group by execution_id having count(*) != max(epoch) or min(epoch) != 1"
        assert self.rows(doubled) == []


def processes_with(mark: str) -> list[int]:
    """Other processes that have these words in their environment; zombies have none any more."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


@cache
def undisturbed() -> dict[str, str]:
    """The digests of `MATRIX` when nothing happens; computed once for all tests."""
    with tempfile.TemporaryDirectory() as folder, contextlib.contextmanager(running)(Path(folder)) as run:
        assert run.resume() == 0
        return run.digests()


def running(folder: Path, matrix: str = MATRIX) -> Iterator[Run]:
    """A run that leaves nothing alive behind, whatever the test did."""
    run = Run(folder, matrix)
    try:
        yield run
    finally:
        run.kill_everything()


def finish(run: Run, clean: dict[str, str]) -> None:
    """One more undisturbed run makes everything whole."""
    before = run.epochs()
    assert run.resume() == 0
    run.check(clean, before)
