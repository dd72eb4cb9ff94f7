"""Lends cores and GPUs to cells: disjoint sets of cores, one cell for each GPU unless more are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark import machine
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.scheduling.run_options import RunOptions


@dataclass(frozen=True, slots=True)
class Grant:
    """What one running cell holds; `counts` is False for work that is not a cell (a preparation)."""

    cores: tuple[int, ...]
    gpu: int | None
    counts: bool = True


class Slots:
    """What is free on this machine.

    Args:
        cores: Numbers of the processors that may be used.
        gpus: Indexes of the GPUs that may be used.
        jobs: At most so many cells at once; None for as many as the cores allow.
        gpu_share: At most so many cells on one GPU at once.
    """

    def __init__(self, cores: Sequence[int], gpus: Sequence[int], jobs: int | None, gpu_share: int = 1) -> None:
        self.cores = tuple(cores)
        self.gpus = set(gpus)
        self.gpu_share = gpu_share
        self.jobs = len(self.cores) if jobs is None else max(1, min(jobs, len(self.cores)))
        self.running = 0
        self._free_cores = set(cores)
        self._free_places = dict.fromkeys(gpus, gpu_share)

    @property
    def room(self) -> Room:
        """All that there is to share, lent out or not."""
        return Room(len(self.cores), self.jobs, len(self.gpus) * self.gpu_share)

    def width(self, cell: Cell) -> int:
        """How many cores the cell takes: its threads, but never more than there are."""
        return min(cell.threads, len(self.cores))

    def take(self, cell: Cell) -> Grant | None:
        """Cores (and a GPU) for the cell, or None when they are not free now."""
        if self.running >= self.jobs or self.width(cell) > len(self._free_cores):
            return None
        gpu = None
        if cell.device_kind == "gpu":
            # the emptiest one: cells share a GPU only when there are more of them than GPUs
            gpu = min(self._suitable(cell), key=lambda index: (-self._free_places[index], index), default=None)
            if gpu is None or not self._free_places[gpu]:
                return None
            self._free_places[gpu] -= 1
        self.running += 1
        return Grant(self._take_cores(self.width(cell)), gpu)

    def take_cores(self, among: int = 0) -> Grant | None:
        """Cores for work that is not a cell, or None.

        Args:
            among: How many such works share all free cores; 0 takes one core.
        """
        count = max(1, len(self._free_cores) // among) if among else 1
        return Grant(self._take_cores(count), None, counts=False) if self._free_cores else None

    def give(self, grant: Grant) -> None:
        self._free_cores.update(grant.cores)
        if grant.gpu is not None:
            self._free_places[grant.gpu] += 1
        self.running -= grant.counts

    def possible(self, cell: Cell) -> bool:
        """Whether the cell could ever run with what is left."""
        return cell.device_kind != "gpu" or bool(self._suitable(cell))

    def quarantine(self, gpu: int) -> None:
        """Lends this GPU to nobody any more."""
        self.gpus.discard(gpu)

    def _suitable(self, cell: Cell) -> set[int]:
        _, _, index = cell.device.partition(":")
        return self.gpus & {int(index)} if index else self.gpus

    def _take_cores(self, count: int) -> tuple[int, ...]:
        # Neighbouring numbers together: on most machines they share a cache.
        chosen = tuple(sorted(self._free_cores)[:count])
        self._free_cores.difference_update(chosen)
        return chosen


def slots_of(options: RunOptions) -> Slots:
    """What this machine has for a run with these options."""
    return Slots(machine.available_cores(), range(machine.gpu_count()), options.jobs_at_once, options.gpu_share)
