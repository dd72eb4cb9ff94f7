"""Slurm as an engine: each agent is a job of one node, which submitit submits; `BENCH_SUBMITIT=local` runs jobs here.

A job that ends, at its time limit for example, leaves its place free, and the run submits another one for it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmark import machine
from benchmark.errors import UserError
from benchmark.scheduling.executors.protocol import AgentCommand, ExecutorSettings, Granted, Node
from benchmark.scheduling.executors.slurm_node import hold
from benchmark.scheduling.executors.slurm_settings import JobSettings, read_settings

QUEUE_SECONDS = 4.0
"""How often Slurm's queue is read, for all jobs at once. `sacct`, which submitit asks, knows nothing without accounting."""

MISSES = 2
"""A job that is missing from the queue so often, and has left no result, has ended: files on a network may be late."""

_ORDER = "_submitted.pkl"
"""How the name of submitit's file of what a job runs ends, after the number of the job."""

END_SECONDS = 3.0
"""A job that has not ended its agent after so long is ended itself."""


class SlurmExecutor:
    """Submits a job for each node that is asked for, and holds its agent in it.

    Raises:
        UserError: An argument is wrong, or there is no Slurm on this computer.

    Side effects: makes a folder for the jobs' files, for this user alone.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        import submitit

        self._settings = read_settings(settings.argument)
        is_local = _is_local()
        cpus = self._settings.cpus or (machine.cpu_cores() if is_local else 1)
        numbers = range(1, self._settings.nodes + 1)
        names = [f"{'local' if is_local else 'slurm'}-{number}" for number in numbers]
        self._slots = [Node(name, cpus, self._settings.gpus, self._settings.memory_bytes) for name in names]
        self._jobs: dict[str, Any] = {}
        self._asked_at = 0.0
        self._misses: Counter[str] = Counter()
        self._end_until: dict[str, float] = {}
        folder = settings.folder / "submitit"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        _delete_orders_of_ended_jobs(folder, is_local=is_local)
        # without -P the working folder would be a place of modules
        python = f"{shlex.quote(sys.executable)} -P"
        if is_local:
            self._submitit: Any = submitit.LocalExecutor(folder, python=python)
            self._submitit.update_parameters(timeout_min=self._settings.time_minutes, gpus_per_node=self._settings.gpus)
            return
        try:
            self._submitit = submitit.SlurmExecutor(folder, python=python)
        except RuntimeError as error:
            raise UserError(
                "there is no Slurm on this computer (no `srun`): start `bench run` on a login node of the cluster; "
                "BENCH_SUBMITIT=local runs the jobs here"
            ) from error
        self._submitit.update_parameters(**_sbatch_parameters(self._settings, cpus))

    def slots(self) -> Sequence[Node]:
        """As many as were asked for, whether their jobs run, wait in Slurm's queue, or are yet to be submitted."""
        return self._slots

    def submit(self, node: Node, agent: AgentCommand) -> str:
        """Submits a job; it may wait in Slurm's queue for long.

        Raises:
            UserError: Slurm refuses it.
        """
        granted = Granted(node.cores, (), node.memory_bytes)
        try:
            job = self._submitit.submit(hold, agent, granted, node.gpus)
        except Exception as error:
            raise UserError(f"Slurm refuses the job: {str(error).strip().splitlines()[-1]}") from error
        self._jobs[job.job_id] = job
        return str(job.job_id)

    def poll(self) -> Mapping[str, str]:
        """Jobs that have ended: by what they have left, or by what Slurm says."""
        now = time.monotonic()
        if self._jobs and not _is_local() and now > self._asked_at + QUEUE_SECONDS:
            self._asked_at = now
            if (queued := queued_jobs()) is not None:
                self._misses.update(self._jobs.keys() - queued)
        ended = {}
        for handle, job in list(self._jobs.items()):
            why = _why_ended(job, is_gone=job.done() if _is_local() else self._misses[handle] >= MISSES)
            if why is None and now > self._end_until.get(handle, now):
                _signal(job, "KILL")
                job.cancel(check=False)
                why = "it was ended"
            if why is not None:
                ended[handle] = why
                del self._jobs[handle]
                with suppress(OSError):
                    job.paths.submitted_pickle.unlink()
        return ended

    def cancel(self, handle: str) -> None:
        """Has a job end its agent at once; the job itself is ended soon, if it does not obey or waits for its turn."""
        if (job := self._jobs.get(handle)) is not None and handle not in self._end_until:
            self._end_until[handle] = time.monotonic() + END_SECONDS
            _signal(job, "INT")

    def close(self) -> None:
        """Ends all jobs."""
        for handle in self._jobs:
            self.cancel(handle)
        while self._jobs:
            self.poll()
            time.sleep(0.05)

    def let_go(self) -> None:
        """The run is gone: jobs that wait leave the queue, agents that run save and end."""
        for job in self._jobs.values():
            if _is_local():
                os.kill(int(job.job_id), signal.SIGTERM)
            else:
                job.cancel(check=False)


def _signal(job: Any, name: str) -> None:
    """Signals the processes of a job that runs."""
    if _is_local():
        job.cancel()
    else:
        subprocess.run(["scancel", f"--signal={name}", job.job_id], check=False, capture_output=True)


def _is_local() -> bool:
    wanted = os.environ.get("BENCH_SUBMITIT", "")
    if wanted not in {"", "slurm", "local"}:
        raise UserError(f"BENCH_SUBMITIT: expected slurm or local, got {wanted!r}")
    return wanted == "local"


def _sbatch_parameters(settings: JobSettings, cpus: int) -> dict[str, Any]:
    """In submitit's words. Slurm must not repeat a job whose node died: the run decides what is repeated, and where."""
    options = {**(settings.options or {}), "no_requeue": True}
    chosen = {
        "job_name": "bench",
        "time": settings.time_minutes,
        "nodes": 1,
        "cpus_per_task": cpus,
        # since Slurm 22.05 srun does not take it over from sbatch
        "srun_args": [f"--cpus-per-task={cpus}"],
        "additional_parameters": options,
    }
    if settings.gpus:
        chosen["gpus_per_node"] = settings.gpus
    if settings.memory is not None:
        chosen["mem"] = settings.memory
    return chosen


def queued_jobs() -> set[str] | None:
    """This user's jobs that wait or run; None when Slurm does not answer."""
    command = ["squeue", "--user", str(os.getuid()), "--noheader", "--format=%A"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def _delete_orders_of_ended_jobs(folder: Path, *, is_local: bool) -> None:
    """Deletes what a run that was killed has told its jobs: the address of the database, with its password."""
    orders = {file.name.removesuffix(_ORDER): file for file in folder.glob(f"*{_ORDER}")}
    alive = {job for job in orders if Path(f"/proc/{job}").exists()} if is_local else queued_jobs() if orders else set()
    if alive is not None:
        for job in orders.keys() - alive:
            with suppress(OSError):
                orders[job].unlink()


def _why_ended(job: Any, *, is_gone: bool) -> str | None:
    if job.paths.result_pickle.exists():
        if (error := job.exception()) is None:
            return str(job.result())
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("---")]
        return f"its job {job.job_id} failed: {next((line for line in lines if 'Error' in line), lines[0])[:300]}"
    if is_gone:
        said = ""
        with suppress(Exception):
            said = (job.stderr() or "").strip().splitlines()[-1]
        return f"its job {job.job_id} is gone" + (f": {said[:300]}" if said else "")
    return None
