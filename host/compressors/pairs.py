"""FastSGD's end-to-end form: a gradient as a message of keys and values, and back.

Yang, Chen, Zeng, Gao, "FastSGD" (arXiv 2112.04291); the layout is ours, as the coders
of values (`logcodes`) and keys (`deltas`) are. A message is

    exponent of M (1 byte, signed)
    the keys of the elements that are there, from `deltas.encode_keys`
    their values: p in the bits that tau has, then a bit that is set if it is negative

or, for dense codes, without keys: m of every element in the bits that tau + 1 has, then
the sign. Of a gradient that is not finite, the message is the exponent NON_FINITE.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient
from host.compressors.bits import from_bytes, get, low_bits, put, room_for, to_bytes
from host.compressors.deltas import Keys, decode_keys, encode_keys
from host.compressors.logcodes import CODES, NEGATIVE, LogCodes
from host.compressors.quantize import NON_FINITE, Floats
from host.packetizer import Bytes
from switch.compiled import kernel

STRIDE = 8  # codes looked at together
INVALID = -1


class Symbols(NamedTuple):
    """How codes are written: a table there, and one back."""

    width: int
    """Bits, the sign's among them."""
    of_code: Bytes
    """[256]"""
    code_of: NDArray[np.int16]
    """[256]; INVALID where a symbol stands for nothing."""


class Pairs(NamedTuple):
    """The elements that are there."""

    keys: Keys
    """[k] where they are, ascending; of a dense message: [0]"""
    codes: Bytes
    """[k], or [d] of a dense message"""


@cache
def symbols_of(log: LogCodes) -> Symbols:
    top = log.threshold + 1
    magnitudes = np.arange(top + 1) if log.dense else top - np.arange(1, top + 1)
    codes = np.arange(0 if log.dense else 1, top + 1)
    width = int(magnitudes.max()).bit_length() + 1
    sign = 1 << (width - 1)
    symbols = Symbols(
        width, np.zeros(CODES, np.uint8), np.full(CODES, INVALID, np.int16)
    )
    for code, symbol in zip(codes.tolist(), magnitudes.tolist(), strict=True):
        symbols.of_code[[code, code | NEGATIVE]] = symbol, symbol | sign
        symbols.code_of[[symbol, symbol | sign]] = code, code | NEGATIVE if code else 0
    return symbols


def encode_pairs(codes: Bytes, exponent: int, log: LogCodes) -> bytes:
    """The message of a whole vector's codes, M = 2^exponent."""
    pairs = Pairs(np.zeros(0, np.uint32), codes) if log.dense else select(codes)
    symbols = symbols_of(log)
    bits = symbols.width * len(pairs.codes)
    words = room_for(bits)
    write_values(pairs.codes, words, symbols.width, symbols.of_code)
    keys = b"" if log.dense else encode_keys(pairs.keys)
    return np.int8(exponent).tobytes() + keys + to_bytes(words, bits)


def decode_pairs(message: bytes, elements: int, log: LogCodes) -> tuple[int, Pairs]:
    """Exponent and pairs of a vector of so many elements; NON_FINITE has no pairs.

    Raises ValueError for what `encode_pairs` does not write.
    """
    if not message:
        raise ValueError("malformed gradient: it is empty")
    exponent = int(np.frombuffer(message, np.int8, 1)[0])
    nothing = Pairs(np.zeros(0, np.uint32), np.zeros(0, np.uint8))
    if exponent == NON_FINITE and len(message) == 1:
        return exponent, nothing
    view = memoryview(message)[1:]
    keys, end = (nothing.keys, 0) if log.dense else decode_keys(view, elements)
    count = elements if log.dense else len(keys)
    symbols = symbols_of(log)
    needed = -(-count * symbols.width // 8)
    if len(view) - end != needed:
        raise ValueError(
            f"malformed gradient: {len(view) - end} bytes of values, and {count} "
            f"values of {symbols.width} bits have {needed}"
        )
    codes = np.empty(count, np.uint8)
    words, _ = from_bytes(view[end:])
    if not read_values(words, codes, symbols.width, symbols.code_of):
        raise ValueError(
            f"malformed gradient: a value beyond the threshold {log.threshold}"
        )
    return exponent, Pairs(keys, codes)


def add_pairs(total: Gradient, pairs: Pairs, exponent: int, log: LogCodes) -> None:
    """total[d] += what a worker's pairs stand for."""
    values = log.values(exponent).astype(np.float32)
    if log.dense:
        add_dense(total, pairs.codes, values)
    else:
        add_sparse(total, pairs.keys, pairs.codes, values)


def select(codes: Bytes) -> Pairs:
    """The codes that are not 0, and where they are."""
    room = len(codes) + STRIDE
    pairs = Pairs(np.empty(room, np.uint32), np.empty(room, np.uint8))
    whole = len(codes) - len(codes) % STRIDE
    count = select_codes(codes, codes[:whole].view(np.uint64), pairs.keys, pairs.codes)
    return Pairs(pairs.keys[:count], pairs.codes[:count])


@kernel
def select_codes(
    codes: Bytes, strides: NDArray[np.uint64], keys: Keys, chosen: Bytes
) -> int:
    """Strides without a code are skipped; in the others nothing is predicted: what is
    not there is overwritten by the next one. Returns how many there are."""
    count = 0
    for i in range(len(strides)):
        if strides[i] != 0:
            for at in range(i * STRIDE, i * STRIDE + STRIDE):
                keys[count] = at
                chosen[count] = codes[at]
                count += codes[at] != 0
    for at in range(len(strides) * STRIDE, len(codes)):
        keys[count] = at
        chosen[count] = codes[at]
        count += codes[at] != 0
    return count


@kernel
def write_values(
    codes: Bytes, words: NDArray[np.uint64], width: int, of_code: Bytes
) -> None:
    at = 0
    for i in range(len(codes)):
        at = put(words, at, np.uint64(of_code[codes[i]]), width)


@kernel
def read_values(
    words: NDArray[np.uint64], codes: Bytes, width: int, code_of: NDArray[np.int16]
) -> bool:
    """False: some symbol stands for nothing."""
    at, least = 0, 0
    for i in range(len(codes)):
        code = code_of[low_bits(get(words, at), width)]
        codes[i] = np.uint8(code)
        least = min(least, code)
        at += width
    return least != INVALID


@kernel
def add_sparse(total: Floats, keys: Keys, codes: Bytes, values: Floats) -> None:
    for i in range(len(keys)):
        total[keys[i]] += values[codes[i]]


@kernel
def add_dense(total: Floats, codes: Bytes, values: Floats) -> None:
    for i in range(len(codes)):
        total[i] += values[codes[i]]
