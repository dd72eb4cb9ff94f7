"""Rows 7, 24, 66, 67, 68, 69, 70 and 77: machines that lack something, and templates that cannot be trusted."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from harness import Run, running, undisturbed
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place
from waiting import PATIENCE_SECONDS

from benchmark.catalog.cache import default_cache_root
from benchmark.errors import StorageError
from benchmark.scheduling.loop import retrying_recorder
from benchmark.status import Status

pytestmark = pytest.mark.slow


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


def shell(run: Run, words: str, *, without: tuple[str, ...] = (), **extra: str) -> subprocess.CompletedProcess[str]:
    """`bench` is the command line; root may make namespaces around it."""
    environment = {name: value for name, value in run.environment(**extra).items() if name not in without}
    script = f'bench() {{ "{sys.executable}" -m benchmark "$@"; }}; export -f bench; {words}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=run.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def in_namespace(run: Run, words: str, kind: str = "--mount") -> subprocess.CompletedProcess[str]:
    if shell(run, "unshare --mount --pid --fork true").returncode != 0:
        pytest.skip("needs namespaces")
    return shell(run, f"unshare {kind} bash -c '{words}'")


# ---- 67: what a shell may look like


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C", "NO_COLOR": "1"},
        pytest.param(
            {"LANG": "de_DE.ISO-8859-1", "LC_ALL": "", "PYTHONIOENCODING": "latin-1", "COLUMNS": "20", "TERM": "dumb"},
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["C", "latin1 and narrow"],
)
def test_a_run_and_its_report_in_any_shell(run, clean, environment):
    done = shell(run, "bench run --machine test && bench report", **environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if environment.get("LC_ALL") == "C":
        assert done.stdout.isascii()
        assert done.stderr.isascii()
    run.check(clean)


# ---- 68: limits


@pytest.mark.parametrize(
    ("words", "without"),
    [
        ("ulimit -n 64; umask 077; TMPDIR=/nonexistent bench run --machine test", ("HOME", "USER", "LOGNAME")),
        # as without HOME: what is not there cannot be the cache either way
        pytest.param("HOME=/nonexistent bench run --machine test", ("BENCH_CACHE",), marks=pytest.mark.exhaustive),
    ],
    ids=["64 descriptors and no HOME", "HOME that is not there"],
)
def test_a_run_in_a_poor_shell(run, clean, words, without):
    done = shell(run, words, without=without)
    assert done.returncode == 0, done.stderr
    run.check(clean)


@pytest.mark.exhaustive  # test_scheduling_loop.py
def test_too_few_descriptors_for_anything_end_with_a_message_and_cells_stay_pending(run, clean):
    done = shell(run, "ulimit -n 14; bench run --machine test")
    assert done.returncode in {0, 4}, done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 4:
        assert "ulimit -n" in done.stderr or "cannot be opened" in done.stderr
    assert run.resume() == 0
    run.check(clean)


@pytest.fixture
def public_run():
    """In a folder that every user reaches."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield from running(Path(name))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user whose processes are counted")
