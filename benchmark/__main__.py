"""The entry point of `bench` and of `python -m benchmark`."""

from __future__ import annotations

import signal


def main() -> None:
    """Runs the command line. Ctrl-C never ends in a traceback, and never changes how a finished command ended."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from benchmark.cli.main import main as bench

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        bench()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
