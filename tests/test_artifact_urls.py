"""Artifacts below a URL: what must hold of runs on one computer and on nodes, with a folder as `file://` and a stand-in for S3."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_workplace import Workplace
from simulated_cluster import Cluster, begun, stand_ins
from waiting import PATIENCE_SECONDS, wait_until

from benchmark.errors import BenchError
from benchmark.results.artifacts.artifact_store import ArtifactStore
from benchmark.results.artifacts.artifact_url import checked_url

pytest.importorskip("fsspec", reason="needs fsspec, which tensorflow-datasets brings")

MATRIX = """
[matrix]
name = "below a URL"
dataset = "digits"
model = "simple_cnn"
strategy = "short"
seed = [0, 1]
backend = "fake"

[strategy.short]
epochs = 4
"""

CHAINED = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["parent", "child"]
seed = [0, 1]
backend = "fake"

[strategy.parent]
epochs = 2

[strategy.child]
epochs = 3
weights = { dataset = "digits", strategy = "parent" }
"""


SHARING = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["short", "long"]
seed = 0
backend = "fake"

[[strategy.short.stage]]
epochs = 3
[[strategy.short.stage]]
epochs = 2

[[strategy.long.stage]]
epochs = 3
[[strategy.long.stage]]
epochs = 4
"""

SCRIPT = """
import time
from pathlib import Path

import numpy as np

from benchmark import cell

kept, gate = cell.state / "epoch.npy", Path("GATE")
done = int(np.load(kept)) if kept.exists() else 0
if done:
    cell.resume(done)
for epoch in range(done + 1, 6):
    while epoch == 4 and not gate.exists():
        time.sleep(0.05)
    np.save(kept, epoch)
    cell.epoch(val_accuracy=epoch / 10)
images, _ = cell.test
cell.finish(probabilities=np.full((len(images), 10), 0.1))
"""

SCRIPTED = """
[matrix]
dataset = "digits"
model = "own"
strategy = "scratch"
seed = 0

[model.own]
command = ["python", "own.py"]

