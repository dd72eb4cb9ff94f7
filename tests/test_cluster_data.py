"""Data on many nodes: prepared once on each computer, and the same everywhere, or refused with both fingerprints."""

from __future__ import annotations

import pytest
from cli_workplace import Workplace
from scheduling_plans import fake_cell
from simulated_cluster import Cluster, begun
from waiting import wait_until

from benchmark.scheduling.cluster.messages import Settled, run_cell
from benchmark.scheduling.cluster.ordered_cells import OrderedCells
from benchmark.scheduling.decisions.cell_decisions import Beginning
from benchmark.status import Cause

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "short"
seed = [0, 1]
backend = "{backend}"

[strategy.short]
epochs = {epochs}
"""

on_a_server = pytest.mark.parametrize("target", ["postgresql"], indirect=True)


@pytest.mark.parametrize(("prepared", "is_refused"), [("theirs", False), ("others", True), (None, False)])
def test_a_node_whose_prepared_data_differ_does_not_begin_the_cell(tmp_path, prepared, is_refused):
    cell = fake_cell()
    said = []
    cells = OrderedCells(said.append, tmp_path, lambda _: prepared)
    cells.add(run_cell(cell.to_dict(), Beginning(fresh=False), "theirs", tmp_path))
    assert (cells.next(lambda _: True, lambda _: "a core") is None) == is_refused
    if is_refused:
        (settled,) = said
        assert isinstance(settled, Settled)
        assert settled.state == Cause.DATA_ERROR
        assert "expected the fingerprint theirs, found others" in str(settled.detail)


@pytest.mark.exhaustive
@pytest.mark.postgres
@on_a_server
def test_a_node_that_finds_other_data_under_the_same_name_has_its_cell_refused(tmp_path, target):
    place = Workplace(tmp_path)
    place.write(MATRIX.format(backend="fake", epochs=3))
    cluster = Cluster(place, target, "simulated:2x1")
    gate = tmp_path / "gate"
    variables = {"BENCH_FAKE_OTHER_DATA": str(tmp_path / "other"), "BENCH_FAKE_GATE": f"2:{gate}"}
    run = cluster.start(**variables)
    begun(cluster, 1)
    wait_until(lambda: cluster.rows("SELECT 1 FROM results WHERE cause = 'data_error'"))
    gate.touch()
    assert run.wait(120) == 3
    (row,) = cluster.rows("SELECT detail FROM execution WHERE status = 'failed'")
    assert "the data are not the same on all nodes" in row[0]
    assert {"fake", "other"} <= set(row[0].replace(",", " ").replace(".", " ").split())


@pytest.mark.exhaustive
@pytest.mark.tf
@pytest.mark.postgres
@on_a_server
def test_agents_on_one_computer_prepare_what_they_share_once(tmp_path, target):
    place = Workplace(tmp_path)
    place.write(MATRIX.format(backend="tensorflow", epochs=1))
    cluster = Cluster(place, target, "simulated:2x1")
    done = cluster.run()
    assert done.returncode == 0, done.stderr
    assert {node for (node,) in cluster.rows("SELECT node FROM attempt")} == {"node-1", "node-2"}
    (folder,) = [each for each in (tmp_path / "cache" / "prepared").iterdir() if each.is_dir() and each.name[0] != "."]
    assert (folder / "meta.json").stat().st_mtime_ns >= (folder / "train_images.npy").stat().st_mtime_ns
    assert len(cluster.rows("SELECT DISTINCT data_fingerprint FROM execution")) == 1
