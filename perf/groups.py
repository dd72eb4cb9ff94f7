"""Reports of many groups: `bench report` grows in proportion to them.

    python perf/groups.py [--groups 1250 2500 5000] [--seeds 5] [--strategies 4] [--rounds 1]

A database of so many groups (models with other parameters, each trained by every strategy) of that many seeds, written
through the documented schema; a progression over all strategies and a baseline, so that every group is compared.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from perf_notes import append_result
from scale import bench, fill, repeated

STRATEGY = """
[strategy.{name}]
extends = "scratch"
epochs = {epochs}
"""


def write_matrix(folder: Path, groups: int, strategies: int, seeds: int) -> None:
    models = [f"m{number}" for number in range(groups // strategies)]
    names = [f"s{number}" for number in range(strategies)]
    parts = [
        f'[matrix]\nname = "groups"\ndataset = "digits"\nmodel = {models}\nstrategy = {names}\nseed = {list(range(seeds))}\n',
        *(STRATEGY.format(name=name, epochs=number + 1) for number, name in enumerate(names)),
        *(f'[model.{name}]\nextends = "simple_cnn"\nfilters = [{number + 1}]\n' for number, name in enumerate(models)),
        f'[report]\nbaseline = "s0"\nprogression = [{names}]\n',
    ]
    (folder / "matrix.toml").write_text("\n".join(parts).replace("'", '"'))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, nargs="+", default=[1250, 2500, 5000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    texts = []
    for groups in arguments.groups:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_matrix(folder, groups, arguments.strategies, arguments.seeds)
            fill(folder, 1)
            spent = {
                kind: repeated(arguments.rounds, partial(bench, folder, "report", "--format", "json", *more))
                for kind, more in (("all tables", ()), ("summary", ("--table", "summary")))
            }
        listed = "; ".join(f"{kind} {each.cpu:.2f} s CPU, {each.wall:.2f} s wall" for kind, each in spent.items())
        texts.append(f"{groups:,} groups of {arguments.seeds} seeds: {listed}")
    append_result("groups", "; ".join(texts), "python perf/groups.py")


if __name__ == "__main__":
    main()
