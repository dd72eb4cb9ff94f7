"""Hours of faults in minutes: `make soak`, or `python tests/soak.py --kills 50 --wals 40 --forks 0` for a taste;
`python tests/soak.py --cluster 15` for those of a cluster.

Kills the scheduler, the template, guardians and workers of real runs at seeded random moments, damages the `-wal` files
that killed runs leave, starts twenty runs at once on one database, and forks a thousand real TensorFlow cells of one
step from one template. Prints what was lost (a recorded epoch that is gone or changed), doubled (an epoch that stands
twice), and unresumed (a cell without the digest of a run in which nothing happened). All three must be zero.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

# benchmark reads it when it is imported
os.environ["BENCH_TESTING"] = "1"

from cluster_soak import soak_cluster  # noqa: E402
from harness import Run, running  # noqa: E402  run as a script, by name
from wal_damage import Casualty  # noqa: E402

KINDS = ("scheduler", "template", "guardian", "worker")
MATRIX = """\
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = ["scratch"]
seed = [0, 1, 2, 3]
backend = "fake"

[[matrix.include]]
dataset = "digits"
strategy = "continued"
model = "simple_cnn"

[defaults]
epochs = 6

[strategy.continued]
weights = { dataset = "digits_low", strategy = "scratch" }
"""
PACE = {"BENCH_FAKE_EPOCH_SECONDS": "0.05"}
COMMAND = ("run", "--machine", "test", "--retry-failed")
ONE_STEP = """\
[matrix]
dataset = "digits"
model = "tiny"
strategy = "scratch"
seed = [{seeds}]

[defaults]
epochs = 1
batch_size = 64
train_examples = 40
test_examples = 20

[model.tiny]
extends = "simple_cnn"
filters = [2]
dense_units = 4
"""


class Tally:
    """What all lanes have seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kills: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.dead_seconds: list[float] = []
        self.remarks: list[str] = []

    def blame(self, what: str, count: int, remark: str) -> None:
        if count:
            with self.lock:
                self.broken[what] += count
                self.remarks.append(f"{what}: {remark}")


def lane(folder: Path, kills: int, seed: int, clean: dict[str, str], tally: Tally) -> None:
    try:
        kill_again_and_again(folder, kills, seed, clean, tally)
    except Exception as error:  # noqa: BLE001  a lane that breaks is a finding
        tally.blame("unresumed", 1, f"{folder}: {error!r}")


def kill_again_and_again(folder: Path, kills: int, seed: int, clean: dict[str, str], tally: Tally) -> None:
    random, done, number = Random(seed), 0, 0
    while done < kills:
        number += 1
        with contextlib.contextmanager(running)(folder / str(number), MATRIX) as run:
            finished = False
            while done < kills and not finished:
                finished, struck = one_run(run, min(random.randint(1, 4), kills - done), random, tally)
                done += struck
            if not finished:
                tally.blame("unresumed", run.bench(*COMMAND, **PACE).returncode != 0, f"{run.folder}: the last run")
            judge(run, clean, tally)
        shutil.rmtree(folder / str(number))


def one_run(run: Run, kills: int, random: Random, tally: Tally) -> tuple[bool, int]:
    """One run with so many victims, unless it ends before: whether it finished all cells, and how many were killed."""
    process, struck = run.start(*COMMAND, **PACE), 0
    time.sleep(random.uniform(0.3, 0.8))
    for _ in range(kills):
        kind = random.choice(KINDS)
        victim = process.pid if kind == "scheduler" else find(run, kind, process)
        if victim is None or process.poll() is not None:
            break
        time.sleep(random.uniform(0.0, 0.15))
        before, begun = run.epochs(), time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            struck += 1
            with tally.lock:
                tally.kills[kind] += 1
        if kind == "scheduler":
            run.wait_until_alone()
            with tally.lock:
                tally.dead_seconds.append(time.monotonic() - begun)
        now = run.epochs()
        tally.blame("lost", sum(now.get(key) != row for key, row in before.items()), f"after the {kind} was killed")
    process.communicate(timeout=120)
    # 3: the same cell was struck more often than it is tried again
    tally.blame(
        "unresumed", process.returncode not in {0, 3, -signal.SIGKILL}, f"a run ended with {process.returncode}"
    )
    return process.returncode == 0, struck


