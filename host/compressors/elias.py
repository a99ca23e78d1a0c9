"""QSGD's messages: a norm for every block, and Elias codes of what is not zero.

Alistarh et al., "QSGD" (NeurIPS 2017), which NUQSGD (arXiv 1908.06077) follows: a block
is its norm, a 32-bit float, and for each element that is not zero the distance to the
one before, its sign (1: negative) and the index of its level. Distances and indices are
positive integers in Elias's recursive (omega) code:

    omega(n): a 0; and as long as n > 1: put n in binary in front; n = its length - 1

    1  0     2  100     3  110     4  101000     8  1110000     16  10100100000

Ours: a block ends with the distance to the element after its last, so that blocks
follow one another; nothing follows the norm 0, nor one that is not finite (which says
that the worker's block is not). The first bit is the highest of the first byte; the
last byte is filled up with zeros.

Encoder and decoder look at every element and every bit once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.bits import length_of
from host.compressors.levels import Indices
from host.compressors.norms import LARGEST_NORM_BITS
from host.compressors.quantize import INFINITY_BITS
from host.packetizer import Bytes, Integers
from switch.compiled import kernel

Norms = NDArray[np.int32]

NORM_BITS = 32
LONGEST_CODE = 43  # bits, of a distance below 2^32
LARGEST_DISTANCE_BITS = 32
ELEMENT_BYTES = 2  # at most: an element is 1 bit of distance, 1 of sign, and its index
LARGEST_INDEX = 128  # omega(128) has 14 bits
SPARE = 8  # bytes behind a message, for the reader's window
WINDOW_BYTES = 7
WINDOW_BITS = 8 * WINDOW_BYTES

# What the decoder returns instead of the place where it ended.
TRUNCATED, NORM, DISTANCE, INDEX, REST = -1, -2, -3, -4, -5
FAULTS = {
    TRUNCATED: "it ends within a block",
    NORM: "a norm is negative or too large",
    DISTANCE: "an element lies beyond the end of its block",
    INDEX: "an element has a level that the grid has not",
    REST: "something follows its last block",
}


@kernel
def omega(number: int) -> tuple[int, int]:
    """Elias's recursive code of a positive integer: its bits, and how many they are."""
    code, length = 0, 1
    while number > 1:
        digits = length_of(number)
        code |= number << length
        length += digits
        number = digits - 1
    return code, length


@kernel
def append(
    buffer: Bytes, at: int, rest: int, pending: int, code: int, length: int
) -> tuple[int, int, int]:
    """Add a code's bits. `rest` holds the last `pending` bits, fewer than 8, that have
    no byte yet. Returns at, rest, pending."""
    rest, pending = rest << length | code, pending + length
    while pending >= 8:
        pending -= 8
        buffer[at] = rest >> pending & 0xFF
        at += 1
    return at, rest & ((1 << pending) - 1), pending


@kernel
def write_blocks(
    norms: Norms, indices: Indices, block_ends: Integers, buffer: Bytes
) -> int:
    """Write the message; returns its length in bytes. See `encode`."""
    at, rest, pending, start = 0, 0, 0, 0
    for block in range(len(block_ends)):
        end, norm = block_ends[block], int(norms[block])
        at, rest, pending = append(buffer, at, rest, pending, norm, NORM_BITS)
        before = start - 1
        if norm > 0 and norm < INFINITY_BITS:
            for j in range(start, end):
                index = int(indices[j])
                if index != 0:
                    code, length = omega(j - before)
                    at, rest, pending = append(buffer, at, rest, pending, code, length)
                    code, length = omega(abs(index))
                    code |= int(index < 0) << length
                    at, rest, pending = append(
                        buffer, at, rest, pending, code, length + 1
                    )
                    before = j
            code, length = omega(end - before)
            at, rest, pending = append(buffer, at, rest, pending, code, length)
        start = end
    if pending:
        buffer[at] = rest << (8 - pending) & 0xFF
        at += 1
    return at


