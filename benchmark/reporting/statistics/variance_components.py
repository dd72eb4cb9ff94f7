"""Which share of a spread comes from which source: variance components of crossed designs, with 95 % intervals.

The model is `y = m + Σ u_s[level of source s] + e` with independent normal effects of variance `v_s` and a rest of variance
`v_e`, which holds what sources do together (X. Bouthillier et al., "Accounting for variance in machine learning
benchmarks", MLSys 2021). Estimates are by Henderson's method 3, each source adjusted for all others, for designs with
holes too (C. R. Henderson, "Estimation of variance and covariance components", Biometrics 9, 1953; S. R. Searle,
G. Casella and C. E. McCulloch, "Variance Components", 1992, chapter 5). Intervals are generalized confidence intervals
(S. Weerahandi, "Generalized confidence intervals", Journal of the American Statistical Association 88, 1993): their end is
0 where a source need not have any part. NumPy is imported when first needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmark.reporting.statistics.intervals import ALPHA, satterthwaite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

REST = "rest"
_DRAWS = 10_000
_SEED = 0
_LEAST_JOINT = 4
"""So many cells that have no level in common tell the whole spread well enough to take the parts from it."""

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one source in the variance.

    Attributes:
        source: Its name, or `rest`.
        variance: Estimate of the component, at least 0.
        share: Of the sum of all components, 0..1.
        low, high: 95 % interval of the share.
    """

    source: str
    variance: float
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Where a spread comes from.

    Attributes:
        shares: Of each source that can be told apart, then of the rest where that can.
        together: For a source in `shares` those that change with it from cell to cell, so that its share is theirs too.
        within_rest: Sources with another level in each cell, which cannot be told from the rest.
        confounded: Sources that the others determine: nothing can be said then.
    """

    shares: tuple[Share, ...] = ()
    together: Mapping[str, tuple[str, ...]] | None = None
    within_rest: tuple[str, ...] = ()
    confounded: tuple[str, ...] = ()


def decompose(values: Sequence[float], levels: Mapping[str, Sequence[int]]) -> Decomposition:
    """Estimates the shares of several sources in the variance of values.

    Args:
        values: Finite, [n].
        levels: For each source, which level of it each value has, [n]; sources with one level alone are left out.
    """
    import numpy as np

    codes = {name: np.unique(np.asarray(each), return_inverse=True)[1] for name, each in levels.items()}
    codes = {name: each for name, each in codes.items() if each.max(initial=0) > 0}
    within_rest = tuple(name for name, each in codes.items() if each.max() + 1 == len(values))
    together = _together({name: each for name, each in codes.items() if name not in within_rest})
    factors = {name: codes[name] for name in together}
    if not factors:
        return Decomposition(within_rest=within_rest)
    y = np.asarray(values, dtype=np.float64) - np.mean(values)
    dummies = {name: np.eye(each.max() + 1)[each] for name, each in factors.items()}
    parts = {name: _adjusted(y, dummies, name) for name in factors}
    if confounded := tuple(name for name, (_, weights) in parts.items() if not len(weights)):
        return Decomposition(together=together, within_rest=within_rest, confounded=confounded)
    everything = _basis(np.hstack([np.ones((len(y), 1)), *dummies.values()]))
    freedom = len(y) - everything.shape[1]
    random = np.random.default_rng(_SEED)
    if freedom:
        rest = float(y @ y - np.sum((everything.T @ y) ** 2))
        estimates, draws = _with_rest(parts, rest, freedom, random)
    else:
        estimates, draws = _one_at_a_time(parts, y[_disjoint(factors)], random)
    return Decomposition(_shares([*factors, REST][: len(estimates)], estimates, draws), together, within_rest)


def _together(codes: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, ...]]:
    """The first of all sources that divide the values alike, with the others."""
    by_partition: dict[tuple[int, ...], list[str]] = {}
    for name, each in codes.items():
        first: dict[int, int] = {}
        by_partition.setdefault(tuple(first.setdefault(code, len(first)) for code in each.tolist()), []).append(name)
    return {names[0]: tuple(names[1:]) for names in by_partition.values()}


def _basis(matrix: Array) -> Array:
    """An orthonormal basis [n, rank] of the columns."""
    import numpy as np

    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, values > _TINY * max(values.max(initial=0.0), 1.0)]


def _adjusted(y: Array, dummies: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    """Squares of what a source explains beyond all others, by direction, and how much of its variance stands in each.

    Of squares z² and weights w, all [d]: z² is distributed as (w · v_s + v_e) · χ² with one degree of freedom,
    independently of each other and of the residual.
    """
    import numpy as np

    others = _basis(np.hstack([np.ones((len(y), 1)), *(each for key, each in dummies.items() if key != name)]))
    own = dummies[name] - others @ (others.T @ dummies[name])
    left, values, _ = np.linalg.svd(own, full_matrices=False)
    kept = values > _TINY * np.sqrt(len(y))
    return (left[:, kept].T @ y) ** 2, values[kept] ** 2


_Parts: TypeAlias = "Mapping[str, tuple[Array, Array]]"


def _with_rest(parts: _Parts, rest: float, freedom: int, random: np.random.Generator) -> tuple[list[float], Array]:
    """Estimates of all components, the rest last, and draws of their shares, [components, draws]."""
    import numpy as np

    v_rest = rest / freedom
    drawn_rest = rest / random.chisquare(freedom, _DRAWS)
    estimates, draws = [], []
    for squares, weights in parts.values():
        explained = float(squares.sum())
        estimates.append(max(0.0, (explained - len(weights) * v_rest) / float(weights.sum())))
        total, weighted = _chi_squares(weights, random)
        draws.append((explained - drawn_rest * total) / weighted)
    shares = np.stack([*draws, drawn_rest])
    shares /= np.where((whole := shares.sum(axis=0)) > 0, whole, np.nan)
    # a sum of several pivots with few degrees of freedom lies too high, and the share of the rest in it too low
    shares[-1] = drawn_rest / _drawn_whole(parts, v_rest, freedom, random)
    return [*estimates, v_rest], shares


def _drawn_whole(parts: _Parts, v_rest: float, freedom: int, random: np.random.Generator) -> Array:
    """Draws of the sum of all components, from its estimate with Satterthwaite's degrees of freedom."""
    means = [float(squares.mean() / weights.mean()) for squares, weights in parts.values()]
    surplus = sum(1 / float(weights.mean()) for _, weights in parts.values())
    terms = [*means, (1 - surplus) * v_rest]
    whole = satterthwaite(terms, [*(len(squares) for squares, _ in parts.values()), freedom])
    return max(sum(terms), _TINY) * whole / random.chisquare(whole, _DRAWS)


