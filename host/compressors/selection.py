"""Which elements of a vector are sent: the k largest, or k at random. In linear time.

Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018), Definitions 2.1
to 2.3: top_k takes the k largest |x|; rand_k each set of k elements with the same
probability; ultra-sparsification, k < 1, one random element with probability k, and
else none. Each is a k-contraction: E ||x - comp_k(x)||^2 <= (1 - k/d) ||x||^2.

top_k selects by radix: the bit patterns of |x| order as the floats do, and three counts
of 11, 10 and 10 of their bits, from the highest, find the k-th largest. Of equal ones
those with the lowest index are taken. rand_k is Floyd's sampling without replacement
(Bentley and Floyd, Programming Pearls, CACM 1987), its random numbers a hash of a key
and a counter: workers with the same key choose the same elements.
"""

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient
from host.compressors.norms import largest_bits
from host.compressors.quantize import MAGNITUDE_BITS, random_key
from host.packetizer import Integers
from switch.compiled import kernel
from switch.protocol import EVERY_WORKER

Patterns = NDArray[np.int32]

DIGITS = ((20, 11), (10, 10), (0, 10))  # (lowest bit, bits) of those of a pattern
MOST_DIGITS = 2048  # values of the widest
BLOCK = 64  # elements that are passed over together where none is large enough

# SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIER_1, MULTIPLIER_2 = (
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
SHIFT_1, SHIFT_2, SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
HALF, LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
MOST_ELEMENTS = 2**32


@kernel
def count_digits(
    bits: Patterns, shift: int, width: int, prefix: int, counts: Integers
) -> None:
    """Count the digits of `width` bits from bit `shift` on, of the patterns whose
    higher bits are `prefix`."""
    mask = (1 << width) - 1
    for j in range(len(bits)):
        digits = np.int64(bits[j] & MAGNITUDE_BITS) >> shift
        if digits >> width == prefix:
            counts[digits & mask] += 1


@kernel
def find_digit(counts: Integers, width: int, k: int) -> tuple[int, int]:
    """Digit of the k-th largest of those counted, and what k is among its equals."""
    digit, left = (1 << width) - 1, k
    while counts[digit] < left:
        left -= counts[digit]
        digit -= 1
    return digit, left


@kernel
def first_bound(bits: Patterns, k: int, counts: Integers) -> tuple[int, int]:
    """A pattern that the k largest |x| reach and few others do, and how many reach it:
    the k-th largest with all digits but the first zero."""
    shift, width = DIGITS[0]
    count_digits(bits, shift, width, 0, counts)
    digit, left = find_digit(counts, width, k)
    return digit << shift, k - left + counts[digit]


@kernel
def kth_largest(bits: Patterns, k: int, counts: Integers) -> tuple[int, int]:
    """Pattern of the k-th largest |x|, and how many of those equal to it are among the
    k largest."""
    prefix, left = 0, k
    for shift, width in DIGITS:
        counts[:] = 0
        count_digits(bits, shift, width, prefix, counts)
        digit, left = find_digit(counts, width, left)
        prefix = prefix << width | digit
    return prefix, left


@kernel
def take_largest(bits: Patterns, least: int, ties: int, chosen: Integers) -> int:
    """Write the indices of the patterns above `least`, and of the first `ties` equal to
    it; how many."""
    found = 0
    for start in range(0, len(bits), BLOCK):
        block = bits[start : start + BLOCK]
        if largest_bits(block.view(np.float32)) < least:
            continue
        for j in range(len(block)):
            magnitude = np.int32(block[j] & MAGNITUDE_BITS)
            if magnitude > least or (magnitude == least and ties > 0):
                ties -= magnitude == least
                chosen[found] = start + j
                found += 1
    return found


def top_k(vector: Gradient, k: int) -> Integers:
    """Ascending indices of the k largest |elements|; of equal ones the first.

    Zeros are never chosen, so there may be fewer. A NaN is larger than any number.
    """
    k = min(k, len(vector))
    if k < 1:
        return np.zeros(0, np.int64)
    bits, counts = vector.view(np.int32), np.zeros(MOST_DIGITS, np.int64)
    bound, size = first_bound(bits, k, counts)
    candidates = np.empty(size, np.int64)
    take_largest(bits, bound, size, candidates)
    bits = bits[candidates]
    least, ties = kth_largest(bits, k, counts)
    chosen = np.empty(k, np.int64)
    found = take_largest(bits, least, ties if least else 0, chosen)
    return candidates[chosen[:found]]


def shared_key(seed: int, step: int, piece: int = 0) -> np.uint64:
    """Key of the random numbers of one piece that all workers have alike."""
    low, high = random_key(seed, EVERY_WORKER, step, piece).tolist()
    return np.uint64(high << 32 | low)


@kernel
def random_bits(key: np.uint64, counter: int) -> np.uint64:
    """The counter-th of the key's random numbers."""
    z = np.uint64(key + np.uint64(counter) * GOLDEN)
    z = np.uint64(np.uint64(z ^ (z >> SHIFT_1)) * MULTIPLIER_1)
    z = np.uint64(np.uint64(z ^ (z >> SHIFT_2)) * MULTIPLIER_2)
    return np.uint64(z ^ (z >> SHIFT_3))


@kernel
def random_below(key: np.uint64, counter: int, bound: int) -> int:
    """In 0 .. bound - 1, bound at most 2^32: the high word of random bits * bound, so
    that no number is likelier than another by more than bound / 2^64."""
    bits, factor = random_bits(key, counter), np.uint64(bound)
    low = np.uint64(np.uint64((bits & LOW_HALF) * factor) >> HALF)
    high = np.uint64(np.uint64((bits >> HALF) * factor) + low)
    return int(np.int64(high >> HALF))


@kernel
def mark_random(chosen: NDArray[np.bool_], k: int, key: np.uint64) -> None:
    """Floyd: mark k of the elements, none of which is marked."""
    for last in range(len(chosen) - k, len(chosen)):
        at = random_below(key, last, last + 1)
        if chosen[at]:
            at = last
        chosen[at] = True


def rand_k(elements: int, k: float, key: np.uint64) -> Integers:
    """Ascending indices of k of the elements 0 .. elements - 1, at random.

    k < 1: of one element with probability k, else of none. Raises ValueError for more
    elements than 2^32.
    """
    if elements > MOST_ELEMENTS:
        raise ValueError(f"a vector has {elements} elements: must be at most 2^32")
    if elements == 0 or (k < 1 and random_below(key, elements, 2**32) >= k * 2**32):
        return np.zeros(0, np.int64)
    chosen = np.zeros(elements, np.bool_)
    mark_random(chosen, min(max(1, int(k)), elements), key)
    return np.flatnonzero(chosen)
