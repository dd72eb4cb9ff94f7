"""Slurm as an engine: each agent is a job of one node, which submitit submits; `BENCH_SUBMITIT=local` runs jobs here.

A job that ends, at its time limit for example, leaves its place free, and the run submits another one for it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from benchmark import machine
from benchmark.errors import UserError
from benchmark.matrix.problems import nearest_hint
from benchmark.scheduling.executors.protocol import AgentCommand, ExecutorSettings, Granted, Node
from benchmark.scheduling.executors.slurm_node import hold

STATE_SECONDS = 5.0
"""How often Slurm is asked for the states of all jobs at once; submitit itself would wait for up to ten minutes."""

END_SECONDS = 3.0
"""A job that has not ended its agent after so long is ended itself."""

_PASSED_ON = ("partition", "account", "qos", "constraint", "gres", "exclude", "nodelist", "reservation")
"""Settings that go to `sbatch` as they are."""
_KEYS = ("nodes", "cpus", "gpus", "memory", "time", *_PASSED_ON)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What is asked of Slurm, from `--executor slurm:KEY=VALUE,…`.

    Attributes:
        nodes: How many jobs at once.
        cpus: Processors of each job; None for one, or for all of this computer where jobs run here.
        gpus: GPUs of each job.
        memory: Of each job, as Slurm takes it, such as `16G`; None for Slurm's default.
        time_minutes: After so long Slurm ends a job; cells go on in the next one.
        options: Further options of `sbatch`.
    """

    nodes: int = 1
    cpus: int | None = None
    gpus: int = 0
    memory: str | None = None
    time_minutes: int = 60
    options: Mapping[str, str] | None = None

    @property
    def memory_bytes(self) -> int | None:
        """None where nothing is asked for."""
        return None if self.memory is None else int(self.memory[:-1]) * _SIZES[self.memory[-1]]


def read_settings(argument: str) -> JobSettings:
    """Reads what follows `slurm:`.

    Raises:
        UserError: A key is unknown or stands twice, or its value is none of its kind.
    """
    given: dict[str, str] = {}
    for part in filter(None, argument.split(",")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not value:
            raise UserError(f"expected slurm:KEY=VALUE,…, such as slurm:partition=gpu,nodes=2,cpus=8, got {part!r}")
        if key not in _KEYS or key in given:
            more = "it stands twice" if key in given else nearest_hint(key, _KEYS)
            raise UserError(f"slurm:{key}: expected one of {', '.join(_KEYS)}, each once; {more}")
        given[key] = value

    def matched(key: str, pattern: str, expected: str) -> re.Match[str] | None:
        if key not in given:
            return None
        if (match := re.fullmatch(pattern, given[key])) is None:
            raise UserError(f"slurm:{key}: expected {expected}, got {given[key]!r}")
        return match

    settings = JobSettings(options={key: value for key, value in given.items() if key in _PASSED_ON})
    for key, least in {"nodes": 1, "cpus": 1, "gpus": 0}.items():
        if number := matched(key, rf"0*[{least}-9]\d{{0,5}}", f"a number of at least {least}"):
            settings = replace(settings, **{key: int(number[0])})  # type: ignore[arg-type]
    if memory := matched("memory", r"([1-9]\d{0,6})([MGT])i?B?", "a size such as 16G"):
        settings = replace(settings, memory=memory[1] + memory[2])
    if limit := matched("time", r"(\d{1,7})([smhd]?)", "a time such as 90m, 4h or 1d"):
        settings = replace(settings, time_minutes=max(1, int(limit[1]) * _UNITS[limit[2]] // 60))
    return settings


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
        self._end_until: dict[str, float] = {}
        folder = settings.folder / "submitit"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
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
        if self._jobs and not _is_local() and now > self._asked_at + STATE_SECONDS:
            self._asked_at = now
            next(iter(self._jobs.values())).watcher.update()
        ended = {}
        for handle, job in list(self._jobs.items()):
            why = _why_ended(job)
            if why is None and now > self._end_until.get(handle, now):
                _signal(job, "KILL")
                job.cancel(check=False)
                why = "it was ended"
            if why is not None:
                ended[handle] = why
                del self._jobs[handle]
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


def _why_ended(job: Any) -> str | None:
    if job.paths.result_pickle.exists():
        if (error := job.exception()) is None:
            return str(job.result())
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("---")]
        return f"its job {job.job_id} failed: {next((line for line in lines if 'Error' in line), lines[0])[:300]}"
    if job.done():
        said = ""
        with suppress(Exception):
            said = (job.stderr() or "").strip().splitlines()[-1]
        return f"its job {job.job_id} ended as {job.state}" + (f": {said[:300]}" if said else "")
    return None
