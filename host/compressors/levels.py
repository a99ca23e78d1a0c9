"""Levels: the few magnitudes that a gradient's elements are rounded to, and how.

A grid has the levels of NUQSGD (Ramezani-Kebrya et al., arXiv 1908.06077), 0, 2^-s,
..., 1/2, 1, or those of QSGD (Alistarh et al., NeurIPS 2017), 0, 1/s, ..., 1, times a
norm M. Here they are integers, in units of the smallest one, so that a switch can add
them; of b bits one is the sign, and the others count the levels, from 0:

    index        0  1  2  3  4  5   6   7        b = 4
    exponential  0  1  2  4  8  16  32  64       unit M 2^-s, s = 2^(b-1) - 2
    uniform      0  1  2  3  4  5   6   7        unit M / s,  s = 2^(b-1) - 1

An element g is x = |g| / unit, and goes to one of its neighbours on the grid, up with
the probability (x - low) / (high - low). So its expectation is x, for any M >= |g|.

The authors of NUQSGD have no level 0 in their code (`authors=True`): their 2^(b-1)
levels are 1, 2, 4, ..., 128 or 1, 3, 5, ..., 15, and what is smaller than 1 goes to 1
or to -1. Indices count from 1 there.

No logarithm and no branch: `position` is where x lies on the grid, in units of 2^-23
index. On the uniform grid that is x itself; on the exponential one it is, bit for bit,
what a float32 is made of, exponent and mantissa. Add 23 random bits, and drop 23.
Probabilities are multiples of 2^-23: below 2^-24 units nothing goes up.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.integers import INTEGER_TYPES, largest_of
from host.compressors.quantize import ZERO, Floats, random_bits
from host.compressors.scales import LARGEST_SCALE
from host.packetizer import Integers
from switch.compiled import kernel

BITS = {"exponential": (3, 4, 5), "uniform": (2, 3, 4, 5, 6, 7, 8)}

FRACTION_BITS = np.int32(23)
UNITS = np.float32(1 << 23)
ONE_BITS = np.int32(0x3F800000)
ONE = np.float32(1)
SIGN = np.int32(31)

Indices = NDArray[np.int16]
"""[d] of levels, with the signs of their elements; 0: none, which counts as 0."""


class Grid(NamedTuple):
    """One grid, as numbers that kernels compute with."""

    bits: int
    exponential: bool
    top: np.float32
    """The largest level, an integer: M in units."""
    first: np.int32
    """The smallest index: 0, or 1 where the grid has no level 0."""
    stride: np.int32
    """Of a uniform grid: level = index * stride - first."""
    slope: np.float32
    offset: np.float32
    """Below 1, position = slope * x + offset: where the grid has no level 0, x = 0 is
    half-way between the indices 1 and -1, that is 0."""


def grid_of(kind: str, bits: int, *, authors: bool = False) -> Grid:
    """The grid of a kind (see BITS) with so many bits, or ValueError."""
    if bits not in BITS[kind]:
        allowed = ", ".join(map(str, BITS[kind]))
        raise ValueError(f"bits is {bits}: must be one of {allowed}")
    exponential = kind == "exponential"
    first, stride = (1, 2) if authors else (0, 1)
    last = 2 ** (bits - 1) - 1 + first
    top = 2 ** (last - 1) if exponential else last * stride - first
    slope, offset = (0.5, 0.5) if authors else (1.0, 0.0)
    return Grid(
        bits=bits,
        exponential=exponential,
        top=np.float32(top),
        first=np.int32(first),
        stride=np.int32(stride),
        slope=np.float32(slope),
        offset=np.float32(offset),
    )


def last_index(grid: Grid) -> int:
    """Of the largest level."""
    return int(2 ** (grid.bits - 1) - 1 + grid.first)


def levels_of(grid: Grid) -> NDArray[np.int32]:
    """[2^(bits-1)] the integers of the levels, by index."""
    indices = np.arange(2 ** (grid.bits - 1), dtype=np.int32) + grid.first
    if grid.exponential:
        return np.int32(1) << indices >> np.int32(1)
    return indices * grid.stride - grid.first


def table_of(grid: Grid, code_bits: int) -> NDArray[np.int32]:
    """[2^code_bits] the integer of each code, for the switch. The highest bit of a code
    is the sign, the others are the index, from 0. What is never sent is 0."""
    levels = levels_of(grid)
    table = np.zeros((2, 2 ** (code_bits - 1)), np.int32)
    table[0, : len(levels)] = levels
    table[1, : len(levels)] = -levels
    return table.reshape(-1)


def most_workers(grid: Grid, result_type: str) -> int:
    """How many workers may send the largest level at once. 0: not even one."""
    return largest_of(INTEGER_TYPES[result_type]) // int(grid.top)


@kernel
def position(x: np.float32, grid: Grid) -> np.int32:
    """Of x in [0, top], in units of 2^-23 index."""
    if grid.exponential:
        below = np.float32(np.float32(x * grid.slope) + np.float32(grid.offset + ONE))
        above = np.float32(
            x + x
        )  # 2^index, if x is a level; larger than `below` if > 1
        power = np.float32(below if below > above else above)
        return np.int32(power.view(np.int32) - ONE_BITS)
    index = np.float32(np.float32(x * grid.slope) + grid.offset)
    return np.int32(np.rint(np.float32(index * UNITS)))


@kernel
def level_of(
    element: np.float32,
    negative: np.int32,
    scale: np.float32,
    grid: Grid,
    at: np.uint32,
    key: NDArray[np.uint32],
) -> tuple[np.int32, np.int32]:
    """Index and sign of a level next to scale * element. `negative`, and what comes
    back as sign: -1 for negative elements, else 0. `at`: the element's index, for its
    random bits. Elements beyond the grid, and NaN, go to its top."""
    x = np.float32(abs(element) * scale)
    x = np.float32(x if x < grid.top else grid.top)
    up = np.int32(random_bits(at, key))
    index = np.int32(np.int32(position(x, grid) + up) >> FRACTION_BITS)
    across = index < grid.first  # index 0 of a grid without it is the other sign's 1
    sign = np.int32(~negative) if across else negative
    return (grid.first if across else index), sign


@kernel
def integer_of(index: np.int32, grid: Grid) -> np.int32:
    """The integer of a level."""
    if grid.exponential:
        # the float32 2^index, because a shift by another number in each lane is dear
        bits = np.int32(np.int32(index << FRACTION_BITS) + ONE_BITS)
        return np.int32(np.int32(bits.view(np.float32)) >> np.int32(1))
    return np.int32(np.int32(index * grid.stride) - grid.first)


@kernel
def signed(integer: np.int32, sign: np.int32) -> np.int32:
    """The integer with a sign: -1 or 0."""
    return np.int32(np.int32(integer ^ sign) - sign)


@kernel
def scale_of(norm: np.float32, grid: Grid) -> np.float32:
    """Units in a float, for elements up to `norm`: top / norm, rounded so that no
    product with such an element exceeds top. 0 for the norm 0."""
    if norm == 0:
        return np.float32(0)
    top = np.float64(grid.top)
    scale = np.float32(min(top / np.float64(norm), LARGEST_SCALE))
    if np.float64(scale) * np.float64(norm) > top:
        return np.int32(scale.view(np.int32) - np.int32(1)).view(np.float32)
    return scale


@kernel
def fill_scales(norms: Floats, grid: Grid, scales: Floats) -> None:
    for block in range(len(norms)):
        scales[block] = scale_of(norms[block], grid)


def scales_of(norms: NDArray[np.int32], grid: Grid) -> Floats:
    """[blocks] `scale_of` each norm, given by its bit pattern."""
    scales = np.empty(len(norms), np.float32)
    fill_scales(norms.view(np.float32), grid, scales)
    return scales


@kernel
def fill_indices(
    vector: Floats,
    block_ends: Integers,
    scales: Floats,
    grid: Grid,
    key: NDArray[np.uint32],
    indices: Indices,
) -> None:
    """Round every element to a level. Blocks with the scale 0 have none."""
    bits, start = vector.view(np.int32), 0
    for block in range(len(block_ends)):
        end, scale = block_ends[block], scales[block]
        if scale == ZERO:
            indices[start:end] = 0
            end = start
        for j in range(start, end):
            negative = np.int32(bits[j] >> SIGN)
            index, sign = level_of(vector[j], negative, scale, grid, np.uint32(j), key)
            indices[j] = signed(index, sign)
        start = block_ends[block]


@kernel
def add_levels(
    indices: Indices,
    block_ends: Integers,
    scales: Floats,
    grid: Grid,
    num_workers: int,
    mean: Floats,
) -> None:
    """Add a worker's estimate, divided by the number of workers."""
    start = 0
    for block in range(len(block_ends)):
        end, scale = block_ends[block], scales[block]
        inverse = 1.0 / (num_workers * np.float64(scale)) if scale > ZERO else 0.0
        unit = np.float32(inverse)
        for j in range(start, end):
            index = np.int32(abs(indices[j]))
            integer = integer_of(index, grid) if index else np.int32(0)
            sign = np.int32(-1) if indices[j] < 0 else np.int32(0)
            mean[j] += np.float32(np.float32(signed(integer, sign)) * unit)
        start = end
