"""What the worker of one cell is told, in a run as in a trial: its job, its environment, and where its output goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark import layout, machine
from benchmark.events import Job, to_line
from benchmark.matrix.cell import Cell
from benchmark.scheduling.processes.environment import worker_environment
from benchmark.scheduling.processes.slots import Grant
from benchmark.scheduling.processes.worker_process import Order


def worker_order(
    cell: Cell,
    grant: Grant,
    directory: Path,
    *,
    data_directory: Path | None,
    isolation: str,
    allow_plugins: bool,
    pins_cores: bool = True,
    every_state: bool = False,
    attempt_id: int = 0,
    earlier_directories: Sequence[Path] = (),
    parent_weights: tuple[Path, str] | None = None,
    shared_stages: Mapping[int, Path] | None = None,
    stored_stages: tuple[int, ...] = (),
    trial_seconds: float | None = None,
    trial_stages: tuple[int, ...] = (),
) -> Order:
    """Makes the order for a worker on this machine.

    Its log lies in `directory`, its own folder, which exists. `grant` holds its cores and its GPU, `parent_weights` path and
    sha256 of the kept weights of its parent. The other arguments are explained at `events.Job`.
    """
    weights, weights_sha256 = parent_weights or (None, None)
    job = Job(
        attempt_id=attempt_id,
        cell=cell.to_dict(),
        directory=str(directory),
        earlier_directories=tuple(map(str, earlier_directories)),
        data_directory=None if data_directory is None else str(data_directory),
        parent_weights=None if weights is None else str(weights),
        parent_weights_sha256=weights_sha256,
        cores=grant.cores if pins_cores and hasattr(os, "sched_setaffinity") else (),
        gpu=grant.gpu,
        isolation=isolation,
        allow_plugins=allow_plugins,
        every_state=every_state,
        trial_seconds=trial_seconds,
        trial_stages=trial_stages,
        shared_stages={str(stages): str(folder) for stages, folder in (shared_stages or {}).items()},
        stored_stages=stored_stages,
    )
    gpu = None if grant.gpu is None else machine.cuda_name(grant.gpu)
    environment = worker_environment(os.environ, cell.backend, cell.threads, gpu)
    return Order(to_line(job).decode(), cell.backend, environment, str(directory / layout.LOG))
