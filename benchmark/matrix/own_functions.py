"""Which functions of the user's own a cell trains with, beside its model and its data: losses, metrics, callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.cell import Cell
from benchmark.matrix.recipes.loss import loss_parameters


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """A function of a plug-in.

    Attributes:
        kind: A key of `[plugins]`.
        name: Without `plugin:`.
        code: The sha256 of its file, or name and version of its package.
        file: The absolute path; None where an installed package offers it.
    """

    kind: str
    name: str
    code: str
    file: str | None


def own_functions(cell: Cell) -> Iterator[OwnFunction]:
    """The functions of plug-ins that training a cell calls; one that several stages call comes several times."""
    files = dict(cell.metric_files)
    for name, code in cell.metric_codes:
        yield OwnFunction("metrics", name, code, files[name])
    for stage in cell.stages:
        if stage.loss_code is not None:
            name, _ = loss_parameters(stage.loss)
            yield OwnFunction("losses", name.removeprefix(PLUGIN), stage.loss_code, stage.loss_file)
        files = dict(stage.callback_files)
        for name, code in stage.callback_codes:
            yield OwnFunction("callbacks", name, code, files[name])
