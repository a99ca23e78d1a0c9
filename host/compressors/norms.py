"""Largest exponent and norms of a float32 vector and of its blocks; the same bits on
every machine."""

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
LARGEST_NORM = np.float32(2.0**126)  # norms of blocks count as this at most
LARGEST_NORM_BITS = 0x7E800000
RUNNING_SUMS = 64
SQUARES = 4096
"""How many are added up before their sum is added to the others'."""
NORMS = ("l2", "linf")


def block_ends(elements: int, block_size: int) -> Integers:
    """[blocks] index after each block's last element, of one element or more; the last
    block may be short."""
    size = min(block_size, elements)  # larger ones may not fit an int64
    return np.append(np.arange(size, elements, size), elements)


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
def add_squares(vector: Floats, sums: NDArray[np.float64]) -> None:
    """Add the square of element i to sums[i mod 64]."""
    for start in range(0, len(vector), RUNNING_SUMS):
        row = vector[start : start + RUNNING_SUMS]
        for j in range(len(row)):
            sums[j] += np.float64(row[j]) * np.float64(row[j])


@kernel
def sum_of_squares(segment: Floats, sums: NDArray[np.float64]) -> float:
    """In float64, in one fixed order: the same bits on every machine. sums: [64] of any
    contents.

    Running sums let the compiler use vectors without changing the order; the square of
    a float32 is exact in float64, so that a fused multiply-add changes nothing.
    """
    sums[:] = 0.0
    add_squares(segment, sums)
    total = 0.0
    for partial in sums:
        total += partial
    return total


@kernel
def add_up(vector: Floats, sums: NDArray[np.float64]) -> float:
    """`sum_of_squares` of each SQUARES elements, one after the other."""
    total = 0.0
    for start in range(0, len(vector), SQUARES):
        total += sum_of_squares(vector[start : start + SQUARES], sums)
    return total


def squared_norm(vector: Floats) -> float:
    """Sum of squares in float64, in one fixed order, which devices can have too."""
    return float(add_up(vector, np.empty(RUNNING_SUMS)))


@kernel
def euclidean_bits(segment: Floats, sums: NDArray[np.float64]) -> int:
    """Bit pattern of the Euclidean norm as a float32, at least that of the largest
    |element|: both roots and roundings are monotonous. As `largest_bits` for a NaN or
    an infinity. sums: [64] of any contents."""
    total = sum_of_squares(segment, sums)
    if not np.isfinite(total):
        return INFINITY_BITS
    return min(int(np.float32(np.sqrt(total)).view(np.int32)), LARGEST_NORM_BITS)


@kernel
def fill_norms(
    vector: Floats,
    block_ends: Integers,
    euclidean: bool,
    sums: NDArray[np.float64],
    norms: NDArray[np.int32],
) -> None:
    start = 0
    for block in range(len(block_ends)):
        segment = vector[start : block_ends[block]]
        bits = euclidean_bits(segment, sums) if euclidean else largest_bits(segment)
        if LARGEST_NORM_BITS < bits < INFINITY_BITS:
            bits = LARGEST_NORM_BITS
        norms[block] = bits
        start = block_ends[block]


def block_norms(vector: Floats, block_ends: Integers, norm: str) -> NDArray[np.int32]:
    """[blocks] bit patterns of the blocks' norms, l2 or linf, as float32.

    At most that of 2^126, but INFINITY_BITS or more for a block with a NaN or an
    infinity. Patterns of non-negative floats order as the floats do.
    """
    norms = np.empty(len(block_ends), np.int32)
    sums = np.empty(RUNNING_SUMS)
    fill_norms(vector, block_ends, norm == "l2", sums, norms)
    return norms


def largest_bits_of(vector: Floats, block_ends: Integers) -> NDArray[np.int32]:
    """[blocks] `largest_bits` of each of a few blocks."""
    parts = np.split(vector, block_ends[:-1])
    return np.array([largest_bits(part) for part in parts], np.int32)


def exponents_of(norms: NDArray[np.int32]) -> Integers:
    """[blocks] `exponent_of` each norm."""
    exponents = np.empty(len(norms), np.int64)
    fill_exponents(norms, exponents)
    return exponents


@kernel
def fill_exponents(norms: NDArray[np.int32], exponents: Integers) -> None:
    for block in range(len(norms)):
        exponents[block] = exponent_of(norms[block])