@pytest.mark.parametrize("limit", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_a_limit_on_processes_ends_the_run_with_the_cure_and_not_in_an_endless_wait(public_run, clean, limit):
    # a user whom nobody else is, who may still read what belongs to root
    somebody = f"setpriv --reuid {61000 + os.getpid() % 4000} --clear-groups"
    allowed = "--inh-caps=+dac_override --ambient-caps=+dac_override"
    command = f"{sys.executable} -m benchmark run --machine test"
    done = shell(public_run, f"{somebody} {allowed} bash -c 'ulimit -u {limit}; exec {command}'")
    assert done.returncode == 4, done.stderr
    assert "no worker process can be started" in done.stderr
    assert "ulimit -u" in done.stderr
    assert public_run.resume() == 0
    public_run.check(clean)


def test_a_full_folder_for_temporary_files(run, clean):
    words = "mkdir full; mount -t tmpfs -o size=4k none full; head -c 9k /dev/zero > full/x; "
    done = in_namespace(run, words + "TMPDIR=$PWD/full bench run --machine test --isolation spawn")
    assert done.returncode in {0, 4}, done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 4:
        assert "no worker process can be started" in done.stderr
    assert run.resume() == 0
    run.check(clean)


def test_no_descriptor_is_left_open_by_a_cell(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.001")
    counts = []

    class Counter(Listener):
        def cell_finished(self, cell, *_):
            counts.append(len(list(Path("/proc/self/fd").iterdir())))

    gc.collect()
    assert place.run([fake_cell(seed=seed, epochs=1) for seed in range(36)], Counter(), jobs=2).exit_code == 0
    # how far the other one has come makes a difference of a few; one for each cell would be 18
    assert max(counts[18:]) < max(counts[:18]) + 9


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody whom the system does not know")
def test_a_user_without_a_name_and_a_home_is_told_to_name_a_cache():
    assert default_cache_root()  # imports what this user may read and the other may not
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for name in ("HOME", "BENCH_CACHE", "XDG_CACHE_HOME"):
                os.environ.pop(name, None)
            os.setuid(54321)
            default_cache_root()
        except BaseException as error:  # noqa: BLE001  the parent shows it
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    assert said.startswith("UserError")
    assert "BENCH_CACHE" in said


# ---- 69: systems that lack something


def test_a_run_in_a_bare_system(public_run, clean):
    # tests may keep their own folders where this mounts another
    run = public_run
    words = "mount -t tmpfs none /proc; mount -t tmpfs -o size=4k,mode=000 none /dev/shm; bench run --machine test"
    done = in_namespace(run, words)
    assert done.returncode == 0, done.stderr
    run.check(clean)


def test_a_run_as_the_first_process_of_a_container(run, clean):
    words = f"exec {sys.executable} -m benchmark run --machine test"
    done = in_namespace(run, words, "--pid --fork --mount-proc")
    assert done.returncode == 0, done.stderr
    run.check(clean)


# ---- 24, 25: a file system that is really full


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode != 0:
        pytest.skip("needs to mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_file_system_ends_the_run_and_room_lets_the_next_one_go_on(small_disk, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")
    monkeypatch.setattr(retrying_recorder, "PATIENCE_SECONDS", 0.5)
    cells = [fake_cell(seed=seed, epochs=9) for seed in range(3)]
    place = Place(small_disk)

    class Filler(Listener):
        def epoch(self, cell, event):
            if event.epoch >= 5:
                with contextlib.suppress(OSError), (small_disk / "filler").open("ab", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass

    with pytest.raises(StorageError, match=r"the disk (is full|gave an error)"):
        place.run(cells, Filler())
    (small_disk / "filler").unlink()
    before = set(place.rows("select cell_id, epoch, epoch.train_loss from epoch join execution using (execution_id)"))
    assert before
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert place.run(cells).exit_code == 0
    now = place.rows("select cell_id, epoch, epoch.train_loss from epoch join execution using (execution_id)")
    assert before <= set(now)
    undisturbed = Place(tmp_path)
    undisturbed.run(cells)
    assert place.digests() == undisturbed.digests()


LIMITED = """
import os, resource, sys
from pathlib import Path
from scheduling_plans import fake_cell
from scheduling_runs import Listener, Place
from benchmark.scheduling.loop import retrying_recorder
retrying_recorder.PATIENCE_SECONDS = 0.5
place = Place(Path(sys.argv[1]))
gate = Path(os.environ["BENCH_FAKE_GATE"][2:])
class Limit(Listener):
    def epoch(self, cell, event):
        if not gate.exists():
            size = Path(f"{place.database}-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            gate.touch()
cells = [fake_cell(seed=seed, epochs=6) for seed in range(2)]
try:
    print(place.run(cells, Limit()).counts)
except Exception as error:
    print(type(error).__name__, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*place.run(cells).counts.items())
"""


def test_a_limit_on_the_size_of_files_is_a_disk_error(tmp_path):
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}", "BENCH_TESTING": "1"}
    environment["BENCH_FAKE_GATE"] = f"2:{tmp_path / 'gate'}"
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    limited, free = done.stdout.splitlines()
    assert limited.startswith("DiskError"), done.stderr
    assert free == str((Status.COMPLETED, 2))


# ---- 7: the kernel's killer


@pytest.fixture
def tight_group():
    """A control group with 300 MiB, v1 or v2."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"bench-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(300 << 20))
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("needs a control group of its own")


def test_a_worker_that_the_kernel_kills_for_memory_is_oom_and_the_others_go_on(run, clean, tight_group):
    words = f"echo $BASHPID > {tight_group}/cgroup.procs; exec {sys.executable} -m benchmark run --machine test"
    done = shell(run, f"({words} --jobs 1)", BENCH_FAULT="batch:6:gorge", BENCH_FAULT_MARK=str(run.folder / "struck"))
    assert done.returncode == 0, done.stderr
    ((state, detail),) = run.rows("select state, detail from attempt where state != 'completed'")
    assert (state, detail) == ("oom", "killed by the kernel, which ran out of memory")
    run.check(clean)


# ---- 66, 77: templates


def library(run: Run, name: str, text: str) -> str:
    """A module that every process of the run finds first; returns the PYTHONPATH."""
    folder = run.folder / "library"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return os.pathsep.join([run.environment()["PYTHONPATH"], str(folder)])


IN_TEMPLATE = "import sys\nif 'benchmark.scheduling.processes.template_process' in sys.orig_argv:\n    "


@pytest.mark.parametrize(
    ("leaves", "said"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "a thread"),
        # what is objected to: test_scheduling_fork_safety.py
        pytest.param(
            "import sqlite3; kept = sqlite3.connect('/tmp/x.sqlite'); kept.execute('pragma user_version')",
            "it holds",
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["thread", "database"],
)
def test_a_template_that_is_not_clean_is_not_forked(run, clean, leaves, said):
    leaves = leaves.replace("/tmp/x.sqlite", str(run.folder / "other.sqlite"))
    path = library(run, "sitecustomize.py", IN_TEMPLATE + leaves)
    done = run.bench("run", "--machine", "test", "-v", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"the template process is unfit: {said}", done.stderr)
    assert run.rows("select distinct isolation from attempt") == [("spawn",)]
    run.check(clean)


BROKEN = """\
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1]

[defaults]
epochs = 1
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ImportError('libcudart.so: cannot open shared object file')", "libcudart.so"),
        pytest.param("__version__ = '0.1'", "tensorflow", marks=pytest.mark.exhaustive),
    ],
    ids=["broken", "mismatched"],
)
def test_a_broken_tensorflow_is_said_and_every_cell_says_it(tmp_path, text, said):
    with contextlib.contextmanager(running)(tmp_path, BROKEN) as run:
        path = library(run, "tensorflow.py", text)
        done = run.bench("run", "--machine", "test", PYTHONPATH=path)
        assert done.returncode == 3, done.stderr
        assert "the template process is unfit: its imports failed" in done.stderr
        assert said in done.stderr
        causes = run.rows("select status, cause, detail from execution")
        assert {row[:2] for row in causes} == {("failed", "failed")}
        assert all(said in detail for *_, detail in causes)
        shown = run.call("show", run.rows("select cell_id from cell")[0][0])
        assert said in shown.stdout


