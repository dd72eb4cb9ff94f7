"""Runs on many nodes: what must hold, seen from the command line, with stand-in nodes on this computer and a real server."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from cli_workplace import Workplace
from simulated_cluster import Cluster, begun, digests_at_home, stand_ins
from waiting import PATIENCE_SECONDS, wait_until

MATRIX = """
[matrix]
name = "on nodes"
dataset = "digits"
model = "simple_cnn"
strategy = ["short", "long"]
seed = [0, 1, 2]
backend = "fake"

[strategy.short]
epochs = 3

[strategy.long]
extends = "short"
epochs = 6
"""

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("target", ["postgresql"], indirect=True)]


@pytest.fixture
def cluster(tmp_path, target):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return Cluster(place, target)


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The digests of the same cells, run on one computer."""
    return digests_at_home(tmp_path_factory.mktemp("home"), MATRIX)


def test_cells_on_nodes_give_the_numbers_of_one_computer_to_the_bit(cluster, at_home):
    done = cluster.run("--name", "first")
    assert done.returncode == 0, done.stderr
    assert cluster.digests() == at_home
    nodes = Counter(node for (node,) in cluster.rows("SELECT node FROM results"))
    assert set(nodes) == {"node-1", "node-2"}
    assert cluster.rows("SELECT count(*) FROM attempt WHERE lease_until_utc IS NULL OR fence IS NULL") == [(0,)]
    assert cluster.rows("SELECT executor FROM run") == [("simulated",)]
    assert cluster.run().returncode == 0
    assert cluster.digests() == at_home


def test_cells_of_a_node_that_dies_go_on_elsewhere_long_before_its_lease_is_over(cluster, at_home, tmp_path):
    gate = tmp_path / "gate"
    # the lease is longer than a test waits: it is not by this that the end of the node is noticed
    run = cluster.start("--lease", "600s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    stand_ins(cluster)[0].signal(signal.SIGKILL)
    wait_until(lambda: cluster.rows("SELECT 1 FROM node WHERE left_utc IS NOT NULL"))
    gate.touch()
    wait_until(lambda: cluster.rows("SELECT 1 FROM attempt WHERE number = 2"))
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert cluster.digests() == at_home
    assert "is lost" in cluster.log
    assert cluster.rows("SELECT count(*) FROM attempt WHERE state = 'abandoned'") == [(2,)]


@pytest.mark.exhaustive
def test_a_node_that_hangs_loses_its_cells_and_writes_nothing_when_it_wakes(cluster, at_home, tmp_path):
    gate = tmp_path / "gate"
    run = cluster.start("--lease", "2s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    hung = stand_ins(cluster)[0]
    hung.signal(signal.SIGSTOP)
    wait_until(lambda: cluster.rows("SELECT 1 FROM node WHERE left_utc IS NOT NULL"))
    gate.touch()
    wait_until(lambda: len(cluster.digests()) == len(at_home))
    before = cluster.rows("SELECT * FROM attempt ORDER BY attempt_id"), cluster.rows("SELECT * FROM epoch")
    hung.signal(signal.SIGCONT)
    wait_until(lambda: hung.agent not in cluster.processes())
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert (cluster.rows("SELECT * FROM attempt ORDER BY attempt_id"), cluster.rows("SELECT * FROM epoch")) == before
    assert cluster.digests() == at_home


def test_when_the_run_is_killed_its_agents_end_and_the_next_run_goes_on(cluster, at_home, tmp_path):
    gate = tmp_path / "gate"
    run = cluster.start("--lease", "600s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    run.kill()
    run.wait()
    wait_until(lambda: not cluster.processes())
    gate.touch()
    assert cluster.run().returncode == 0
    assert cluster.digests() == at_home
    resumed = cluster.rows("SELECT count(*) FROM attempt WHERE resumed_from_epoch = 1")
    assert resumed == [(4,)]


@pytest.mark.exhaustive
def test_ctrl_c_saves_states_on_all_nodes_and_ends_all_agents(cluster, at_home, tmp_path):
    gate = tmp_path / "gate"
    run = cluster.start(BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    run.send_signal(signal.SIGINT)
    assert run.wait(PATIENCE_SECONDS) == 130, cluster.log
    assert not cluster.processes()
    assert cluster.rows("SELECT DISTINCT state FROM attempt") == [("interrupted",)]
    gate.touch()
    assert cluster.run().returncode == 0
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM attempt WHERE resumed_from_epoch = 1") == [(4,)]


@pytest.mark.exhaustive
def test_a_second_run_of_the_database_is_refused_at_once(cluster, tmp_path):
    gate = tmp_path / "gate"
    run = cluster.start(BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 1)
    second = cluster.run()
    assert second.returncode == 75
    assert "another bench run" in second.stderr
    gate.touch()
    assert run.wait(PATIENCE_SECONDS) == 0


def test_a_file_as_database_is_refused_before_anything_is_started(tmp_path, target):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    done = place.run("run", "--executor", "simulated:2x2")
    assert (done.returncode, "PostgreSQL" in done.stderr) == (2, True)
    assert not (tmp_path / "results.sqlite").exists()


@pytest.mark.exhaustive
def test_cells_that_no_node_can_run_are_left_out_with_the_reason(cluster):
    cluster.place.write(MATRIX.replace("seed = [0, 1, 2]", 'seed = 0\ndevice = ["cpu", "gpu"]'))
    done = cluster.run()
    assert done.returncode == 0, done.stderr
    assert "2 left out" in done.stderr
    none = cluster.run("--select", "device=gpu")
    assert (none.returncode, "GPU" in none.stderr) == (2, True)


@pytest.mark.exhaustive
def test_gpus_of_nodes_are_used_though_this_computer_has_none(cluster):
    cluster.place.write(MATRIX.replace("seed = [0, 1, 2]", 'seed = [0, 1, 2]\ndevice = "gpu"'))
    cluster.engine = "simulated:2x2x1"
    done = cluster.run()
    assert done.returncode == 0, done.stderr
    assert cluster.rows("SELECT DISTINCT gpu FROM attempt") == [(0,)]


@pytest.mark.exhaustive
def test_a_plan_forecasts_with_the_nodes_that_are_there_and_places_nothing(cluster):
    cluster.place.write(MATRIX.replace("seed = [0, 1, 2]", 'seed = [0, 1, 2]\ndevice = ["cpu", "gpu"]'))

    def forecast(nodes):
        options = ("--executor", f"simulated:{nodes}", "--db", cluster.target, "--format", "json")
        return cluster.place.document(*("plan", *options[:-2]))

    assert cluster.run("--select", "device=cpu").returncode == 0
    plan = forecast("3x4")
    assert (len(plan["cells"]), len(plan["left_out"])) == (6, 6)
    assert forecast("1x1x1")["left_out"] == []
    assert forecast("3x4x1")["forecast"]["jobs"] > forecast("1x1x1")["forecast"]["jobs"]
    assert cluster.rows("SELECT count(*) FROM run") == [(1,)]


@pytest.mark.exhaustive
def test_a_run_takes_what_fits_into_a_budget_on_the_nodes(cluster):
    assert cluster.run("--select", "seed=0").returncode == 0
    done = cluster.run("--budget", "1h")
    assert done.returncode == 0, done.stderr
    assert len(cluster.digests()) == 6
