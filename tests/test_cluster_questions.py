"""`--resolve`, `--retime` and `--prove-resume` with a cluster: asked on nodes, or refused with the cure."""

from __future__ import annotations

import json

import pytest
from cli_workplace import Workplace
from simulated_cluster import Cluster
from test_cli_resolve import MATRIX as RESOLVING
from test_cli_retime import MATRIX as RETIMING

from benchmark.results.store.database import open_database

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("target", ["postgresql"], indirect=True)]


@pytest.fixture
def cluster(tmp_path, target) -> Cluster:
    return Cluster(Workplace(tmp_path), target)


@pytest.mark.exhaustive
def test_seeds_are_added_on_nodes_until_it_is_decided_as_on_one_computer(cluster):
    cluster.place.write(RESOLVING)
    question = ("--resolve", "short,long", "--format", "json")
    expected = json.loads(cluster.place.run("run", *question, "--jobs", "4", "--db", "home.sqlite").stdout)
    options = ("--executor", cluster.engine, "--db", cluster.target, *question)
    planned = json.loads(cluster.place.run("plan", *options).stdout)
    assert len(planned["cells"]) == 2 * planned["resolve"]["pairs"]
    done = cluster.run(*question)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    assert len(cluster.digests()) == 2 * expected["n"]
    assert {node for (node,) in cluster.rows("SELECT node FROM attempt")} == {"node-1", "node-2"}
    again = cluster.run(*question)
    assert json.loads(again.stdout) == expected


@pytest.mark.exhaustive
def test_cells_are_timed_again_on_nodes_and_keep_their_numbers(cluster):
    cluster.place.write(RETIMING)
    assert cluster.run().returncode == 0
    with open_database(cluster.target, mode="write") as opened, opened.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE execution DISABLE TRIGGER USER")
        connection.exec_driver_sql("UPDATE execution SET timing_valid = execution_id <= 1, fit_seconds = 99")
        connection.exec_driver_sql("ALTER TABLE execution ENABLE TRIGGER USER")
    latest = "SELECT cell_id, test_accuracy, digest, execution_id FROM results WHERE is_latest = 1 ORDER BY cell_id"
    before = cluster.rows(latest)
    assert cluster.run("--retime", "--dry-run").returncode == 0
    done = cluster.run("--retime")
    assert done.returncode == 0, done.stderr
    assert "4 finished cells on tester, the timings of 3 do not count" in done.stderr
    assert "WARNING" not in done.stderr
    assert cluster.rows(latest) == before
    made = "SELECT count(*), max(neighbours) FROM execution JOIN attempt USING (execution_id) WHERE execution_id > 4"
    # the nodes are on one computer
    assert cluster.rows(made) == [(3, 0)]


def test_a_proof_of_resuming_is_refused_with_the_cure(cluster):
    cluster.place.write(RESOLVING)
    done = cluster.place.call(*cluster.arguments("--prove-resume", "strategy=short,seed=0"))
    assert done.exit_code == 2
    assert "--executor simulated:2x2: --prove-resume kills its cell on this computer" in done.stderr
    assert "leave --executor out" in done.stderr