def test_libraries_that_are_upgraded_in_mid_run_are_said_and_the_template_imports_the_new_ones(place, monkeypatch):
    installed = {"keras": "3.13"}
    monkeypatch.setattr("benchmark.scheduling.processes.template.installed_versions", lambda _: dict(installed))
    monkeypatch.setattr("benchmark.scheduling.processes.launcher.installed_versions", lambda _: dict(installed))

    class Upgrade(Listener):
        def cell_finished(self, *_):
            installed["keras"] = "3.14"

    monkeypatch.setattr("benchmark.scheduling.loop.loop.IDLE_SECONDS", PATIENCE_SECONDS)
    listener, began = Upgrade(), time.monotonic()
    assert place.run([fake_cell(seed=seed) for seed in range(3)], listener, jobs=1).counts == {"completed": 3}
    assert (
        time.monotonic() - began < PATIENCE_SECONDS
    )  # the new template is started at once, and not when the loop next looks up
    assert listener.notes.count("installed libraries have changed during this run (keras 3.14)") == 1
    assert "died" not in listener.notes
    assert place.rows("select distinct isolation from attempt") == [("fork",)]


# ---- 70: other programs


def test_what_other_programs_do_meanwhile_is_recorded_and_their_timings_do_not_count(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.2")
    burn = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        assert place.run([fake_cell(epochs=5)]).exit_code == 0
    finally:
        for process in burn:
            process.kill()
            process.wait()
    assert place.rows("select disturbed, timing_valid from attempt join execution using (execution_id)") == [(1, 0)]
