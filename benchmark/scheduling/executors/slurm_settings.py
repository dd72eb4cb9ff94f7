"""What follows `--executor slurm:`, read and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmark.errors import UserError
from benchmark.matrix.problems import nearest_hint

LEAST_MINUTES = 5
"""The shortest time limit of a job: a minute and a half before it the agent is asked to save (`--signal` of sbatch)."""

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
        minutes = int(limit[1]) * _UNITS[limit[2]] // 60
        if minutes < LEAST_MINUTES:
            raise UserError(
                f"slurm:time: expected at least {LEAST_MINUTES}m, so that a job does more than begin and save, got {limit[0]!r}"
            )
        settings = replace(settings, time_minutes=minutes)
    return settings
