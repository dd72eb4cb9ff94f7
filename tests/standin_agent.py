"""A stand-in for the agent of a node: it tells in a file what becomes of it, and ends when its input closes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

NAMES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "RAY_AUTH_TOKEN", "BENCH_EXTRA", "BENCH_OF_RUN", "BENCH_DB")

if __name__ == "__main__":
    order, granted = json.loads(sys.stdin.readline()), json.loads(sys.stdin.readline())
    if "exit" in order:
        print("a reason to end")
        sys.exit(order["exit"])
    here = {name: os.environ.get(name) for name in NAMES}
    said = Path(order["folder"], f"{os.getpid()}.part")
    said.write_text(json.dumps({"pid": os.getpid(), "granted": granted, "environment": here}))
    said.rename(said.with_suffix(".begun"))
    sys.stdin.read()
    time.sleep(order.get("saving_seconds", 0))
    said.with_suffix(".saved").touch()
