"""Streams of bits in memory: numbers of any width, one after the other.

Bit i of a stream is bit i mod 64 of the 64-bit word i div 64, and bit i mod 8 of the
byte i div 8: a number's low bits come first. Words beyond the stream are zero.
"""

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel

Words = NDArray[np.uint64]

WORD_BITS = np.uint64(64)
WITHIN = np.int64(63)
ONE = np.uint64(1)
NONE = np.uint64(0)


def room_for(bits: int) -> Words:
    """Zeros for so many bits, and a word more, into which `get` may look."""
    return np.zeros(bits // 64 + 2, np.uint64)


def to_bytes(words: Words, bits: int) -> bytes:
    """The first `bits` of a stream, the last byte filled up with zeros."""
    return words.astype("<u8").view(np.uint8)[: -(-bits // 8)].tobytes()


def from_bytes(stream: bytes | memoryview) -> tuple[Words, int]:
    """The words of a stream of bytes, and how many bits they have."""
    data = np.frombuffer(stream, np.uint8)
    words = room_for(8 * len(data)).astype("<u8")
    words.view(np.uint8)[: len(data)] = data
    return words.astype(np.uint64), 8 * len(data)


@kernel
def length_of(number: int | np.int64) -> int:
    """Bits of an integer from 0 to below 2^53; of 0: 1."""
    exponent = np.float64(number).view(np.int64) >> 52
    return max(int(exponent) - 1022, 1)


@kernel
def put(words: Words, at: int, number: np.uint64, width: int) -> int:
    """Write a number of at most 64 bits over zeros. Returns where it ends."""
    word, shift = at >> 6, np.uint64(at & WITHIN)
    words[word] |= np.uint64(number << shift)
    if (at & WITHIN) + width > 64:
        words[word + 1] = np.uint64(number >> np.uint64(WORD_BITS - shift))
    return at + width


@kernel
def get(words: Words, at: int) -> np.uint64:
    """The 64 bits from `at` on."""
    word, shift = at >> 6, np.uint64(at & WITHIN)
    low = np.uint64(words[word] >> shift)
    # in two steps: a shift by 64 bits is not defined
    high = np.uint64(words[word + 1] << np.uint64(np.uint64(63) - shift))
    return np.uint64(low | np.uint64(high << ONE))


@kernel
def low_bits(number: np.uint64, width: int) -> np.uint64:
    """The lowest bits, at most 63 of them."""
    return np.uint64(number & np.uint64(np.uint64(ONE << np.uint64(width)) - ONE))
