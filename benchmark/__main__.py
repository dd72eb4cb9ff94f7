"""The entry point of `bench` and of `python -m benchmark`."""

import os
import sys


def main() -> None:
    """Runs the command line. Ctrl-C is heard at once, never ends in a traceback, and changes nothing that has ended.

    Side effects: see `_leave_foreign_folders`.
    """
    # before anything else is imported
    _leave_foreign_folders()
    import contextlib
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        import warnings

        # libraries warn of each other, which says nothing about results
        warnings.simplefilter("default")
    from benchmark.cli.main import bench
    from benchmark.cli.terminal import interruption

    interruption.listen()
    try:
        bench(prog_name="bench")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if interruption.was_asked_for():
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            interruption.leave()


def _leave_foreign_folders() -> None:
    """Takes the script's folder, the working folder, and relative entries of PYTHONPATH off the path of imports.

    A `json.py` or a folder `benchmark` that happens to lie there is data of the user's, not a module of bench.
    """
    try:
        here = os.getcwd()
    except OSError:
        here = ""  # it was deleted, and holds nothing any more
    first = {here, os.path.dirname(os.path.realpath(sys.argv[0]))}
    if not sys.flags.safe_path and sys.path[0] in first:
        del sys.path[0]
    # Python makes them absolute, so only the variable knows that an entry was none
    named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    relative = {os.path.abspath(entry) for entry in named.split(os.pathsep) if named and not os.path.isabs(entry)}
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) and entry not in relative]


if __name__ == "__main__":
    main()
