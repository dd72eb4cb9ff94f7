"""Runs a module of this package as a program, with the import path of the process that started it.

    python -P -s module_runner.py MODULE ARGUMENT…

`python -m` would look in the working folder first, and for this package along the whole path. Here the path comes whole
from the variable `BENCH_IMPORT_PATH`, and the package is the one that this file belongs to: all processes of a run
run the same code, installed or not, and nothing that lies in the way.
"""

from __future__ import annotations

import os
import sys

IMPORT_PATH = "BENCH_IMPORT_PATH"


def run(module: str) -> None:
    """Runs `module` as `__main__`.

    Side effects: sets `sys.path`; imports the package `benchmark` from the folder that this file lies in.
    """
    sys.path[:] = os.environ[IMPORT_PATH].split(os.pathsep)
    # not before
    import importlib.util
    import runpy
    from pathlib import Path

    package = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "benchmark", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["benchmark"])
    # processes that the program starts by itself find the package too, last of all
    sys.path.append(str(package.parent))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    del sys.argv[0]
    run(sys.argv[0])
