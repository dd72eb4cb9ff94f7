"""Limits of containers and batch systems, on invented trees of control groups."""

from __future__ import annotations

import pytest

from benchmark import control_groups, machine

GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712"
"""What v1 says for no limit on memory: the largest number of whole pages."""

# membership of this process; files of the tree; processors' time; memory
TREES = {
    "none": ("0::/", {}, None, None),
    "v2: the container's own group is the root": ("0::/", {"cpu.max": "150000 100000", "memory.max": str(GIB)}, 1.5, GIB),
    "v2: no limit": ("0::/", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
    "v2: a group around it is narrower": (
        "0::/a/b/c",
        {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000", "a/b/c/cpu.max": "max 100000",
         "a/memory.max": "max", "a/b/memory.max": str(2 * GIB), "a/b/c/memory.max": str(3 * GIB)},
        2.0, 2 * GIB,
    ),
    "v2: the path is the host's": ("0::/docker/4f2a", {"cpu.max": "50000 100000", "memory.max": str(GIB)}, 0.5, GIB),
    "v2: outside its namespace": ("0::/../other", {"cpu.max": "300000 100000"}, 3.0, None),
    "v2 beside v1": (
        "4:memory:/\n1:cpu:/\n0::/job",
        {"unified/job/cpu.max": "100000 50000", "memory/memory.limit_in_bytes": UNLIMITED_V1}, 2.0, int(UNLIMITED_V1),
    ),
    "v1: docker": (
        "5:cpu,cpuacct:/docker/4f2a\n4:memory:/docker/4f2a\n0::/",
        {"cpu,cpuacct/docker/4f2a/cpu.cfs_quota_us": "250000", "cpu,cpuacct/docker/4f2a/cpu.cfs_period_us": "100000",
         "memory/docker/4f2a/memory.limit_in_bytes": str(GIB)},
        2.5, GIB,
    ),
    "v1: the path is the host's": (
        "5:cpuacct,cpu:/docker/4f2a\n4:memory:/docker/4f2a",
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000", "memory/memory.limit_in_bytes": str(GIB)},
        1.0, GIB,
    ),
    "v1: a batch system's nested groups": (
        "5:cpu:/slurm/job_1/step_0\n4:memory:/slurm/job_1/step_0",
        {"cpu/slurm/job_1/step_0/cpu.cfs_quota_us": "-1", "cpu/slurm/job_1/step_0/cpu.cfs_period_us": "100000",
         "cpu/slurm/job_1/cpu.cfs_quota_us": "400000", "cpu/slurm/job_1/cpu.cfs_period_us": "100000",
         "memory/slurm/job_1/memory.limit_in_bytes": str(4 * GIB),
         "memory/slurm/job_1/step_0/memory.limit_in_bytes": UNLIMITED_V1},
        4.0, 4 * GIB,
    ),
    "v1: no limit": ("5:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
    "nonsense": ("0::/", {"cpu.max": "100000", "memory.max": "a lot"}, None, None),
    "a path with a colon": ("0::/a:b", {"a:b/cpu.max": "100000 100000"}, 1.0, None),
}  # fmt: skip


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """The folder of the groups and the file of membership that are read instead of the system's own."""
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path / "groups", tmp_path / "membership"


@pytest.fixture(params=TREES)
def limits(request, groups):
    membership, files, cores, memory = TREES[request.param]
    groups[1].write_text(membership + "\n")
    for name, text in files.items():
        path = groups[0] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return cores, memory


def test_the_narrowest_group_around_this_process_is_what_counts(limits):
    cores, memory = limits
    assert control_groups.cpu_quota() == cores
    assert control_groups.memory_limit_bytes() == memory


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.2, 1), (1.0, 1), (1.9, 1), (2.5, 2), (8.0, 8), (64.0, 8)])
def test_only_as_many_cores_are_used_as_have_their_whole_time(quota, cores, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(4, 12)))
    monkeypatch.setattr(control_groups, "cpu_quota", lambda: quota)
    assert machine.available_cores() == tuple(range(4, 4 + cores))


def test_a_limit_on_memory_is_the_memory_of_the_machine(monkeypatch):
    physical = machine.facts().memory_bytes
    for limit, memory in ((1 << 28, 1 << 28), (int(UNLIMITED_V1), physical)):
        monkeypatch.setattr(control_groups, "memory_limit_bytes", lambda limit=limit: limit)
        assert machine.facts().memory_bytes <= memory


@pytest.mark.parametrize(
    ("membership", "name"),
    [("0::/a", "a/memory.events"), ("4:memory:/a", "memory/a/memory.oom_control"), ("0::/docker/1", "memory.events")],
)
def test_kills_for_memory_are_counted(membership, name, groups):
    root, members = groups
    members.write_text(membership)
    assert control_groups.oom_kills() == 0
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("oom 2\noom_kill 3\n")
    assert control_groups.oom_kills() == 3
