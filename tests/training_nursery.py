"""The program of `training_cells.Nursery`: imports the worker once, then forks a child for each order on stdin."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any

import training_faults

from benchmark import events
from benchmark.training import worker


def live(order: dict[str, Any]) -> int:
    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with open(order["events"], "wb", buffering=0) as told:  # noqa: PTH123  a file descriptor of this child alone

        def emit(event: Any) -> None:
            told.write(events.to_line(event))
            training_faults.after(event)

        os.environ.update(order["environment"])
        if os.environ.get("BENCH_TESTING") == "1":
            importlib.import_module("benchmark.testing")  # `benchmark` was imported before this was asked for
        training_faults.before(order["faults"])
        return max([worker.main(events.job_from_line(line.encode()), emit) for line in order["jobs"]])


def main() -> None:
    # as in the template: what the imports left is neither collected nor copied by any child
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            try:
                code = live(order)
            except BaseException:  # noqa: BLE001  the child must not run the parent's loop
                sys.excepthook(*sys.exc_info())
                code = 70
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
