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
for base 2 the exponent field is the code. Other bases have their bounds in a table; the
exponent and the first bits after it find the place there, so that one more comparison
decides. Denormals are dropped. Random numbers are
those of `quantize.random_bits`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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
BEYOND = np.int32(0x7FFFFFFF)  # a bound that nothing reaches


class Places(NamedTuple):
    """What the kernel for any base needs. Values are relative to M, by m."""

    bounds: NDArray[np.int32]
    """[tau + 2] bit pattern from which on an element belongs to m + 1."""
    first: Bytes
    """[bins] m at the start of each bin; a bin has at most one bound in it."""
    first_bin: np.int32
    bin_shift: np.int32
    """Bit pattern >> this = first_bin + bin."""
    lows: NDArray[np.float64]
    """[tau + 2] level m; of m = 0: the next one below, or 0 if dense."""
    gaps: NDArray[np.float64]
    """[tau + 2] level m + 1 less level m; of the last one: infinite."""


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
def encode_any_base(
    bits: NDArray[np.int32],
    codes: Bytes,
    scale: np.int32,
    places: Places,
    random: bool,
    key: NDArray[np.uint32],
) -> None:
    """As `encode_base_2`, by the table of bounds."""
    last = np.int32(len(places.first) - 1)
    for j in range(len(bits)):
        magnitude = np.int32(bits[j] & MAGNITUDE_BITS)
        relative = np.int32(magnitude - scale)
        place = np.int32(np.int32(relative >> places.bin_shift) - places.first_bin)
        place = place if place > 0 else np.int32(0)
        level = np.int32(places.first[place if place < last else last])
        level = np.int32(level + np.int32(relative >= places.bounds[level]))
        if random:
            positive = relative if relative > 0 else np.int32(0)
            value = np.float64(np.int32(positive).view(np.float32))
            chance = 1 - np.float64(uniform(np.uint32(j), key))  # as base 2 has it
            up = chance * places.gaps[level] < value - places.lows[level]
            level = np.int32(level + np.int32(up))
        level = level if magnitude >= SMALLEST_NORMAL else np.int32(0)
        sign = np.int32(NEGATIVE) if bits[j] < 0 and level > 0 else np.int32(0)
        codes[j] = np.uint8(level | sign)


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
            encode_any_base(bits, codes, scale, self._places, self.random, key)
        return codes

    @cached_property
    def _places(self) -> Places:
        lows = self.levels.copy()
        if not self.dense or not self.random:
            lows[0] = self.base ** -(self.threshold + 1.0)
        if self.random:
            bounds = patterns(lows[1:])
        else:
            bounds = patterns(lows[1:] / math.sqrt(self.base))
        shift, first_bin, first = bins_of(bounds)
        return Places(
            bounds=np.append(bounds, BEYOND),
            first=first,
            first_bin=np.int32(first_bin),
            bin_shift=np.int32(shift),
            lows=lows,
            gaps=np.append(np.diff(lows), np.inf),
        )


def patterns(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Bit patterns of the least float32 that are not below `values`."""
    rounded = values.astype(np.float32)
    above = np.nextafter(rounded, np.float32(np.inf))
    return np.where(rounded < values, above, rounded).view(np.int32)


def bins_of(bounds: NDArray[np.int32]) -> tuple[int, int, Any]:
    """The coarsest bins of bit patterns with at most one of the bounds in each.

    Returns the shift from a pattern to its bin, the first bin, and how many bounds lie
    at each bin's start or before: uint8[bins].
    """
    shift = 23
    while len(np.unique(bounds >> shift)) < len(bounds):
        shift -= 1
    # from one bin earlier on, which stands for all that is smaller
    start, stop = (bounds[0] >> shift) - 1, (bounds[-1] >> shift) + 1
    bins = np.arange(start, stop, dtype=np.int64)
    first = np.searchsorted(bounds, bins << shift, side="right")
    return shift, int(bins[0]), first.astype(np.uint8)
