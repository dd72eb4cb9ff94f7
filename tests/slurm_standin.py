"""Stands in for the commands of Slurm: `sbatch` starts the job here at once, `scancel` ends it, `squeue` knows those that run.

slurm_standin.py sbatch FILE | srun OPTIONS COMMAND… | scancel [--signal=NAME] JOB | squeue …
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scancel", "squeue")
WITH_VALUE = {"--output", "--error"}


def install(folder: Path) -> dict[str, str]:
    """Puts the commands into a folder; returns the variables with which they are found first."""
    folder.mkdir(parents=True)
    for command in COMMANDS:
        file = folder / command
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {command} "$@"\n')
        file.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "SLURM_STANDIN": str(folder)}


def main(command: str, arguments: list[str]) -> None:
    jobs = Path(os.environ["SLURM_STANDIN"], "jobs")
    jobs.mkdir(exist_ok=True)
    if command == "sbatch":
        number = str(len(list(jobs.glob("*.script"))) + 1)
        (jobs / f"{number}.script").write_text(Path(arguments[0]).read_text())
        with Path(os.devnull).open("r+b") as nothing:
            job = subprocess.Popen(
                ["bash", arguments[0]],
                env={**os.environ, "SLURM_JOB_ID": number, "CUDA_VISIBLE_DEVICES": "3,5", "OMP_NUM_THREADS": "1"},
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                start_new_session=True,
            )
        (jobs / f"{number}.pid").write_text(str(job.pid))
        print(f"Submitted batch job {number}")
    elif command == "srun":
        while arguments[0].startswith("--"):
            del arguments[: 2 if arguments[0] in WITH_VALUE else 1]
        os.execv(arguments[0], arguments)
    elif command == "scancel":
        named = next((argument for argument in arguments if argument.startswith("--signal=")), "--signal=TERM")
        number = getattr(signal, f"SIG{named.partition('=')[2]}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int((jobs / f"{arguments[-1]}.pid").read_text()), number)
    else:
        for file in jobs.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(file.read_text()), 0)
                print(file.stem)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
