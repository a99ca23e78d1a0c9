"""Estimates with their uncertainty: means, differences, and whether draws are unbiased.

Confidence intervals are Student's. Nothing here is random but what it is given; the
directions of a test of bias come from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.999
"""Of confidence intervals, unless told: a claim may rest on several of them."""
BIAS_LEVEL = 0.99999
"""Of all directions of a test of bias together."""


def student(level: float, freedom: int) -> float:
    """Half-width, in standard errors, of a two-sided confidence interval.

    Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5: within
    1 % from three degrees of freedom on.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


class Interval(NamedTuple):
    """A mean, and how far the truth may be from it."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def holds(self, value: float) -> bool:
        """Whether `value` lies within."""
        return self.low <= value <= self.high

    def __truediv__(self, scale: float) -> Interval:
        return Interval(self.mean / scale, self.half / abs(scale))

    def __str__(self) -> str:
        """`0.6671 ± 0.0031`: two digits of the uncertainty."""
        if not 0 < self.half < math.inf or not math.isfinite(self.mean):
            return f"{self.mean:.4g} ± {self.half:.2g}"
        digits = max(0, 1 - math.floor(math.log10(self.half)))
        if digits > 6:
            return f"{self.mean:.3e} ± {self.half:.1e}"
        return f"{self.mean:,.{digits}f} ± {self.half:,.{digits}f}"


def interval(samples: Sequence[float] | NDArray[Any], level: float = LEVEL) -> Interval:
    """The mean of independent samples; two or more. Differences of pairs give the
    interval of a difference."""
    values = np.asarray(samples, np.float64)
    if len(values) < 2:
        raise ValueError(f"{len(values)} samples: an interval needs 2 or more")
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(float(values.mean()), student(level, len(values) - 1) * error)


class Draws:
    """Many draws of a random vector whose mean should be `expected`.

    Bias is looked for in a few directions at once: along the expected vector, along its
    signs, along ones, and along random signs. A bias of any kind shows in random
    directions in proportion to its norm; systematic ones (rounding down, shrinking)
    show far earlier in the first three. A test coordinate by coordinate would be misled
    by coordinates that are seldom drawn.
    """

    def __init__(
        self, expected: NDArray[Any], *, seed: int = 0, directions: int = 29
    ) -> None:
        """expected: [d]."""
        self.expected = np.asarray(expected, np.float64)
        size = len(self.expected)
        chance = np.random.default_rng(seed)
        self.directions = np.vstack(
            [
                self.expected,
                np.sign(self.expected),
                np.ones(size),
                chance.choice([-1.0, 1.0], size=(directions, size)),
            ]
        )
        self.squares: list[float] = []
        """Of every draw, its squared distance to `expected`."""
        self.projections: list[NDArray[np.float64]] = []

    @classmethod
    def of(cls, draws: NDArray[Any], gradients: NDArray[Any]) -> Draws:
        """Of means, [draws, d], of the gradients, [n, d]."""
        found = cls(gradients.mean(axis=0, dtype=np.float64))
        for draw in draws:
            found.add(draw)
        return found

    def add(self, draw: NDArray[Any]) -> None:
        """draw: [d]."""
        error = np.asarray(draw, np.float64) - self.expected
        self.squares.append(float(error @ error))
        self.projections.append(self.directions @ error)

    @property
    def variance(self) -> Interval:
        """Of E ||draw - expected||^2."""
        return interval(self.squares)

    @property
    def bias(self) -> float:
        """The largest mean error of all directions, in standard errors. NaN, which is
        within no limit, if some draw was not finite."""
        values = np.array(self.projections)
        means = np.abs(values.mean(axis=0))
        errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(means == 0, 0.0, means / errors)
        return float(ratios.max())

    @property
    def limit(self) -> float:
        """What `bias` exceeds for one seed in 100,000 where there is none."""
        freedom = len(self.projections) - 1
        return student(1 - (1 - BIAS_LEVEL) / len(self.directions), freedom)

    @property
    def unbiased(self) -> bool:
        return self.bias <= self.limit

    def told(self) -> str:
        """For a table."""
        return (
            f"largest mean error {self.bias:.1f} standard errors in "
            f"{len(self.directions)} directions (limit {self.limit:.1f})"
        )