def encode(norms: Norms, indices: Indices, block_ends: Integers) -> bytes:
    """The message of a vector.

    norms: [blocks] bit patterns of non-negative float32, see `block_norms`. indices:
    [d] of levels, at most 128, with the elements' signs. block_ends: [blocks] index
    after each block's last element.
    """
    block_bytes = (NORM_BITS + LONGEST_CODE + 7) // 8
    most = ELEMENT_BYTES * len(indices) + block_bytes * len(block_ends) + SPARE
    buffer = np.empty(most, np.uint8)
    return buffer[: write_blocks(norms, indices, block_ends, buffer)].tobytes()


@kernel
def window_at(stream: Bytes, at: int) -> int:
    """The 56 bits that begin with the byte of bit `at`; 49 of them or more are new."""
    first, window = at >> 3, 0
    for i in range(WINDOW_BYTES):
        window = window << 8 | int(stream[first + i])
    return int(window << (at & 7) & ((1 << WINDOW_BITS) - 1))


@kernel
def read_omega(stream: Bytes, at: int) -> tuple[int, int]:
    """The number whose code begins at bit `at`, and where it ends. 0: no code that the
    encoder writes begins there."""
    window, number, used = window_at(stream, at), 1, 0
    while window >> (WINDOW_BITS - 1 - used) & 1:
        digits = number + 1
        if digits > LARGEST_DISTANCE_BITS:
            return 0, at
        used += digits
        number = int(window >> (WINDOW_BITS - used) & ((1 << digits) - 1))
    return number, at + used + 1


@kernel
def read_block(
    stream: Bytes, at: int, bits: int, indices: Indices, largest: int
) -> int:
    """Read a block's elements into its part of the indices. Returns where it ends, or
    a fault."""
    position = -1
    while at < bits:
        distance, at = read_omega(stream, at)
        position += distance
        if distance == 0 or position > len(indices):
            return DISTANCE
        if position == len(indices):
            return at if at <= bits else TRUNCATED
        if at >= bits:
            return TRUNCATED
        negative = stream[at >> 3] >> (7 - (at & 7)) & 1
        index, at = read_omega(stream, at + 1)
        if index == 0 or index > largest:
            return INDEX
        indices[position] = -index if negative else index
    return TRUNCATED


@kernel
def read_blocks(
    stream: Bytes, bits: int, block_ends: Integers, largest: int, norms: Norms,
    indices: Indices,
) -> int:  # fmt: skip
    """Read a message of so many bits. Returns 0, or a fault. See `decode`."""
    at, start = 0, 0
    for block in range(len(block_ends)):
        end = block_ends[block]
        if at + NORM_BITS > bits:
            return TRUNCATED
        norm = window_at(stream, at) >> (WINDOW_BITS - NORM_BITS)
        at += NORM_BITS
        if norm > LARGEST_NORM_BITS and norm != INFINITY_BITS:
            return NORM
        norms[block] = norm
        if norm > 0 and norm < INFINITY_BITS:
            at = read_block(stream, at, bits, indices[start:end], largest)
            if at < 0:
                return at
        start = end
    if bits - at >= 8 or (at < bits and window_at(stream, at) >> (WINDOW_BITS - 8)):
        return REST
    return 0


def decode(
    message: bytes, block_ends: Integers, largest: int, norms: Norms, indices: Indices
) -> None:
    """Read a message into norms ([blocks]) and indices ([d]), as given to `encode`.

    largest: index of the grid's last level. Raises ValueError for a message that
    `encode` cannot have made of such blocks.
    """
    stream: Any = np.zeros(len(message) + SPARE, np.uint8)
    stream[: len(message)] = np.frombuffer(message, np.uint8)
    indices[:] = 0
    fault = read_blocks(stream, 8 * len(message), block_ends, largest, norms, indices)
    if fault:
        raise ValueError(FAULTS[fault])
