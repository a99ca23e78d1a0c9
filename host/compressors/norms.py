"""Largest exponent and Euclidean norm of a float32 vector; both exact enough to be the
same on every worker."""

import numpy as np
from numpy.typing import NDArray

from host.compressors.quantize import (
    INFINITY_BITS,
    MAGNITUDE_BITS,
    NON_FINITE,
    Floats,
    Integers,
)
from switch.compiled import kernel
from switch.protocol import NO_EXPONENT

LARGEST_EXPONENT = 126  # of a finite block: 127 is NON_FINITE
RUNNING_SUMS = 64


@kernel
def largest_bits(segment: Floats) -> int:
    """Bit pattern of the largest |element|; at least INFINITY_BITS if one is a NaN or
    an infinity. Patterns of non-negative floats order as the floats do."""
    bits = segment.view(np.int32)
    largest = np.int32(0)
    for j in range(len(bits)):
        magnitude = np.int32(bits[j] & MAGNITUDE_BITS)
        largest = magnitude if magnitude > largest else largest
    return int(largest)


@kernel
def exponent_of(bits: int) -> int:
    """The least e with 2^e > the float of this pattern, at most LARGEST_EXPONENT.

    NO_EXPONENT for 0, NON_FINITE for a NaN or an infinity; -126 for all denormals.
    """
    if bits >= INFINITY_BITS:
        return NON_FINITE
    if bits == 0:
        return NO_EXPONENT
    return min((bits >> 23) - 126, LARGEST_EXPONENT)


@kernel
def fill_exponents(vector: Floats, block_ends: Integers, exponents: Integers) -> None:
    """Exponent of each block; see `exponent_of`."""
    start = 0
    for block in range(len(block_ends)):
        end = block_ends[block]
        exponents[block] = exponent_of(largest_bits(vector[start:end]))
        start = end


def block_exponents(vector: Floats, block_ends: Integers) -> Integers:
    """[blocks] exponents of the blocks that end before `block_ends`."""
    exponents = np.empty(len(block_ends), np.int64)
    fill_exponents(vector, block_ends, exponents)
    return exponents


@kernel
def add_squares(vector: Floats, sums: NDArray[np.float64]) -> None:
    """Add the square of element i to sums[i mod 64]."""
    for start in range(0, len(vector), RUNNING_SUMS):
        row = vector[start : start + RUNNING_SUMS]
        for j in range(len(row)):
            sums[j] += np.float64(row[j]) * np.float64(row[j])


def squared_norm(vector: Floats) -> float:
    """Sum of squares in float64, in one fixed order: the same bits on every machine.

    Running sums let the compiler use vectors without changing the order; the square of
    a float32 is exact in float64, so that a fused multiply-add changes nothing.
    """
    sums = np.zeros(RUNNING_SUMS)
    add_squares(vector, sums)
    total = 0.0
    for partial in sums.tolist():
        total += partial
    return total
