"""Which test images one selection of cells gets right and another wrong: the answer of `bench diff`."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark import units
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.statistics.churn import Consistency
from benchmark.reporting.statistics.intervals import ALPHA


@dataclass(frozen=True, slots=True)
class ChangedImage:
    """An image that most seeds of one side got right and most of the other wrong.

    Attributes:
        image: Its place in the prepared test or training set.
        label: Number of its class.
        a_right, b_right: How many of A's and B's cells were right.
        a_n, b_n: How many of them were asked about it.
        a_says, b_says: Numbers of the classes that most of them named, of the side that is wrong most of the wrong ones.
    """

    image: int
    label: int
    a_right: int
    b_right: int
    a_n: int
    b_n: int
    a_says: int
    b_says: int


@dataclass(frozen=True, slots=True)
class SuspectImage:
    """An image that all cells got wrong, or whose label all models doubt.

    Attributes:
        image, label: As of `ChangedImage`.
        says: Number of the class that is named instead.
        n: How many cells were asked about it.
        probability: Of its label; the mean over models, 0..1.
    """

    image: int
    label: int
    says: int
    n: int
    probability: float


@dataclass(frozen=True, slots=True)
class PredictionDiff:
    """What B fixed and what it broke.

    Attributes:
        pairs: The groups of A with those of B.
        split: `test` or `validation`.
        class_names: By the number of the class.
        images: About how many images both sides were asked.
        seeds: How many cells of A and of B are set against each other.
        fixed, broken: Images that B gets right and A wrong in more than half of the seeds, and the other way round; the
            surest first.
        churn: The share of images on which two seeds of one strategy disagree; None with one seed.
        churn_between: Likewise a seed of A and one of B.
        by_seeds: How many images seeds alone would fix, and as many break; None with one seed.
        consistency: The test of whether there is more than that; None where there is none.
        missed_by_all: Images that all cells of A and B got wrong.
        doubted_labels: Images whose label all models of A and B doubt, the most doubtful first.
        notes: What a reader must know to judge all this.
    """

    pairs: tuple[tuple[Group, Group], ...]
    split: str
    class_names: tuple[str, ...]
    images: int
    seeds: tuple[int, int]
    fixed: tuple[ChangedImage, ...]
    broken: tuple[ChangedImage, ...]
    churn: float | None
    churn_between: float | None
    by_seeds: float | None
    consistency: Consistency | None
    missed_by_all: tuple[SuspectImage, ...]
    doubted_labels: tuple[SuspectImage, ...]
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was fixed and broken, and whether it is more than chance."""
        a, b = self.seeds
        noun = "seed" if len(self.pairs) == 1 else "cell"
        seeds = f"most of {a} {noun}s" if a == b else f"most of {a} and {b} {noun}s"
        seeds = f"a single {noun}" if a == b == 1 else seeds
        alone = "" if self.by_seeds is None else f"; seeds alone would change about {self.by_seeds:.1f} of each"
        return (
            f"B fixed {len(self.fixed)} of {units.plural(self.images, f'{self.split} image')} and broke "
            f"{len(self.broken)} by {seeds}{alone}: {self._conclusion}."
        )

    @property
    def _conclusion(self) -> str:
        if self.consistency is None:
            return "these seeds cannot tell whether that is more than chance"
        p, least_p = self.consistency.p, self.consistency.least_p
        if p <= ALPHA:
            return f"that is more than chance (p = {p:.2g})"
        if least_p > ALPHA:
            return f"so few seeds cannot tell whether that is more than chance (p = {p:.2g}, never below {least_p:.2g})"
        return f"that is no more than chance can explain (p = {p:.2g})"
