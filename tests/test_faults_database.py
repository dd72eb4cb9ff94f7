"""Rows 20, 21, 24, 26, 27, 30 and 31: a database that is damaged, full, locked, read-only, or taken away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

import pytest
from harness import Run, finish, running, undisturbed
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place
from waiting import wait_until
from wal_damage import Casualty, wal_of

from benchmark.errors import DiskError, StorageError
from benchmark.results.store import engine
from benchmark.scheduling.loop import retrying_recorder

pytestmark = pytest.mark.slow

ENDLESS = {"BENCH_FAKE_EPOCH_SECONDS": "60"}
TRAINS = "select count(*) from attempt where state = 'running' and worker_pid is not null"
HAS_EPOCHS = "select count(*) > 1 from epoch"
CELLS = [fake_cell(seed=seed, epochs=6) for seed in range(3)]


@pytest.fixture(scope="module")
def clean():
    return undisturbed()


@pytest.fixture
def run(tmp_path):
    yield from running(tmp_path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    return Place(tmp_path)


# ---- 20, 21: what a power cut leaves


@pytest.fixture(scope="module")
def casualty(tmp_path_factory):
    """A run that was killed in the middle of its epochs."""
    with contextlib.contextmanager(running)(tmp_path_factory.mktemp("killed")) as run:
        done = run.bench(BENCH_FAULT="commit:8:kill9", BENCH_FAKE_EPOCH_SECONDS="0.06")
        assert done.returncode == -signal.SIGKILL
        return Casualty(run, tmp_path_factory.mktemp("scratch") / "copy")


def test_of_a_damaged_wal_the_first_transactions_survive_whole(casualty):
    assert len(casualty.commits) > 12
    random = Random(20)
    left = set()
    for _ in range(80):
        what, wal = casualty.damaged(random)
        try:
            left.add(casualty.survives(wal))
        except ValueError:
            pytest.fail(f"no state of the database that ever was: {what}")
    assert len(left) > 8


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (1, 2, 3))])
def test_after_a_damaged_wal_the_next_run_goes_on(casualty, clean, tmp_path, seed):
    _, wal = casualty.damaged(Random(seed))
    finish(casualty.revive(tmp_path, wal), clean)


def test_without_its_wal_the_database_is_older_says_so_and_the_run_goes_on(casualty, clean, tmp_path):
    run = casualty.revive(tmp_path, b"")
    done = run.call("run", "--machine", "test")
    assert done.exit_code == 0
    assert "its -wal file is missing" in done.stderr
    run.check(clean)


# ---- 24: a full disk


class Filler(Listener):
    """Lets the file grow no further once the first epoch is there; until then no cell goes beyond it."""

    def __init__(self, engine_of, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._engine_of = engine_of
        self._gate = place.folder / "gate"
        self._is_full = False
        monkeypatch.setenv("BENCH_FAKE_GATE", f"2:{self._gate}")

    def epoch(self, cell, event):
        if not self._is_full:
            self._is_full = True
            self.limit(0)
            self._gate.touch()

    def limit(self, more: int) -> None:
        with contextlib.closing(self._engine_of().raw_connection()) as connection:
            cursor = connection.cursor()
            pages = cursor.execute("PRAGMA page_count").fetchone()[0]
            cursor.execute(f"PRAGMA max_page_count = {pages + more}")


@pytest.fixture
def opened(monkeypatch):
    """The engine of the database that the run has opened."""
    from benchmark.results.store import database

    engines = []
    monkeypatch.setattr(
        database, "writing_engine", lambda *given: engines.append(engine.writing_engine(*given)) or engines[-1]
    )
    return lambda: engines[-1]


def test_a_disk_that_stays_full_ends_the_run_with_everything_recorded_there(place, opened, monkeypatch):
    undisturbed = Place(place.folder / "undisturbed")
    undisturbed.folder.mkdir()
    undisturbed.run(CELLS)
    monkeypatch.setattr(retrying_recorder, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")
    begun = time.monotonic()
    many = [*CELLS, *(fake_cell(seed=seed, epochs=200) for seed in range(10, 14))]
    with pytest.raises(DiskError, match=r"the disk is full\. Nothing that was recorded is lost"):
        place.run(many, Filler(opened, place, monkeypatch), jobs=2)
    assert time.monotonic() - begun > 1.0
    assert "trying again for 1 s" in place.listener.notes
    recorded = place.rows("select cell_id, epoch, epoch.train_loss from epoch join execution using (execution_id)")
    monkeypatch.delenv("BENCH_FAKE_EPOCH_SECONDS")
    assert place.run(CELLS).exit_code == 0
    assert place.digests() == undisturbed.digests()
    now = place.rows("select cell_id, epoch, epoch.train_loss from epoch join execution using (execution_id)")
    assert set(recorded) <= set(now)


def test_a_disk_that_gets_room_again_costs_a_pause_and_nothing_else(place, opened, monkeypatch):
    undisturbed = Place(place.folder / "undisturbed")
    undisturbed.folder.mkdir()
    undisturbed.run(CELLS)
    monkeypatch.setattr(retrying_recorder, "FIRST_PAUSE_SECONDS", 0.05)
    filler = Filler(opened, place, monkeypatch)
    filler.note = lambda text: (filler.told.append(("note", text)), "trying again" in text and filler.limit(10_000))
    assert place.run(CELLS, filler).exit_code == 0
    assert "the run continues" in filler.notes
    assert place.digests() == undisturbed.digests()
    assert place.rows("select count(*) from attempt") == [(len(CELLS),)]


def test_ctrl_c_does_not_wait_for_a_full_disk(place, opened, monkeypatch):
    monkeypatch.setattr(retrying_recorder, "PATIENCE_SECONDS", 600.0)
    filler = Filler(opened, place, monkeypatch)
    filler.note = lambda text: "trying again" in text and os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(DiskError):
        place.run([fake_cell(seed=seed, epochs=400) for seed in range(3)], filler)


# ---- 26: read-only places

NOBODY = 65534


@pytest.fixture
def public(clean):
    """A finished run in a folder that every user can enter and nobody else can write."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody who may not write")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with contextlib.contextmanager(running)(folder / "run") as run:
            assert run.resume() == 0
            for path in [run.folder, *run.folder.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
            yield run


def as_nobody(run: Run, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command line in a forked process without root's powers.

    Forked, because the interpreter need not be readable for others; so everything is imported before.
    """
    from benchmark.cli import main

    output = run.folder.parent / "output"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for stream in (1, 2):
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            os.chdir(run.folder)
            os.environ.clear()
            os.environ.update(run.environment(HOME="/nonexistent"))
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            for command in (["report", "--format", "csv"], ["run", "--db", "nowhere/results.sqlite"]):
                # as root first: what is imported then need not be read later
                with contextlib.suppress(SystemExit):
                    main.bench(command)
            os.ftruncate(1, 0)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            main.bench(list(arguments))
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001  the parent shows it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text(errors="replace").replace("\0", "")


@pytest.mark.parametrize(
    "writable", ["nothing", pytest.param("folder", marks=pytest.mark.exhaustive), "all but artifacts"]
)
def test_what_cannot_be_written_is_said_before_anything_is_trained_and_can_be_read(public, writable):
    if writable != "nothing":
        public.folder.chmod(0o777)
    if writable == "all but artifacts":
        for path in (public.database, public.database.with_name("results.sqlite.lock")):
            path.chmod(0o666)
    code, said = as_nobody(public, "run", "--machine", "test", "--set", "epochs=3")
    assert code == 4, said
    assert "Traceback" not in said
    assert ("a folder for artifacts" if writable == "all but artifacts" else "results.sqlite") in said
    assert public.rows("select count(*) from attempt") == [(4,)]
    code, said = as_nobody(public, "report", "--format", "csv")
    assert code == 0, said
    assert "simple_cnn" in said


# ---- 27: another program holds the write lock


def hold_lock(database: Path, seconds: float) -> subprocess.Popen[str]:
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60); "
        "c.execute('begin immediate'); print('held', flush=True); time.sleep(float(sys.argv[2])); c.execute('commit')"
    )
    command = [sys.executable, "-c", code, str(database), str(seconds)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_lock_for_three_seconds_costs_three_seconds_and_nothing_else(run, clean):
    process = run.start(**run.held())
    run.wait_for(HAS_EPOCHS)
    with hold_lock(run.database, 3.0) as holder:
        run.let_on()
        holder.wait()
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    run.check(clean)


def test_a_lock_that_is_kept_ends_the_run_and_names_who_holds_it(place, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.5)
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")
    holders = []

    class Locker(Listener):
        def epoch(self, cell, event):
            if not holders:
                holders.append(hold_lock(place.database, 600))

    try:
        with pytest.raises(StorageError, match="another program has kept it locked") as raised:
            place.run(CELLS, Locker())
        assert f"held by process {holders[0].pid} (" in str(raised.value)
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
    assert place.run(CELLS).exit_code == 0
    assert len(place.digests()) == len(CELLS)


def test_ctrl_c_is_heard_while_another_program_keeps_the_database_locked(run, clean):
    process = run.start(**run.held())
    run.wait_for(HAS_EPOCHS)
    before = run.epochs()
    with hold_lock(run.database, 600) as holder:
        run.let_on()
        # the workers say all that is to be recorded before they write this
        wait_until(lambda: list(run.folder.glob("results.artifacts/*/*/weights.npz")))
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        # half a minute is what a lock is waited for otherwise
        assert time.monotonic() - begun < 25, stderr
        holder.kill()
    assert process.returncode == 4, stderr
    assert "another program has kept it locked" in stderr
    assert run.resume() == 0
    run.check(clean, before)


# ---- 30: one file, several names


def test_one_file_by_another_name_is_refused(run):
    run.start(**ENDLESS)
    run.wait_for(TRAINS)
    (run.folder / "link.sqlite").symlink_to("results.sqlite")
    (run.folder / "elsewhere").symlink_to(run.folder)
    for name in ("link.sqlite", "./elsewhere/results.sqlite", str(run.database.resolve())):
        done = run.call("run", "--db", name)
        assert done.exit_code == 75, (name, done.stderr)


def test_one_file_by_a_hard_link_is_refused_while_a_run_writes_it(run, clean):
    process = run.start(**ENDLESS)
    run.wait_for(TRAINS)
    os.link(run.database, run.folder / "hard.sqlite")
    second = run.call("run", "--machine", "test", "--db", "hard.sqlite")
    assert second.exit_code == 75, second.stderr
    assert f"process {process.pid} (" in second.stderr
    process.kill()
    run.wait_until_alone()
    assert run.resume() == 0
    run.check(clean)


@pytest.mark.exhaustive  # a link and a hard link, above: both ways in which one file is told from another
def test_one_file_by_a_bind_mount_is_refused(run):
    elsewhere = run.folder / "elsewhere"
    elsewhere.mkdir()
    run.start(**ENDLESS)
    run.wait_for(TRAINS)
    command = f'mount --bind "{run.folder}" "{elsewhere}" && "$0" -m benchmark run --db elsewhere/results.sqlite'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", command, sys.executable],
        cwd=run.folder,
        env=run.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("needs a mount namespace")
    assert done.returncode == 75, done.stderr


# ---- 31: the file is taken away


@pytest.mark.parametrize(
    "how",
    [
        "deleted",
        pytest.param("replaced", marks=pytest.mark.exhaustive),
        pytest.param("without its wal", marks=pytest.mark.exhaustive),
        "with its folder",
    ],
)
def test_a_file_that_is_taken_away_stops_the_run_and_what_it_held_is_saved(run, clean, how, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    process = run.start(**run.held(), TMPDIR=str(elsewhere))
    run.wait_for(HAS_EPOCHS)
    before = run.epochs()
    if how == "deleted":
        run.database.unlink()
    elif how == "without its wal":
        wal_of(run.database).unlink()
    elif how == "with its folder":
        run.folder.rename(run.folder.with_name("elsewhere"))
    else:
        with contextlib.closing(sqlite3.connect(run.folder / "other.sqlite")) as other:
            other.execute("create table t(x)")
        (run.folder / "other.sqlite").replace(run.database)
    run.let_on()
    _, stderr = process.communicate()
    assert process.returncode == 4, stderr
    assert "deleted, renamed or replaced" in stderr
    assert run.processes() == []
    (saved,) = [*run.folder.glob("results.recovered-*.sqlite"), *elsewhere.glob("results.recovered-*.sqlite")]
    if how == "with its folder":
        run.folder.with_name("elsewhere").rename(run.folder)
    for path in (wal_of(run.database), run.database.with_name("results.sqlite-shm")):
        path.unlink(missing_ok=True)
    shutil.move(saved, run.database)
    assert set(before.items()) <= set(run.epochs().items())
    finish(run, clean)
