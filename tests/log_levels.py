"""How random rounding to the levels of log codes spreads, for the tests."""

import numpy as np
from numpy.typing import NDArray

from host.compressors.logcodes import LogCodes

Floats = NDArray[np.float64]


def spread_of(
    vector: NDArray[np.float32], log: LogCodes, exponent: int = 0
) -> tuple[Floats, Floats]:
    """[d] the variance of each element's estimate, M = 2^exponent, and how far its two
    values lie apart. No element may be beyond M."""
    size, levels = np.abs(vector.astype(np.float64)), np.ldexp(log.levels, exponent)
    up = np.maximum(np.searchsorted(levels, size), 1)
    low, high = levels[up - 1], levels[up]
    return (high - size) * (size - low), high - low


def spread_of_mean(
    gradients: NDArray[np.float32], log: LogCodes, exponents: list[int]
) -> tuple[Floats, Floats]:
    """The same of the workers' mean; gradients: [n, d]."""
    spreads = [
        spread_of(each, log, exponent)
        for each, exponent in zip(gradients, exponents, strict=True)
    ]
    variances, jumps = map(np.array, zip(*spreads, strict=True))
    n = len(gradients)
    return variances.sum(axis=0) / n**2, jumps.sum(axis=0) / n
