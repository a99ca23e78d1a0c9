"""FastSGD's value coder: the reciprocal's logarithm as a small integer.

Yang, Chen, Zeng, Gao, "FastSGD: A Fast Compressed SGD Framework for Distributed Machine
Learning" (arXiv 2112.04291). RECONSTRUCTED from the abstract, which says: a reciprocal
mapper, logarithm quantization, and a threshold that filters the integers. Base,
rounding and layout are ours. With M a power of two that all values are relative to:

    r = M / |v|                          reciprocal mapper
    p = log_b r, rounded, at least 0     logarithm quantization; |v| > M becomes M
    p > tau: the element is dropped      threshold filter
    decoded: sign(v) M b^-p

Deterministic rounding is to the nearest p, a tie to the smaller: the error is at most
sqrt(b) - 1 of |v|. Random rounding takes one of the two levels around |v| so that the
mean is |v|: the variance is at most (b - 1)^2 / (4 b) of v^2. It is ours, and unbiased
where nothing is dropped: `dense` codes round what lies under the last level to that
level or to zero.

An element's code is one byte: 0 where it is absent, else m = tau + 1 - p, plus 128 if
it is negative. Larger codes are larger magnitudes, as NUQSGD's are: its levels are
those of base 2, tau = 2^(bits-1) - 2, dense.

No logarithm is taken of an element. All is comparison of the bit patterns of floats:
for base 2 the exponent field is the code. Other bases have their bounds in a table,
where a polynomial guesses the place; the bounds there say whether the guess was right.
Denormals are dropped. Random numbers are those of `quantize.random_bits`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.quantize import (
    MAGNITUDE_BITS,
    ONE,
    Floats,
    random_bits,
    uniform,
)
from host.packetizer import Bytes
from switch.compiled import kernel

LARGEST_THRESHOLD = 126  # 127 magnitudes, two signs, and absent fit a byte
SMALLEST_BASE, LARGEST_BASE = 1.01, 16.0
NEGATIVE = 128  # of a code: the sign
CODES = 256
NO_TABLE = -1

FRACTION = np.int32(23)  # bits of a float32's fraction
ONE_PATTERN = np.int32(0x3F800000)  # bits of the float32 1.0
SMALLEST_NORMAL = NEXT_EXPONENT = np.int32(0x00800000)
# 2^23 - (the fraction of sqrt(2), rounded up): carries into the exponent from sqrt(2)
HALF_STEP = np.int32(0x800000 - 0x3504F4)
FRACTION_BITS = np.int32(0x007FFFFF)
NONE = np.int32(0)  # level of what is absent
HALF = np.int64(32)  # bits of one of the two floats in a step
BLOCK = 1024  # elements that are looked up at once
# log2(1 + x), x in [0, 1): Chebyshev's polynomial of degree 6, to 5e-6
C1, C2, C3 = np.float32(1.4424535), np.float32(-0.7173128), np.float32(0.4545085)
C4, C5, C6 = np.float32(-0.2726976), np.float32(0.1176131), np.float32(-0.0245685)


class Places(NamedTuple):
    """What the kernels for any base need. Values are relative to M, by m."""

    bounds: Floats
    """[tau + 3] the least float32 that belongs to m; of m = 0: 0; then infinity."""
    steps: NDArray[np.int64]
    """[tau + 2] two float32: what a value is above, and how far it is to the next
    level up. Random rounding goes up in proportion; deterministic, never."""
    offset: np.float32
    slope: np.float32
    """m is about offset + slope * log2 of a value."""


@kernel
def encode_base_2(
    bits: NDArray[np.int32],
    codes: Bytes,
    scale: np.int32,
    threshold: int,
    random: bool,
    dense: bool,
    key: NDArray[np.uint32],
) -> None:
    """bits: of float32; scale: exponent of M, in the place of a float's exponent.

    With x = |v| / (M 2^-tau), the exponent of the float 2 x is m, and its fraction is
    how far above the level |v| is; below the last level of dense codes, 1 + x has both.
    """
    raised = np.int32(np.int32(threshold) << FRACTION)
    step = HALF_STEP
    for j in range(len(bits)):
        magnitude = np.int32(bits[j] & MAGNITUDE_BITS)
        relative = np.int32(magnitude - scale)
        x = np.int32((relative if relative < ONE_PATTERN else ONE_PATTERN) + raised)
        x = x if x > 0 else np.int32(0)
        if dense and random:
            small = np.float32(np.int32(x).view(np.float32) + ONE)
            large = np.float32(np.float32(2) * np.int32(x).view(np.float32))
            position = np.float32(small if small > large else large).view(np.int32)
        else:
            position = np.int32(x + NEXT_EXPONENT)
        if random:
            step = np.int32(random_bits(np.uint32(j), key))
        level = np.int32(np.int32(position - ONE_PATTERN) + step) >> FRACTION
        level = level if level > 0 else np.int32(0)
        level = level if magnitude >= SMALLEST_NORMAL else np.int32(0)
        sign = np.int32(NEGATIVE) if bits[j] < 0 and level > 0 else np.int32(0)
        codes[j] = np.uint8(level | sign)


@kernel
def relative_bits(bits: np.int32, scale: np.int32) -> np.int32:
    """Pattern of |v| / M; of 0 if that is below all floats."""
    relative = np.int32(np.int32(bits & MAGNITUDE_BITS) - scale)
    return np.int32(relative if relative > NONE else NONE)


@kernel
def guess_levels(
    bits: NDArray[np.int32], levels: Bytes, scale: np.int32, places: Places
) -> None:
    """About log_b of the values: hardly ever wrong, and then by one or two."""
    last = np.int32(len(places.steps) - 1)
    for j in range(len(bits)):
        pattern = np.int32(relative_bits(bits[j], scale))
        exponent = np.float32(np.int32(pattern >> FRACTION))
        x = np.int32((pattern & FRACTION_BITS) | ONE_PATTERN).view(np.float32) - ONE
        log2 = exponent + x * (C1 + x * (C2 + x * (C3 + x * (C4 + x * (C5 + x * C6)))))
        level = np.int32(places.offset + places.slope * log2)
        level = level if level > NONE else NONE
        levels[j] = np.uint8(level if level < last else last)


@kernel
def look_up_steps(levels: Bytes, places: Places, steps: NDArray[np.int64]) -> None:
    """In a loop of its own: nothing here can be vectorized."""
    for j in range(len(levels)):
        steps[j] = places.steps[levels[j]]


@kernel
def round_from(
    bits: NDArray[np.int32],
    codes: Bytes,
    steps: NDArray[np.int64],
    scale: np.int32,
    random: bool,
    start: np.uint32,
    key: NDArray[np.uint32],
) -> int:
    """Make codes of levels. Returns how many of these were wrong."""
    wrong = np.int32(0)
    for j in range(len(bits)):
        low = np.int32(steps[j]).view(np.float32)
        gap = np.int32(steps[j] >> HALF).view(np.float32)
        value = np.int32(relative_bits(bits[j], scale)).view(np.float32)
        above = np.float32(value - low)
        level = np.int32(codes[j])
        wrong += np.int32((level > NONE and above < 0) or above >= gap)
        if random:
            chance = np.float32(ONE - uniform(np.uint32(start + j), key))
            level = np.int32(level + np.int32(np.float32(chance * gap) < above))
        level = level if bits[j] & MAGNITUDE_BITS >= SMALLEST_NORMAL else NONE
        sign = np.int32(NEGATIVE) if bits[j] < 0 and level > NONE else NONE
        codes[j] = np.uint8(level | sign)
    return int(wrong)


@kernel
def correct_levels(
    bits: NDArray[np.int32], levels: Bytes, scale: np.int32, places: Places
) -> None:
    """By the bounds."""
    for j in range(len(bits)):
        value = np.int32(relative_bits(bits[j], scale)).view(np.float32)
        level = np.int64(levels[j])
        while value < places.bounds[level]:
            level -= 1
        while value >= places.bounds[level + 1]:
            level += 1
        levels[j] = np.uint8(level)


@kernel
def encode_any_base(
    bits: NDArray[np.int32],
    codes: Bytes,
    scale: np.int32,
    places: Places,
    random: bool,
    key: NDArray[np.uint32],
    steps: NDArray[np.int64],
) -> None:
    """As `encode_base_2`, by a table of bounds. steps: room for some elements."""
    for start in range(0, len(bits), len(steps)):
        block = bits[start : start + len(steps)]
        part = codes[start : start + len(steps)]
        guess_levels(block, part, scale, places)
        look_up_steps(part, places, steps)
        first = np.uint32(start)
        if round_from(block, part, steps, scale, random, first, key) > 0:
            guess_levels(block, part, scale, places)
            correct_levels(block, part, scale, places)
            look_up_steps(part, places, steps)
            round_from(block, part, steps, scale, random, first, key)


@dataclass(frozen=True)
class LogCodes:
    """The codes of one base, threshold and rounding."""

    base: float
    """b, SMALLEST_BASE to LARGEST_BASE."""
    threshold: int
    """tau: the largest p that is kept."""
    random: bool
    dense: bool
    """Nothing is dropped; see the module."""
    table_bits: int = NO_TABLE
    """F: levels are round(2^F b^-p) / 2^F, whose sums are integers; or NO_TABLE."""

    def __post_init__(self) -> None:
        if not SMALLEST_BASE <= self.base <= LARGEST_BASE:
            raise ValueError(
                f"base is {self.base}: must be {SMALLEST_BASE} to {LARGEST_BASE}"
            )
        most = min(LARGEST_THRESHOLD, math.floor(126 / math.log2(self.base)))
        if not 0 <= self.threshold <= most:
            raise ValueError(
                f"threshold is {self.threshold}: must be 0 to {most} for base "
                f"{self.base}, so that base^threshold is at most 2^126 and a code with "
                "its sign fits a byte"
            )
        if self.table_bits != NO_TABLE and (np.diff(self.levels) <= 0).any():
            raise ValueError(
                f"threshold is {self.threshold}: the smallest levels of base "
                f"{self.base} are the same integer, or 0, where the largest one is "
                f"2^{self.table_bits}, all that the sum has room for with so many "
                "workers; threshold must be smaller, or base or result_type larger"
            )

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """[tau + 2] magnitude of each m, relative to M; of m = 0 (absent): 0."""
        # divisions one after the other: a power is not the same on every machine
        powers = np.cumprod(np.append(1.0, np.full(self.threshold, 1 / self.base)))
        powers = powers[::-1]
        if self.table_bits != NO_TABLE:
            powers = np.rint(np.ldexp(powers, self.table_bits))
            powers = np.ldexp(powers, -self.table_bits)
        return np.append(0.0, powers)

    def values(self, exponent: int) -> NDArray[np.float64]:
        """[256] what each code stands for, M = 2^exponent; 0 where no code is."""
        values = np.zeros(CODES)
        values[: self.threshold + 2] = np.ldexp(self.levels, exponent)
        values[NEGATIVE + 1 :] = -values[1:NEGATIVE]
        return values

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """[256] the integer of each code, for the switch."""
        return self.values(self.table_bits).astype(np.int32)

    def encode(self, vector: Floats, exponent: int, key: NDArray[np.uint32]) -> Bytes:
        """[d] the codes of finite float32[d], M = 2^exponent.

        exponent: -126 to 126; no element may be as large as 2^128 M. key: see
        `quantize.random_key`; not used by deterministic rounding.
        """
        codes = np.empty(len(vector), np.uint8)
        bits, scale = vector.view(np.int32), np.int32(exponent << 23)
        if self.base == 2:
            encode_base_2(
                bits, codes, scale, self.threshold, self.random, self.dense, key
            )
        else:
            steps = np.empty(BLOCK, np.int64)
            encode_any_base(bits, codes, scale, self.places, self.random, key, steps)
        return codes

    @cached_property
    def places(self) -> Places:
        """Of any base."""
        lows = self.levels.copy()
        if not self.dense or not self.random:
            lows[0] = self.base ** -(self.threshold + 1.0)
        if not self.random:
            lows[1:] /= math.sqrt(self.base)
        bounds = least_floats(np.append(lows, np.inf))
        slope = 1 / math.log2(self.base)
        middle = self.threshold + (1 if self.random else 1.5)
        return Places(
            bounds=np.append(np.float32(0), bounds[1:]),
            steps=np.stack([bounds[:-1], np.diff(bounds)], 1).view(np.int64)[:, 0],
            offset=np.float32(middle - 127 * slope),
            slope=np.float32(slope),
        )


def least_floats(values: NDArray[np.float64]) -> Floats:
    """The least float32 that are not below `values`."""
    rounded = values.astype(np.float32)
    above = np.nextafter(rounded, np.float32(np.inf))
    return np.where(rounded < values, above, rounded)
