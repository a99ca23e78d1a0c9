"""Float32 to big-endian integers and back: the two kernels that touch every element.

`quantize` scales, rounds, clips and stores a gradient's chunks straight into the
packets' payloads; `dequantize` takes sums out of packets, scales them to the mean and
adds up what the scale rules need, exactly. No communication, no state of its own.

Rounding, the paper's Int (IntSGD, arXiv 2102.08374): random is
floor(x) + (u < x - floor(x)) with u uniform, which is unbiased, and exact where x is an
integer; deterministic is round to nearest, ties to even. u comes from a counter-based
generator, keyed by (seed, worker, step) and counted by the element's index: a chunk
filled again for a retransmission gets the same bytes, whatever the order of chunks.

Loops run over slices that start at 0, and their type tests are hoisted by the compiler:
with negative indices to mind, or a call by type, they would not become vectors. No
fastmath: every operation here is exact or correctly rounded, on every machine.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Contributions, Results
from switch.byteorder import swap16, swap32, to_wire
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES, Flag

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

NON_FINITE = 127  # exponent that says: this worker's chunk has a NaN or an infinity
INFINITY_BITS = 0x7F800000
MAGNITUDE_BITS = np.int32(0x7FFFFFFF)
FLOAT_BELOW_2_31 = np.float32(2147483520)  # the largest float32 that fits an int32
NO_LIMIT = np.int32(0x7FFFFFFF)
ONE = np.float32(1)
ZERO = np.float32(0)
LOW_HALF = np.int64(0xFFFFFFFF)

# Of `random_bits`.
SHIFT_1, SHIFT_2 = np.uint32(16), np.uint32(15)
MULTIPLIER_1, MULTIPLIER_2 = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)
SIGN_AND_EXPONENT = np.uint32(9)
ONE_BITS = np.uint32(0x3F800000)  # of the float32 1.0: or-ed to 23 bits, 1 <= u < 2
BELOW_ONE = np.float32(1 - 2.0**-24)

OVERFLOW = int(Flag.OVERFLOW)

# Places in Plan.tally.
LARGEST_BITS = 0  # bit pattern of the largest |integer| as float32, before clipping
FIRST_NON_FINITE = 1  # index of this worker's first NaN or infinity; -1: none
LARGEST_SUM = 2
OVERFLOWS = 3  # results with the overflow flag
NON_FINITE_CHUNKS = 4  # results that say that some worker's chunk was not finite
PAYLOADS_DOWN = 5  # results with a payload
TALLIES = 6


class Plan(NamedTuple):
    """One vector's way to integers and back: all that the kernels need."""

    vector: Floats
    """[d] what this worker contributes."""
    mean: Floats
    """Where the estimate goes, [d] or this worker's part. May be `vector` itself: a
    chunk is not filled again once its result is in."""
    mean_start: int
    """Index of the vector's element that it begins with."""
    weight: float
    """How many times the mean it is to be."""
    block_ends: Integers
    """[blocks] index after each block's last element."""
    scales: Floats
    """[blocks] integer = round(scale * float). 0: the block is zero on all workers."""
    first_block: Integers
    """[chunks] block of each chunk's first element."""
    starts: Integers
    """[chunks] index of each one's first element."""
    ends: Integers
    """[chunks] index after each one's last element."""
    elements_per_chunk: int
    element_bytes: int
    result_bytes: int
    bound: np.float32
    """Integers beyond +-bound are counted."""
    limit: np.int32
    """Integers beyond +-limit are clipped: as `bound`, or NO_LIMIT: only the low bits
    are sent, as a cast to the element type does."""
    flag_beyond: int
    """Set on a contribution with an integer beyond the bound."""
    random: bool
    """Random rounding; else deterministic."""
    key: NDArray[np.uint32]
    """[2] of the random numbers; see `random_key`."""
    beyond: Integers
    """[chunks] integers beyond the bound. Per chunk: a refill does not count twice."""
    empty: NDArray[np.bool_]
    """[chunks] sent without a payload."""
    squares: Integers
    """[blocks, 2] sum of squares of the integer sums, as (high, low) * (2^32, 1)."""
    tally: Integers
    """[TALLIES]"""
    recipients: Integers
    """[chunks] ranks of the workers that get the results; [0]: every worker does."""