[defaults]
epochs = 5
"""


@dataclass
class Bucket:
    """A place for artifacts, and the environment in which it is reached."""

    url: str
    variables: dict[str, str]

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.url)

    def names(self) -> set[str]:
        return {name for name in self.store.files() if not name.startswith(".")}


@pytest.fixture
def bucket(request, tmp_path, monkeypatch):
    kind = getattr(request, "param", "file")
    if kind == "file":
        return Bucket(f"file://{tmp_path / 'far' / 'away'}", {})
    variables = request.getfixturevalue("s3_server")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="results-of-tests")
    return Bucket(f"s3://results-of-tests/{tmp_path.name}", variables)


everywhere = pytest.mark.parametrize(
    "bucket", ["file", pytest.param("s3", marks=pytest.mark.exhaustive)], indirect=True
)
on_s3 = pytest.mark.parametrize("bucket", ["s3"], indirect=True)


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    made = Workplace(folder)
    made.write(MATRIX)
    return made


def elsewhere(place: Workplace, tmp_path: Path) -> Workplace:
    """Another folder and another cache, with the database alone."""
    other = Workplace(tmp_path / "elsewhere")
    other.directory.mkdir()
    shutil.copy(place.directory / "results.sqlite", other.directory)
    shutil.copy(place.directory / "matrix.toml", other.directory)
    return other


def rows(place: Workplace, question: str) -> list[tuple]:
    return [tuple(row.values()) for row in place.document("query", question)]


def digests(place: Workplace) -> dict[str, str]:
    return dict(rows(place, "SELECT cell_id, digest FROM results WHERE status = 'completed'"))


@everywhere
def test_a_run_leaves_its_files_there_alone_and_every_command_finds_them(place, bucket, tmp_path):
    done = place.run("run", "--artifacts", bucket.url)
    assert done.returncode == 0, done.stderr
    assert {Path(name).name for name in bucket.names()} >= {"weights.npz", "predictions.npz"}
    assert not any("state" in name for name in bucket.names())
    assert not (place.directory / "results.artifacts").exists()
    assert list((place.directory / "cache" / "scratch").iterdir()) == []
    other = elsewhere(place, tmp_path)
    assert other.call("db", "check").exit_code == 0
    (cell, *_) = digests(place)
    assert f"{bucket.url}/{cell}/" in other.call("show", cell, COLUMNS="300").stdout
    assert [cell["will_run"] for cell in other.document("plan")["cells"]] == [False, False]
    assert other.call("gc").exit_code == 0
    assert other.call("db", "merge", "all.sqlite", "results.sqlite").exit_code == 0
    assert other.call("db", "check", "--db", "all.sqlite").exit_code == 0
    lost = next(name for name in bucket.names() if name.startswith(cell) and name.endswith("weights.npz"))
    bucket.store.remove([lost])
    damaged = other.call("db", "check", COLUMNS="300")
    assert (damaged.exit_code, f"{bucket.url}/{lost}" in damaged.stdout) == (4, True)
    assert sum(cell["will_run"] for cell in other.document("plan")["cells"]) == 1


@pytest.mark.exhaustive
@everywhere
def test_a_run_that_was_killed_goes_on_from_the_states_that_are_there(place, bucket, tmp_path):
    assert place.run("run", "--db", "home.sqlite").returncode == 0
    gate = tmp_path / "gate"
    variables = {**place.environment, "BENCH_FAKE_GATE": f"3:{gate}"}
    run = subprocess.Popen(
        place.command("run", "--artifacts", bucket.url),
        cwd=place.directory,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: sum(name.endswith("state.npz") for name in bucket.names()) == 2)
    run.kill()
    run.wait()
    gate.touch()
    again = place.run("run")
    assert again.returncode == 0, again.stderr
    assert {number for (number,) in rows(place, "SELECT resumed_from_epoch FROM attempt WHERE number = 2")} <= {1, 2}
    assert len(rows(place, "SELECT 1 FROM attempt WHERE number = 2")) == 2
    home = place.document("query", "SELECT cell_id, digest FROM results", "--db", "home.sqlite")
    assert digests(place) == {row["cell_id"]: row["digest"] for row in home}
    assert not any("state" in name for name in bucket.names())


@pytest.mark.exhaustive
@pytest.mark.tf
@everywhere
def test_a_script_finds_the_states_that_it_had_saved_before_the_run_was_killed(place, bucket, tmp_path):
    gate = tmp_path / "gate"
    place.write(SCRIPT.replace("GATE", str(gate)), "own.py")
    place.write(SCRIPTED)
    run = subprocess.Popen(
        place.command("run", "--allow-plugins", "--artifacts", bucket.url),
        cwd=place.directory,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: any(name.endswith("script-state.zip") for name in bucket.names()))
    run.kill()
    run.wait()
    gate.touch()
    done = place.run("run", "--allow-plugins")
    assert done.returncode == 0, done.stderr
    (resumed,) = rows(place, "SELECT resumed_from_epoch FROM attempt WHERE number = 2")
    assert resumed[0] in {1, 2, 3}
    assert not any("state" in name for name in bucket.names())


@pytest.mark.exhaustive
@everywhere
def test_cells_begin_from_weights_that_an_earlier_run_has_left_there(place, bucket):
    place.write(CHAINED)
    assert place.run("run", "--artifacts", bucket.url, "--select", "strategy=parent").returncode == 0
    done = place.run("run")
    assert done.returncode == 0, done.stderr
    assert rows(place, "SELECT DISTINCT status FROM results") == [("completed",)]


@pytest.mark.exhaustive
def test_uploads_that_fail_are_tried_again_and_then_fail_their_attempt(place, bucket):
    done = place.run("run", "--artifacts", bucket.url, BENCH_FAULT="upload:2:raise:OSError")
    assert (done.returncode, len(digests(place))) == (0, 2), done.stderr
    place.write(MATRIX.replace("seed = [0, 1]", "seed = 2"))
    never = ",".join(f"upload:{number}:raise:OSError" for number in range(1, 200))
    done = place.run("run", BENCH_FAULT=never)
    assert done.returncode == 3
    assert f"artifact: {bucket.url}: " in done.stderr
    notes = rows(place, "SELECT detail FROM attempt WHERE state = 'failed'")
    assert "checkpoint_failed at epoch 4: epoch" in str(notes), notes
    assert place.run("run", "--retry-failed").returncode == 0
    assert len(digests(place)) == 3


@pytest.mark.exhaustive
def test_lost_rows_are_made_again_by_the_files_that_are_there(place, bucket):
    assert place.run("run", "--artifacts", bucket.url).returncode == 0
    cells = rows(place, "SELECT cell_id FROM execution ORDER BY execution_id")
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM execution")
        connection.execute("DELETE FROM artifact")
        connection.commit()
    saved = place.run("db", "salvage", "results.sqlite", "new.sqlite", "--format", "json")
    tables = {table["table"]: table["rebuilt"] for table in json.loads(saved.stdout)}
    assert tables["execution"] == len(cells), saved.stderr
    found = place.document("query", "SELECT cell_id FROM execution ORDER BY execution_id", "--db", "new.sqlite")
    assert [tuple(row.values()) for row in found] == cells
    # the place is remembered
    assert place.run("run", "--db", "new.sqlite").returncode == 0
    assert place.run("db", "check", "--db", "new.sqlite").returncode == 0


@pytest.mark.exhaustive
def test_two_databases_do_not_share_a_place(place, bucket):
    for name in ("one", "other"):
        assert place.call("run", "--db", f"{name}.sqlite", "--artifacts", bucket.url).exit_code == 0
    for name in ("one", "other"):
        assert place.call("db", "check", "--db", f"{name}.sqlite").exit_code == 0
    assert any(name.startswith("database-") for name in bucket.names())


REFUSED = [
    ("memory://here", "all processes"),
    ("http://example.org/results", "all processes"),
    ("s3://", "s3://bucket/folder"),
    ("s3://name:secret@bucket/folder", "without a password"),
    ("nonsense://bucket", "fsspec knows"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_what_is_no_place_for_artifacts_is_refused_with_the_cure(url, reason):
    with pytest.raises(BenchError, match=reason) as refused:
        checked_url(url)
    assert refused.value.exit_code == 2
    assert "secret" not in str(refused.value)


def test_what_cannot_be_written_is_said_before_anything_is_trained(place):
    done = place.call("run", "--artifacts", "file:///proc/none")
    assert (done.exit_code, "file:///proc/none: " in done.stderr) == (4, True), done.stderr
    assert "attempt" not in done.stderr


@pytest.mark.exhaustive
@on_s3
def test_a_missing_bucket_and_wrong_credentials_are_named_with_the_cure(place, bucket):
    done = place.run("run", "--artifacts", "s3://no-such-bucket/x", **bucket.variables)
    assert (done.returncode, "Make the bucket no-such-bucket" in done.stderr) == (4, True), done.stderr
    without = {**bucket.variables, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = place.run("run", "--artifacts", bucket.url, **without)
    assert (done.returncode, "credentials" in done.stderr) == (4, True), done.stderr


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
@everywhere
class TestOnNodes:
    @pytest.fixture
    def cluster(self, place, target, bucket):
        return Cluster(place, target, "simulated:2x1", bucket.variables)

    @pytest.mark.exhaustive
    def test_cells_of_a_lost_node_go_on_elsewhere_from_their_states(self, cluster, bucket, tmp_path):
        home = cluster.place.run("run", "--db", "home.sqlite")
        assert home.returncode == 0
        gate = tmp_path / "gate"
        run = cluster.start("--artifacts", bucket.url, BENCH_FAKE_GATE=f"3:{gate}")
        begun(cluster, 2)
        wait_until(lambda: sum(name.endswith("state.npz") for name in bucket.names()) == 2)
        stand_ins(cluster)[0].signal(signal.SIGKILL)
        wait_until(lambda: cluster.rows("SELECT 1 FROM node WHERE left_utc IS NOT NULL"))
        gate.touch()
        assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
        (resumed,) = cluster.rows("SELECT resumed_from_epoch FROM attempt WHERE number = 2")
        assert resumed[0] in {1, 2}
        digests = cluster.place.document("query", "SELECT cell_id, digest FROM results", "--db", "home.sqlite")
        assert cluster.digests() == {row["cell_id"]: row["digest"] for row in digests}
        assert cluster.rows("SELECT host, path FROM artifact_folder") == [("*", bucket.url)]
        assert cluster.place.call("db", "check", "--db", cluster.target).exit_code == 0
        assert "never-shown" not in cluster.log

    @pytest.mark.exhaustive
    def test_a_stage_that_cells_share_is_trained_once_for_all_nodes(self, cluster, bucket, tmp_path):
        cluster.place.write(SHARING)
        gate = tmp_path / "gate"
        run = cluster.start("--artifacts", bucket.url, BENCH_FAKE_GATE=f"5:{gate}")
        begun(cluster, 2)
        gate.touch()
        assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
        assert {node for (node,) in cluster.rows("SELECT node FROM attempt")} == {"node-1", "node-2"}
        assert cluster.rows("SELECT count(DISTINCT seconds) FROM epoch WHERE epoch <= 3") == [(3,)]
        assert not any(name.startswith("stages/") for name in bucket.names())

    @pytest.mark.exhaustive
    def test_children_begin_on_any_node_from_their_parents_weights(self, cluster, bucket):
        cluster.place.write(CHAINED)
        done = cluster.run("--artifacts", bucket.url, "--select", "strategy=parent")
        assert done.returncode == 0, done.stderr
        done = cluster.run()
        assert done.returncode == 0, done.stderr
        assert len(cluster.digests()) == 4
        assert {node for (node,) in cluster.rows("SELECT node FROM attempt")} == {"node-1", "node-2"}


@pytest.mark.exhaustive
@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
@on_s3
def test_jobs_of_submitit_give_the_numbers_of_one_computer_with_their_files_there(place, target, bucket):
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'benchmark-matrix[slurm]'")
    place.write(CHAINED)
    cluster = Cluster(place, target, "slurm:nodes=2,cpus=1", {**bucket.variables, "BENCH_SUBMITIT": "local"})
    done = cluster.run("--artifacts", bucket.url)
    assert done.returncode == 0, done.stderr
    assert place.run("run", "--db", "home.sqlite").returncode == 0
    at_home = place.document("query", "SELECT cell_id, digest FROM results", "--db", "home.sqlite")
    assert cluster.digests() == {row["cell_id"]: row["digest"] for row in at_home}
    assert {node for (node,) in cluster.rows("SELECT node FROM attempt")} == {"local-1", "local-2"}
    assert sum(name.endswith("weights.npz") or "weights" in name for name in bucket.names()) >= len(at_home)
    assert "never-shown" not in done.stderr
