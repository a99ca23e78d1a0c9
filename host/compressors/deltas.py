"""FastSGD's key coder: adaptive fine-grained delta encoding.

Yang, Chen, Zeng, Gao, "FastSGD" (arXiv 2112.04291) has the name; RECONSTRUCTED, for the
abstract says no more than that fewer bits a key are needed. Its nearest public relative
is SketchML's adaptive delta encoder. Ascending keys are written as differences, a
difference as units of 32 / m bits: as many as it needs, told by a flag before it.

    m       1, 2, 4, 8 or 16 intervals; m = 1 is the plain 32 bits, without a flag
    fixed   the flag is units - 1 in log2(m) bits
    unary   the flag is units - 1 ones, then a zero

m and the kind of flag are those that need the fewest bits for these very keys, which a
histogram of the differences' lengths tells. Two passes, then: linear time. Layout, in
bytes: count (4, big-endian), m (1), kind (1), then flag and difference of each key in
turn, in the order of `bits`.

Differences from SketchML's: flags lie beside their differences, not in a stream of
their own; a unary flag is one bit shorter (it spends `units` ones); its histogram is
off by one, and differences from 2^31 on are out of its range.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.bits import (
    NONE,
    ONE,
    Words,
    from_bytes,
    get,
    length_of,
    low_bits,
    put,
    room_for,
    to_bytes,
)
from host.packetizer import Integers
from switch.compiled import kernel

Keys = NDArray[np.uint32]

KEY_BITS = 32
INTERVALS = (1, 2, 4, 8, 16)
KINDS = ("fixed", "unary")
HEADER = struct.Struct(">IBB")  # count, m, kind
TRUNCATED, TOO_MANY_UNITS, NOT_ASCENDING, BEYOND_LIMIT = -1, -2, -3, -4
WHY = {
    TRUNCATED: "it ends before the last key",
    TOO_MANY_UNITS: "a flag tells more units than there are",
    NOT_ASCENDING: "two keys are the same",
    BEYOND_LIMIT: "a key is beyond the vector",
}


class Coding(NamedTuple):
    """How the differences of some keys are written."""

    intervals: int
    """m"""
    unary: bool

    @property
    def unit(self) -> int:
        """Bits of a unit."""
        return KEY_BITS // self.intervals

    @property
    def flag_bits(self) -> int:
        """Of a fixed flag."""
        return self.intervals.bit_length() - 1

    def cost(self, lengths: Integers) -> int:
        """Bits of all keys. lengths: [33] how many differences have so many bits."""
        units = -(-np.arange(KEY_BITS + 1) // self.unit)
        flags = units if self.unary else np.full_like(units, self.flag_bits)
        return int(lengths @ (self.unit * units + flags))


def codings() -> Iterator[Coding]:
    """All of them; one interval has no flag, and so one kind."""
    for intervals in INTERVALS:
        for unary in (False, True)[: 1 if intervals == 1 else 2]:
            yield Coding(intervals, unary)


def best_coding(lengths: Integers) -> Coding:
    """The one of least cost; see `Coding.cost`."""
    return min(codings(), key=lambda coding: coding.cost(lengths))


def encode_keys(keys: Keys) -> bytes:
    """Strictly ascending uint32[k] as bytes; ValueError if they are not ascending."""
    lengths = np.zeros(KEY_BITS + 1, np.int64)
    if not count_lengths(keys, lengths):
        raise ValueError("keys: must be strictly ascending")
    coding = best_coding(lengths)
    bits = coding.cost(lengths)
    words = room_for(bits)
    write_keys(keys, words, coding.unit, coding.flag_bits, coding.unary)
    header = HEADER.pack(len(keys), coding.intervals, coding.unary)
    return header + to_bytes(words, bits)


def decode_keys(encoded: bytes | memoryview, limit: int) -> tuple[Keys, int]:
    """The keys, and of how many bytes they were made; there may be more behind.

    limit: keys are below it. Raises ValueError for what `encode_keys` does not write.
    """
    view = memoryview(encoded)
    if len(view) < HEADER.size:
        raise malformed(f"{len(view)} bytes are no header")
    count, intervals, kind = HEADER.unpack_from(view)
    if count > limit:
        raise malformed(f"{count} keys for a vector of {limit} elements")
    if Coding(intervals, bool(kind)) not in codings() or kind >= len(KINDS):
        raise malformed(f"no coding has {intervals} intervals and flags of kind {kind}")
    coding = Coding(intervals, bool(kind))
    longest = count * (KEY_BITS + intervals)
    words, bits = from_bytes(view[HEADER.size : HEADER.size + -(-longest // 8)])
    if bits < count * (coding.unit + (1 if coding.unary else coding.flag_bits)):
        raise malformed(WHY[TRUNCATED])  # before there is room for so many keys
    keys = np.empty(count, np.uint32)
    end = read_keys(
        words, bits, keys, limit, coding.unit, coding.flag_bits, coding.unary
    )
    if end < 0:
        raise malformed(WHY[end])
    return keys, HEADER.size + -(-end // 8)


def malformed(reason: str) -> ValueError:
    return ValueError(f"malformed keys: {reason}")


@kernel
def count_lengths(keys: Keys, lengths: Integers) -> bool:
    """Differences by their bits. False: the keys are not strictly ascending."""
    previous = np.int64(0)
    ascending = True
    for i in range(len(keys)):
        difference = np.int64(keys[i]) - previous
        ascending = ascending and bool(difference > 0 or i == 0)
        lengths[length_of(np.int64(abs(difference)))] += 1
        previous = np.int64(keys[i])
    return ascending


@kernel
def write_keys(
    keys: Keys, words: Words, unit: int, flag_bits: int, unary: bool
) -> None:
    at, shift = 0, length_of(np.int64(unit)) - 1  # a division by a variable is dear
    previous = np.int64(0)
    for i in range(len(keys)):
        difference = np.int64(keys[i]) - previous
        units = (length_of(difference) + unit - 1) >> shift
        # units - 1 ones, then a zero: 2^(units - 1) - 1 in `units` bits
        flag = (1 << (units - 1)) - 1 if unary else units - 1
        width = units if unary else flag_bits
        number = np.uint64(flag) | np.uint64(difference) << np.uint64(width)
        at = put(words, at, np.uint64(number), width + units * unit)
        previous = np.int64(keys[i])


@kernel
def count_ones(number: np.uint64) -> np.uint64:
    """How many of the lowest bits are ones, before the first zero."""
    ones = NONE
    while number & ONE != NONE:
        number = np.uint64(number >> ONE)
        ones = np.uint64(ones + ONE)
    return ones


@kernel
def read_keys(
    words: Words,
    bits: int,
    keys: Keys,
    limit: int,
    unit: int,
    flag_bits: int,
    unary: bool,
) -> int:
    """Returns where the last key ends, or why there is none: see `WHY`."""
    at = 0
    key = np.int64(0)
    most = KEY_BITS // unit
    for i in range(len(keys)):
        window = get(words, at)  # at < bits, or in the zeros after it
        flag = np.int64(count_ones(window) if unary else low_bits(window, flag_bits))
        units = int(flag) + 1
        width = units if unary else flag_bits
        if units > most:
            return TOO_MANY_UNITS
        if at + width + units * unit > bits:
            return TRUNCATED
        difference = np.int64(
            low_bits(np.uint64(window >> np.uint64(width)), units * unit)
        )
        if difference == 0 and i > 0:
            return NOT_ASCENDING
        key += difference
        if key >= limit:
            return BEYOND_LIMIT
        keys[i] = np.uint32(key)
        at += width + units * unit
    return at