def _chi_squares(weights: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Draws of `Σ g` and `Σ w g` for independent χ² with one degree of freedom, each [draws]."""
    import numpy as np

    if np.ptp(weights) < _TINY * weights.max():
        total = random.chisquare(len(weights), _DRAWS)
        return total, total * weights[0]
    each = random.standard_normal((_DRAWS, len(weights))) ** 2
    return each.sum(axis=1), each @ weights


def _one_at_a_time(parts: _Parts, joint: Array, random: np.random.Generator) -> tuple[list[float], Array]:
    """The same where each cell differs from a common one in one source: what that changes has the rest in it too.

    The rest can be taken out where there are cells beside these in which everything differs: their variance has it once,
    the sum of those of the sources once for each source.

    Args:
        parts: As of `_adjusted`.
        joint: Values of which no two have a level in common, [j].
        random: For the draws.
    """
    import numpy as np

    both = [float(squares.sum() / weights.sum()) for squares, weights in parts.values()]
    drawn = np.stack([squares.sum() / _chi_squares(weights, random)[1] for squares, weights in parts.values()])
    if len(joint) < _LEAST_JOINT or len(parts) < 2:
        return both, drawn / drawn.sum(axis=0)
    spread, surplus = float(np.var(joint, ddof=1)), len(parts) - 1
    drawn_spread = spread * (len(joint) - 1) / random.chisquare(len(joint) - 1, _DRAWS)
    v_rest = max(0.0, (sum(both) - spread) / surplus)
    drawn_rest = (drawn.sum(axis=0) - drawn_spread) / surplus
    draws = np.stack([*(drawn - drawn_rest), drawn_rest])
    return [*(max(0.0, each - v_rest) for each in both), v_rest], draws / draws.sum(axis=0)


def _disjoint(codes: Mapping[str, NDArray[Any]]) -> list[int]:
    """Positions of values, from the last to the first, of which no two have a level of any source in common."""
    used: dict[str, set[int]] = {name: set() for name in codes}
    chosen = []
    for place in reversed(range(len(next(iter(codes.values()))))):
        here = {name: int(each[place]) for name, each in codes.items()}
        if all(here[name] not in used[name] for name in codes):
            chosen.append(place)
            for name, code in here.items():
                used[name].add(code)
    return chosen


def _shares(names: Sequence[str], estimates: Sequence[float], draws: Array) -> tuple[Share, ...]:
    import numpy as np

    whole = sum(estimates)
    if not whole:
        return ()
    ends = np.nanquantile(draws, [ALPHA / 2, 1 - ALPHA / 2], axis=1).clip(0, 1)
    return tuple(
        Share(name, value, value / whole, float(low), float(high))
        for name, value, low, high in zip(names, estimates, *ends, strict=True)
    )
