"""Coefficients of a sum of non-negative parts, from what was measured and from what is usual elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

_PATIENCE = 200
_TRUST = 0.5
"""How strongly the usual proportions hold: about as much as one measured row that consists of a single part."""

_FIRST_TRUST = 0.02
"""The same for the machine's speed as a whole."""


class Fit:
    """Non-negative least squares on relative errors, with a pull towards the usual coefficients (a ridge).

    Rows are pairs of quantities q and a measured value y, coefficients are c = s · usual. With a machine that is g
    times slower than usual in everything, found first, it minimises

        Σ rows w (Σ_j q_j usual_j s_j - y)² / max(y, expected)²  +  trust Σ_j (s_j - g)²,   s_j ≥ 0

    by coordinate descent on the normal equations, which rows are only added to. So one row moves the whole scale, many
    rows each coefficient that they tell about, and a coefficient that no row tells about stays in proportion.

    Args:
        usual: Coefficients, not negative, that hold while nothing is measured.
    """

    def __init__(self, usual: Sequence[float]) -> None:
        self._usual = tuple(usual)
        count = len(self._usual)
        self._gram = [[0.0] * count for _ in range(count)]
        self._moment = [0.0] * count
        self._scale = (_FIRST_TRUST, _FIRST_TRUST)
        self._coefficients: tuple[float, ...] | None = self._usual
        self.rows = 0

    def add(self, quantities: Sequence[float], measured: float, weight: float = 1.0) -> None:
        """Takes in a row; one that nothing can be learnt from is passed over."""
        parts = [quantity * usual for quantity, usual in zip(quantities, self._usual, strict=True)]
        expected = sum(parts)
        if expected <= 0 or measured <= 0:
            return
        size = max(expected, measured)
        parts = [part / size for part in parts]
        wanted, expected = measured / size, expected / size
        for one, row in zip(parts, self._gram, strict=True):
            for column, other in enumerate(parts):
                row[column] += weight * one * other
        for column, part in enumerate(parts):
            self._moment[column] += weight * part * wanted
        above, below = self._scale
        self._scale = above + weight * expected * wanted, below + weight * expected * expected
        self._coefficients = None
        self.rows += 1

    def value(self, quantities: Sequence[float]) -> float:
        """The expected sum for these quantities."""
        return sum(quantity * coefficient for quantity, coefficient in zip(quantities, self.coefficients, strict=True))

    @property
    def coefficients(self) -> tuple[float, ...]:
        if self._coefficients is None:
            self._coefficients = tuple(
                factor * usual for factor, usual in zip(self._factors(), self._usual, strict=True)
            )
        return self._coefficients

    def _factors(self) -> list[float]:
        scale = self._scale[0] / self._scale[1]
        factors = [scale] * len(self._usual)
        for _ in range(_PATIENCE):
            moved = 0.0
            for column, row in enumerate(self._gram):
                rest = self._moment[column] + _TRUST * scale
                rest -= (
                    sum(one * factor for one, factor in zip(row, factors, strict=True)) - row[column] * factors[column]
                )
                better = max(0.0, rest / (row[column] + _TRUST))
                moved = max(moved, abs(better - factors[column]))
                factors[column] = better
            if moved < 1e-4 * scale:
                break
        return factors
