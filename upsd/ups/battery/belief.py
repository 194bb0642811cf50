"""What is believed of some numbers that nobody can see: their means and how sure they are (a Kalman filter). Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Belief:
    """A normal distribution: means, and covariances as rows."""

    mean: Vector
    covariance: tuple[Vector, ...]

    @classmethod
    def independent(cls, mean: Sequence[float], deviations: Sequence[float]) -> Belief:
        """Numbers that have nothing to do with each other."""
        size = range(len(mean))
        rows = tuple(tuple(deviations[row] ** 2 if row == column else 0.0 for column in size) for row in size)
        return cls(tuple(mean), rows)

    def variance(self, direction: Vector) -> float:
        """How unsure a weighted sum of the numbers is."""
        return float(sum(map(mul, direction, self.along(direction))))

    def along(self, direction: Vector) -> Vector:
        """How each of the numbers goes with a weighted sum of them."""
        return tuple([sum(map(mul, row, direction)) for row in self.covariance])

    def told(self, direction: Vector, surprise: float, deviation: float) -> Belief:
        """After a weighted sum of the numbers was measured, `surprise` above what was believed."""
        return self.weighed(direction, surprise, deviation)[0]

    def weighed(self, direction: Vector, surprise: float, deviation: float) -> tuple[Belief, float]:
        """The same, and how unsure that sum was (its variance) before."""
        along = self.along(direction)
        variance = float(sum(map(mul, direction, along)))
        total = variance + deviation**2
        gain = [value / total for value in along]
        mean = tuple([mean + part * surprise for mean, part in zip(self.mean, gain, strict=True)])
        rows = [
            tuple([value - part * other for value, other in zip(row, along, strict=True)])
            for row, part in zip(self.covariance, gain, strict=True)
        ]
        return Belief(mean, tuple(rows)), variance

    def precision(self) -> tuple[Vector, ...]:
        """The inverse of the covariance, by Gauss and Jordan; a covariance needs no pivoting."""
        size = range(len(self.mean))
        rows = [
            [*row, *(1.0 if index == number else 0.0 for index in size)] for number, row in enumerate(self.covariance)
        ]
        for pivot in size:
            scale = max(1e-12, rows[pivot][pivot])
            rows[pivot] = [value / scale for value in rows[pivot]]
            for other in size:
                factor = rows[other][pivot]
                if other != pivot and factor:
                    rows[other] = [value - factor * lead for value, lead in zip(rows[other], rows[pivot], strict=True)]
        return tuple(tuple(row[len(self.mean) :]) for row in rows)

    def vaguer(self, deviations: Sequence[float]) -> Belief:
        """The same, less sure."""
        return Belief(
            self.mean,
            tuple(
                tuple(value + (deviations[row] ** 2 if row == column else 0.0) for column, value in enumerate(values))
                for row, values in enumerate(self.covariance)
            ),
        )

    def drifted(self, index: int, deviation: float) -> Belief:
        """The same when one of the numbers may have changed a little."""
        rows = list(self.covariance)
        row = list(rows[index])
        row[index] += deviation**2
        rows[index] = tuple(row)
        return Belief(self.mean, tuple(rows))

    def with_number(self, index: int, mean: float, deviation: float) -> Belief:
        """The same with one of the numbers known anew, whatever it had to do with the others."""
        size = range(len(self.mean))
        return Belief(
            tuple(mean if row == index else self.mean[row] for row in size),
            tuple(
                tuple(
                    self.covariance[row][column]
                    if index not in (row, column)
                    else (deviation**2 if row == column else 0.0)
                    for column in size
                )
                for row in size
            ),
        )

    def toward(self, direction: Vector, deviations: float) -> Vector:
        """The likeliest numbers whose weighted sum is this many standard deviations above the mean."""
        along = self.along(direction)
        share = deviations / math.sqrt(max(1e-12, sum(map(mul, direction, along))))
        return tuple([mean + share * part for mean, part in zip(self.mean, along, strict=True)])
