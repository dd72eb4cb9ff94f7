"""Asks the autoscaler of a Ray cluster for nodes, where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from benchmark.scheduling.executors.protocol import Demand

_OF_NO_KIND = re.compile(r"node_[0-9a-f]{16,}")
"""What a Ray that somebody has started node by node calls the kind of each node: nothing adds others to these."""


def has_autoscaler() -> bool:
    """Whether something adds nodes to the cluster that this process is connected to; False where Ray does not say."""
    try:
        kinds = _kinds_of_nodes()
    except Exception:  # noqa: BLE001  these calls are not public, and may be others in another version
        return False
    return kinds is not None and not any(_OF_NO_KIND.fullmatch(kind) for kind in kinds)


def _kinds_of_nodes() -> Collection[str] | None:
    """What the monitor of the cluster calls the kinds of its nodes; None while it has not reported."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2():
        status: Any = get_cluster_status(ray.get_runtime_context().gcs_address)
        return {node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)} or None
    reported = _internal_kv_get("__autoscaling_status")
    report = json.loads(reported).get("autoscaler_report") if reported else None
    return report and {*report["active_nodes"], *(report["idle_nodes"] or ())}


def ask_for_room(demands: Sequence[Demand]) -> None:
    """Tells the autoscaler how large the cluster should be at least; with no demands it may be as small as it is used.

    Side effects: what any job of the cluster has asked for before does not hold any more: Ray keeps one request.
    """
    from ray.autoscaler.sdk import request_resources

    bundles: list[dict[str, int]] = []
    for demand in demands:
        bundles += [{"CPU": demand.cores, **({"GPU": demand.gpus} if demand.gpus else {})}] * demand.count
    request_resources(bundles=bundles)
