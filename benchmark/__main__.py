"""`python -m benchmark`: the same as `bench`."""

from __future__ import annotations

from benchmark.cli.main import main

if __name__ == "__main__":
    main()