def float_at_most(integer: int) -> np.float32:
    """The largest float32 <= integer: an integral float is beyond it if it is beyond
    the integer. (float32(134217727) is 134217728.)"""
    rounded = np.float32(integer)
    if int(rounded) <= integer:
        return rounded
    return np.float32(np.nextafter(rounded, np.float32(-np.inf)))


def _mix64(value: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFF_FFFF_FFFF_FFFF
    value = (value ^ value >> 27) * 0x94D049BB133111EB & 0xFFFF_FFFF_FFFF_FFFF
    return value ^ value >> 31


def random_key(seed: int, worker: int, step: int, piece: int = 0) -> NDArray[np.uint32]:
    """[2] key of one worker's random numbers in one piece of a step."""
    key = _mix64(_mix64(_mix64(seed & 0xFFFF_FFFF_FFFF_FFFF) + worker) + step)
    if piece > 0:  # a step of one piece has the key that it had before there were any
        key = _mix64(key + piece)
    return np.array([key & 0xFFFF_FFFF, key >> 32], np.uint32)


@kernel
def random_bits(index: np.uint32, key: NDArray[np.uint32]) -> np.uint32:
    """23 random bits, of which `uniform` and level indices are made.

    A 32-bit integer hash (two rounds of xor-shift and multiply) of the element's index,
    with one half of the key added before each round. Indices count modulo 2^32.
    """
    bits = np.uint32(index + key[0])
    bits = np.uint32(np.uint32(bits ^ (bits >> SHIFT_1)) * MULTIPLIER_1)
    bits = np.uint32(np.uint32(bits ^ (bits >> SHIFT_2)) + key[1])
    bits = np.uint32(bits * MULTIPLIER_2)
    return np.uint32(bits >> SIGN_AND_EXPONENT)


@kernel
def uniform(index: np.uint32, key: NDArray[np.uint32]) -> np.float32:
    """In (0, 1): an odd multiple of 2^-24, so that neither 0 nor 1 ever comes."""
    one_to_two = np.uint32(random_bits(index, key) | ONE_BITS)
    return np.float32(one_to_two.view(np.float32) - BELOW_ONE)


@kernel
def round_product(
    element: np.float32,
    scale: np.float32,
    random: bool,
    index: np.uint32,
    key: NDArray[np.uint32],
) -> np.float32:
    """An integer next to scale * element. NaN and infinities stay what they are."""
    x = np.float32(element * scale)
    if not random:
        return np.float32(np.rint(x))
    low = np.float32(np.floor(x))
    up = uniform(index, key) < np.float32(x - low)
    return np.float32(low + (ONE if up else ZERO))


@kernel
def quantize_segment(
    segment: Floats,
    lanes: NDArray[Any],
    scale: np.float32,
    limit: np.int32,
    random: bool,
    index: np.uint32,
    key: NDArray[np.uint32],
) -> np.int32:
    """Part of a chunk that has one scale; integers beyond +-limit are clipped.

    Returns the bits of the largest |integer| before clipping, as float32: they order
    as the floats do. Clips are counted elsewhere, where this shows that there are any:
    counting here takes 15 % of the speed.
    """
    largest = np.int32(0)
    for j in range(len(segment)):
        at = np.uint32(np.uint32(j) + index)
        rounded = round_product(segment[j], scale, random, at, key)
        bits = np.int32(np.float32(rounded).view(np.int32) & MAGNITUDE_BITS)
        largest = bits if bits > largest else largest
        # these comparisons send a NaN to the limit: the conversion is always defined
        rounded = rounded if rounded < FLOAT_BELOW_2_31 else FLOAT_BELOW_2_31
        rounded = rounded if rounded > -FLOAT_BELOW_2_31 else -FLOAT_BELOW_2_31
        integer = np.int32(rounded)
        integer = integer if integer < limit else limit
        integer = integer if integer > -limit else np.int32(-limit)
        lanes[j] = to_wire(integer, lanes.itemsize)
    return largest


@kernel
def count_segment(
    segment: Floats,
    scale: np.float32,
    bound: np.float32,
    random: bool,
    index: np.uint32,
    key: NDArray[np.uint32],
) -> int:
    """How many integers of a segment lie beyond +-bound."""
    count = np.int32(0)
    for j in range(len(segment)):
        at = np.uint32(np.uint32(j) + index)
        rounded = abs(round_product(segment[j], scale, random, at, key))
        count = np.int32(count + (np.int32(1) if rounded > bound else np.int32(0)))
    return int(count)


@kernel
def count_beyond(plan: Plan, chunk: int) -> int:
    """How many integers of a chunk lie beyond +-bound. Slow path of `quantize`."""
    at, stop, block = plan.starts[chunk], plan.ends[chunk], plan.first_block[chunk]
    number, count = chunk * plan.elements_per_chunk - at, 0
    while at < stop:
        end, scale = min(stop, plan.block_ends[block]), plan.scales[block]
        segment = plan.vector[at:end]
        count += count_segment(
            segment, scale, plan.bound, plan.random, np.uint32(number + at), plan.key
        )
        at, block = end, block + 1
    return count


@kernel
def note_non_finite(plan: Plan, chunk: int) -> bool:
    """Whether a chunk has a NaN or an infinity; the index of the first of all is kept.

    If not, only scale * float was infinite, and the integer has been clipped.
    """
    for at in range(plan.starts[chunk], plan.ends[chunk]):
        if not np.isfinite(plan.vector[at]):
            first = plan.tally[FIRST_NON_FINITE]
            plan.tally[FIRST_NON_FINITE] = at if first < 0 or at < first else first
            return True
    return False


@kernel
def quantize_chunk(plan: Plan, chunk: int, lanes: Any) -> tuple[int, bool]:
    """`lanes`: a chunk's payload, as integers of the element type; padded with zeros.

    Returns the bits of the largest |integer|, and whether all scales are 0. Random
    numbers are counted as elements of full chunks are.
    """
    start, stop, block = plan.starts[chunk], plan.ends[chunk], plan.first_block[chunk]
    number = chunk * plan.elements_per_chunk - start
    at, largest, empty = start, 0, True
    while at < stop:
        end, scale = min(stop, plan.block_ends[block]), plan.scales[block]
        bits = quantize_segment(
            plan.vector[at:end], lanes[at - start : end - start], scale, plan.limit,
            plan.random, np.uint32(number + at), plan.key,
        )  # fmt: skip
        largest, empty = max(largest, int(bits)), empty and scale == ZERO
        at, block = end, block + 1
    lanes[stop - start :] = 0
    return largest, empty


@kernel
def quantize(plan: Plan, chunks: Integers, contributions: Contributions) -> None:
    """Fill the contributions of `chunks`.

    A chunk with a NaN or an infinity is sent as zeros with the exponent NON_FINITE; a
    chunk whose scales, or whose integers, are all 0 is sent empty.
    """
    bound_bits = np.float32(plan.bound).view(np.int32)
    for i in range(len(chunks)):
        if plan.recipients.size > 0:
            contributions.recipient[i] = plan.recipients[chunks[i]]
        payload = contributions.packets[i][HEADER_BYTES:]
        if plan.element_bytes == 1:
            lanes8 = payload.view(np.int8)
            largest, empty = quantize_chunk(plan, chunks[i], lanes8)
        elif plan.element_bytes == 2:
            lanes16 = payload.view(np.int16)
            largest, empty = quantize_chunk(plan, chunks[i], lanes16)
        else:
            lanes32 = payload.view(np.int32)
            largest, empty = quantize_chunk(plan, chunks[i], lanes32)
        empty = empty or largest == 0
        plan.empty[chunks[i]] = empty
        if empty:
            contributions.element_count[i] = 0
        if largest >= INFINITY_BITS and note_non_finite(plan, chunks[i]):
            payload[:] = 0
            contributions.exponent[i] = NON_FINITE
            continue
        plan.tally[LARGEST_BITS] = max(plan.tally[LARGEST_BITS], largest)
        if largest > bound_bits:
            plan.beyond[chunks[i]] = count_beyond(plan, chunks[i])
            contributions.flags[i] |= plan.flag_beyond


@kernel
def dequantize_segment(
    lanes: NDArray[Any], mean: Floats, inverse: np.float32
) -> tuple[np.int64, np.int64, np.int64]:
    """mean = sum * inverse. Returns the largest |sum|, and the sum of squares as
    (high, low) * (2^32, 1): exact for up to 2^31 elements."""
    least, most = np.int32(0), np.int32(0)
    high, low = np.int64(0), np.int64(0)
    for j in range(len(mean)):
        if lanes.itemsize == 1:
            total = np.int32(lanes[j])
        elif lanes.itemsize == 2:
            total = np.int32(swap16(lanes[j]))
        else:
            total = np.int32(swap32(lanes[j]))
        least = total if total < least else least
        most = total if total > most else most
        square = np.int64(total) * np.int64(total)
        low += square & LOW_HALF
        high += square >> 32
        mean[j] = np.float32(np.float32(total) * inverse)
    return max(np.int64(most), -np.int64(least)), high, low


@kernel
def dequantize_chunk(
    plan: Plan, chunk: int, lanes: NDArray[Any], num_workers: int
) -> None:
    """One result with a payload."""
    start, stop, offset = plan.starts[chunk], plan.ends[chunk], plan.mean_start
    at, block = start, plan.first_block[chunk]
    while at < stop:
        end, scale = min(stop, plan.block_ends[block]), plan.scales[block]
        divisor = num_workers * np.float64(scale)
        inverse = plan.weight / divisor if scale > ZERO else 0.0
        part = lanes[at - start : end - start]
        largest, high, low = dequantize_segment(
            part, plan.mean[at - offset : end - offset], np.float32(inverse)
        )
        plan.tally[LARGEST_SUM] = max(plan.tally[LARGEST_SUM], largest)
        plan.squares[block, 0] += high
        plan.squares[block, 1] += low
        at, block = end, block + 1


@kernel
def dequantize(plan: Plan, chunks: Integers, results: Results) -> None:
    """Take the results of `chunks`; a result without payload is a chunk of zeros, or
    another worker's."""
    width = plan.elements_per_chunk * plan.result_bytes
    for i in range(len(chunks)):
        chunk, n = chunks[i], results.num_workers[i]
        at = results.payload_at[i]
        row = results.buffer[at : at + width]
        has_payload = results.element_count[i] != 0
        plan.tally[NON_FINITE_CHUNKS] += results.exponent[i] == NON_FINITE
        plan.tally[OVERFLOWS] += (results.flags[i] & OVERFLOW) != 0
        plan.tally[PAYLOADS_DOWN] += has_payload
        start = plan.starts[chunk] - plan.mean_start
        if start < 0 or start >= len(plan.mean):
            continue
        if not has_payload:
            plan.mean[start : plan.ends[chunk] - plan.mean_start] = ZERO
        elif plan.result_bytes == 1:
            dequantize_chunk(plan, chunk, row.view(np.int8), n)
        elif plan.result_bytes == 2:
            dequantize_chunk(plan, chunk, row.view(np.int16), n)
        else:
            dequantize_chunk(plan, chunk, row.view(np.int32), n)
