"""Plans of cells that train nothing, made without a matrix file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights
from benchmark.matrix.plan import Plan

DATA = Data("digits", None, 10, 16, "grey", None, None, 0.1)


def fake_stage(epochs: int = 2) -> Stage:
    return Stage("all", epochs, 32, "adam", 1e-3, None, 0.0, 0.0, (), None, None)


def fake_cell(
    *,
    dataset: str = "digits",
    model: str = "simple_cnn",
    strategy: str = "scratch",
    seed: int = 0,
    epochs: int | Sequence[int] = 2,
    threads: int = 1,
    parent: Cell | None = None,
    backend: str = "fake",
    device: str = "cpu",
) -> Cell:
    """A cell; equal arguments give equal ids."""
    stages = tuple(fake_stage(count) for count in ([epochs] if isinstance(epochs, int) else epochs))
    parent_id = parent.cell_id if parent is not None else None
    key = repr((dataset, model, strategy, seed, stages, threads, parent_id, backend, device))
    return Cell(
        cell_id=hashlib.sha256(key.encode()).hexdigest()[:20],
        dataset=dataset,
        model=model,
        strategy=strategy,
        strategy_label=strategy,
        seed=seed,
        data=DATA,
        architecture=Architecture(model, ()),
        weights=Weights("none") if parent_id is None else Weights("parent", None, parent_id),
        stages=stages,
        keep="best",
        monitor="val_accuracy",
        labels="integer",
        threads=threads,
        precision="float32",
        backend=backend,
        device=device,
        device_kind=device.partition(":")[0],
        deterministic=True,
    )


def plan_of(cells: Sequence[Cell]) -> Plan:
    return Plan(name="fake", path="matrix.toml", text="[matrix]\n", cells=tuple(cells))