def find(run: Run, kind: str, process: subprocess.Popen[str]) -> int | None:
    """A process of that kind; None when the run ends without one."""
    while process.poll() is None:
        with contextlib.suppress(sqlite3.Error, OSError):
            if kind == "template":
                found = [pid for pid in run.processes() if parent_of(pid) == process.pid and "template" in line(pid)]
            else:
                column = f"{kind}_pid"
                rows = run.rows(f"select {column} from attempt where state = 'running' and {column} is not null")
                found = [pid for (pid,) in rows]
            if found:
                return found[0]
        time.sleep(0.01)
    return None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def judge(run: Run, clean: dict[str, str], tally: Tally) -> None:
    digests = run.digests()
    tally.blame("unresumed", sum(digests.get(key) != value for key, value in clean.items()), f"{run.folder}")
    twice = "select 1 from epoch group by execution_id having count(*) != max(epoch) or min(epoch) != 1"
    tally.blame("doubled", len(run.rows(twice)), f"{run.folder}")
    left = run.rows("select count(*) from attempt where state = 'running'")[0][0]
    tally.blame("unresumed", left, f"{run.folder}: still counted as running")


def soak_kills(folder: Path, kills: int, lanes: int, seed: int, tally: Tally) -> None:
    with contextlib.contextmanager(running)(folder / "clean", MATRIX) as run:
        assert run.bench().returncode == 0
        clean = run.digests()
    shares = [kills // lanes + (number < kills % lanes) for number in range(lanes)]
    threads = [
        threading.Thread(target=lane, args=(folder / f"lane{number}", share, seed + number, clean, tally))
        for number, share in enumerate(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def soak_wals(folder: Path, count: int, seed: int, tally: Tally) -> tuple[int, int]:
    """Damages, and how many of them were followed by a whole run."""
    with contextlib.contextmanager(running)(folder / "clean") as run:
        assert run.bench().returncode == 0
        clean = run.digests()
    random, resumed = Random(seed), 0
    moments = (3, 6, 9, 12)
    for moment in moments:
        with contextlib.contextmanager(running)(folder / f"killed{moment}") as run:
            run.bench(BENCH_FAULT=f"commit:{moment}:kill9", BENCH_FAKE_EPOCH_SECONDS="0.06")
            casualty = Casualty(run, folder / "scratch")
            for number in range(count // len(moments)):
                what, wal = casualty.damaged(random)
                try:
                    casualty.survives(wal)
                except (ValueError, AssertionError):
                    tally.blame("lost", 1, f"no whole transactions are left: {what}")
                if number % 10 == 0:
                    revived = casualty.revive(folder / f"revived{moment}-{number}", wal)
                    tally.blame("unresumed", revived.resume() != 0 or revived.digests() != clean, what)
                    resumed += 1
                    shutil.rmtree(revived.folder)
    return count // len(moments) * len(moments), resumed


def soak_starts(folder: Path, count: int) -> int:
    """How many of `count` runs that start at once are refused."""
    with contextlib.contextmanager(running)(folder) as run:
        runs = [run.start(BENCH_FAKE_EPOCH_SECONDS="60") for _ in range(count)]
        while sum(process.poll() is None for process in runs) > 1:
            time.sleep(0.05)
        time.sleep(1.0)
        refused = sum(process.poll() == 75 for process in runs)
        for process in runs:
            process.terminate()
            process.communicate()
        return refused


def soak_stops(folder: Path, count: int, signals: int) -> list[float]:
    """Seconds from SIGTERM to the end of a run; with `signals=2` from the second one, to a worker that ignores it."""
    found = []
    for number in range(count):
        with contextlib.contextmanager(running)(folder / str(number), MATRIX) as run:
            extra = {"BENCH_FAULT": "batch:2:deaf"} if signals == 2 else {"BENCH_FAKE_EPOCH_SECONDS": "0.4"}
            process = run.start(**extra)
            run.wait_for("select count(*) from attempt where state = 'running' and worker_pid is not null")
            time.sleep(0.5)
            for _ in range(signals):
                begun = time.perf_counter()
                process.terminate()
                time.sleep(0.0 if signals == 1 else 0.2)
            process.communicate()
            found.append(time.perf_counter() - begun)
    return sorted(found)


def soak_forks(folder: Path, count: int, tally: Tally) -> tuple[float, int]:
    """Seconds for each cell, and by how much the scheduler's open files grew."""
    matrix = ONE_STEP.format(seeds=", ".join(map(str, range(count))))
    with contextlib.contextmanager(running)(folder, matrix) as run:
        begun, files = time.perf_counter(), []
        process = run.start("run", "--machine", "test", "-v", "--isolation", "fork")
        watcher = threading.Thread(target=watch, args=(process, files))
        watcher.start()
        _, stderr = process.communicate()
        watcher.join()
        seconds = time.perf_counter() - begun
        states = dict(run.rows("select isolation || ' ' || state, count(*) from attempt group by 1"))
        tally.blame("unresumed", states != {"fork completed": count}, f"{states}\n{stderr[-2000:]}")
        tally.blame("unresumed", "template process" in stderr, "a template died")
        return seconds / count, max(files[len(files) // 2 :], default=0) - max(files[: len(files) // 2], default=0)


def watch(process: subprocess.Popen[str], files: list[int]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError):
            files.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--wals", type=int, default=400)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--forks", type=int, default=1000)
    parser.add_argument("--cluster", type=float, default=0.0, metavar="MINUTES", help="faults on stand-in nodes, alone")
    parser.add_argument("--cells", type=int, default=150, help="in each round on stand-in nodes")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20)
    wanted = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        if wanted.cluster:
            counts, broken, cells = soak_cluster(folder, wanted.cluster, wanted.cells // 5, wanted.seed)
            print(f"{counts.total()} faults while {cells} cells were trained on nodes: {dict(counts)}")
            print("\n".join(broken or ["every cell was completed exactly once, with the digest of an undisturbed run"]))
            return int(bool(broken))
        if wanted.kills:
            begun = time.perf_counter()
            soak_kills(folder / "kills", wanted.kills, wanted.lanes, wanted.seed, tally)
            print(f"{tally.kills.total()} kills in {time.perf_counter() - begun:.0f} s: {dict(tally.kills)}")
            dead = sorted(tally.dead_seconds) or [0.0]
            print(
                f"all dead after the scheduler was killed: median {1000 * statistics.median(dead):.0f} ms, "
                f"95 % within {1000 * dead[int(0.95 * (len(dead) - 1))]:.0f} ms, at most {1000 * dead[-1]:.0f} ms"
            )
        if wanted.wals:
            damaged, resumed = soak_wals(folder / "wals", wanted.wals, wanted.seed, tally)
            print(f"{damaged} damaged -wal files, {resumed} of them followed by a run")
        if wanted.starts:
            refused = soak_starts(folder / "starts", wanted.starts + 1)
            tally.blame("unresumed", wanted.starts - refused, "second runs that were not refused")
            print(f"{refused} of {wanted.starts} second runs refused")
        for signals, what in ((1, "stopped by SIGTERM"), (2, "killed by a second SIGTERM")):
            if found := soak_stops(folder / f"stops{signals}", wanted.stops, signals):
                print(f"{what}: median {statistics.median(found):.2f} s, at most {found[-1]:.2f} s")
        if wanted.forks:
            seconds, grown = soak_forks(folder / "forks", wanted.forks, tally)
            print(
                f"{wanted.forks} forked TensorFlow cells, {seconds:.2f} s each; open files of the run grew by {grown}"
            )
    for remark in tally.remarks:
        print(remark)
    print(", ".join(f"{tally.broken[what]} {what}" for what in ("lost", "doubled", "unresumed")))
    return int(tally.broken.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
