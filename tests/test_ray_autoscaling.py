"""`bench run` on a Ray cluster that begins with one node: its autoscaler, whose nodes are on this computer, adds another."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa
from cli_workplace import Workplace
from ray_cluster import HEAD, RayCluster
from server_proxy import Proxy
from simulated_cluster import CHAINED, Cluster, begun, digests_at_home
from waiting import wait_until

pytest.importorskip("ray", reason="ray is not installed: pip install 'benchmark-matrix[ray]'")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.postgres,
    pytest.mark.exhaustive,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("target", ["postgresql"], indirect=True),
]

HEAD_ID = "f" * 51 + "00000"
"""What the stand-in for a cloud calls the head."""

ASKED = """
import sys
import ray
from ray.experimental.internal_kv import _internal_kv_get
ray.init(address=sys.argv[1], log_to_driver=False, _node_ip_address=sys.argv[1].partition(":")[0])
print((_internal_kv_get("autoscaler_resource_request") or b"[]").decode())
"""


def configuration(cluster: RayCluster) -> dict:
    """Ray's own stand-in for a cloud, of which every node is a process here."""
    return {
        "cluster_name": "here",
        "max_workers": 1,  # Ray's stand-in cannot start two at once: they choose the same names of sockets
        "idle_timeout_minutes": 60,
        "upscaling_speed": 10,
        "provider": {"type": "fake_multinode", "gcs_address": f"{HEAD}:{cluster.port}"},
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 2, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 1,
            },
        },
        **{part: {} for part in ("docker", "auth", "file_mounts")},
        **{f"{kind}_commands": [] for kind in ("initialization", "setup", "head_setup", "worker_setup")},
        **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
        **{f"rsync_{kind}": [] for kind in ("exclude", "filter")},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
    }


@pytest.fixture
def cluster(tmp_path, target, server):
    place = Workplace(tmp_path / "place")
    place.directory.mkdir()
    place.write(CHAINED)
    ray, way = RayCluster(), Proxy(server)
    url = sa.make_url(target)
    rest = {name: value for name, value in url.query.items() if name != "host"}
    url = url.set(host="127.0.0.1", port=way.port, query=rest)
    file = tmp_path / "autoscaling.json"
    file.write_text(json.dumps(configuration(ray)))
    cloud = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    cache = place.environment["BENCH_CACHE"]
    try:
        ray.start(2, f"--autoscaling-config={file}", **cloud, BENCH_CACHE=cache)
        yield Cluster(place, url.render_as_string(hide_password=False), "ray", ray.environment)
    finally:
        ray.close()
        way.close()


def test_nodes_are_asked_for_while_they_are_too_few_and_no_longer(cluster, tmp_path):
    gate = tmp_path / "gate"
    run = cluster.start("--wait-for-nodes", "3m", BENCH_FAKE_GATE=f"2:{gate}")
    # more than one node has room for
    begun(cluster, 4)
    gate.touch()
    assert run.wait(300) == 0, cluster.log
    home = tmp_path / "home"
    home.mkdir()
    assert cluster.digests() == digests_at_home(home, CHAINED)
    wait_until(lambda: not cluster.processes(), "nothing of the run lives")
    done = subprocess.run(
        [sys.executable, "-c", ASKED, cluster.variables["RAY_ADDRESS"]],
        env={**cluster.place.environment, **cluster.variables},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == []
    assert len(cluster.rows("SELECT DISTINCT node FROM attempt")) == 2
