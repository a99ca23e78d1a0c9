"""host/compressors/elias.py: the code, the messages, and what is none."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from host.compressors.elias import decode, encode, omega, read_omega
from host.compressors.norms import LARGEST_NORM_BITS
from host.compressors.quantize import INFINITY_BITS

ONE = int(np.float32(1).view(np.int32))
GOLDEN = {
    1: "0",
    2: "100",
    3: "110",
    4: "101000",
    8: "1110000",
    16: "10100100000",
    100: "1011011001000",
}


def bits_of(number: int) -> str:
    code, length = omega(number)
    return f"{code:0{length}b}"


def as_bytes(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8, "big")


def norm_bits(norm: int) -> str:
    return f"{norm:032b}"


def arrays(
    norms: list[int], blocks: list[list[int]]
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64]]:
    ends = np.cumsum([len(block) for block in blocks], dtype=np.int64)
    flat = [index for block in blocks for index in block]
    return np.array(norms, np.int32), np.array(flat, np.int16), ends


def decoded(
    message: bytes, ends: Any, largest: int = 128
) -> tuple[list[int], list[int]]:
    """Norms and indices, from arrays that were rubbish before."""
    norms = np.full(len(ends), -1, np.int32)
    indices = np.full(int(ends[-1]), 99, np.int16)
    decode(message, np.asarray(ends, np.int64), largest, norms, indices)
    return norms.tolist(), indices.tolist()


@pytest.mark.parametrize(("number", "bits"), GOLDEN.items())
def test_the_code_is_eliass(number: int, bits: str) -> None:
    """algorithms.md 3.1."""
    assert bits_of(number) == bits


@pytest.mark.parametrize(
    "number", [*range(1, 300), 8192, 2**16 - 1, 2**16, 2**31, 2**32 - 1]
)
def test_every_code_is_read_again_at_every_bit(number: int) -> None:
    bits = bits_of(number)
    for shift in range(8):
        stream = np.frombuffer(as_bytes("1" * shift + bits) + bytes(8), np.uint8)
        assert read_omega(stream, shift) == (number, shift + len(bits))


def test_a_message_bit_by_bit() -> None:
    """Norm 1.0; +3 at 0, -1 at 2, the end at 5; then a block of zeros."""
    norms, indices, ends = arrays([ONE, 0], [[3, 0, -1, 0, 0], [0, 0]])
    bits = norm_bits(ONE)
    bits += bits_of(1) + "0" + bits_of(3)
    bits += bits_of(2) + "1" + bits_of(1)
    bits += bits_of(3) + norm_bits(0)
    message = encode(norms, indices, ends)
    assert message == as_bytes(bits)
    assert decoded(message, ends) == (norms.tolist(), indices.tolist())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, LARGEST_NORM_BITS), st.just(INFINITY_BITS)),
            st.lists(
                st.one_of(st.just(0), st.integers(-128, 128)), min_size=1, max_size=60
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_encoded_is_decoded(blocks: list[tuple[int, list[int]]]) -> None:
    """A block without a finite norm above 0 has no elements."""
    norms, indices, ends = arrays([n for n, _ in blocks], [b for _, b in blocks])
    expected = [
        index if 0 < norm < INFINITY_BITS else 0
        for norm, block in blocks
        for index in block
    ]
    message = encode(norms, indices, ends)
    assert decoded(message, ends) == (norms.tolist(), expected)


@pytest.mark.parametrize("density", [0.0, 1e-4, 0.1, 1.0])
def test_long_vectors(density: float) -> None:
    """And none is longer than the room that the encoder makes, 2 bytes an element."""
    rng, d = np.random.default_rng(0), 100_000
    chosen = rng.random(d) < density
    indices = np.where(chosen, rng.integers(1, 129, d), 0).astype(np.int16)
    for block in (1, 512, d):
        ends = np.append(np.arange(block, d, block), d).astype(np.int64)
        norms = np.full(len(ends), ONE, np.int32)
        message = encode(norms, indices, ends)
        assert decoded(message, ends)[1] == indices.tolist()


def test_the_worst_vector_fits_the_room() -> None:
    indices = np.full(4096, -128, np.int16)
    for ends in (np.array([4096]), np.arange(1, 4097)):
        norms = np.full(len(ends), ONE, np.int32)
        message = encode(norms, indices, ends.astype(np.int64))
        assert decoded(message, ends)[1] == indices.tolist()


def test_a_sparse_message_is_far_shorter_than_codes() -> None:
    """About log2(d / k) + O(loglog) bits for each of k elements."""
    rng, d, k = np.random.default_rng(0), 1 << 16, 256
    indices = np.zeros(d, np.int16)
    indices[rng.choice(d, k, replace=False)] = 1
    message = encode(*arrays([ONE], [indices.tolist()]))
    gap = math.log2(d / k)
    assert 8 * len(message) < 32 + k * (gap + 2 * math.log2(gap) + 5)
    assert len(message) < d / 2 / 20


# what is no message

ENDS = np.array([5, 7])
GOOD = norm_bits(ONE) + bits_of(1) + "0" + bits_of(3) + bits_of(5) + norm_bits(0)

MALFORMED = {
    "nothing": ("", "it ends within a block"),
    "half a norm": (norm_bits(ONE)[:16], "it ends within a block"),
    "no element": (norm_bits(ONE), "it ends within a block"),
    "no second block": (GOOD[:-32], "it ends within a block"),
    "a negative norm": (norm_bits(ONE | 1 << 31), "a norm is negative or too large"),
    "a NaN": (norm_bits(INFINITY_BITS + 1), "a norm is negative or too large"),
    "a norm beyond 2^126": (
        norm_bits(LARGEST_NORM_BITS + 1),
        "a norm is negative or too large",
    ),
    "an element beyond its block": (
        norm_bits(ONE) + bits_of(7) + "0" * 100,
        "an element lies beyond the end of its block",
    ),
    "a distance of more than 32 bits": (
        norm_bits(ONE) + "1" * 100,
        "an element lies beyond the end of its block",
    ),
    "a level that is none": (
        norm_bits(ONE) + bits_of(1) + "0" + bits_of(8) + "0" * 100,
        "an element has a level that the grid has not",
    ),
    "a byte too many": (GOOD + "0" * 8, "something follows its last block"),
    "ones as filling": (GOOD + "1", "something follows its last block"),
}


@pytest.mark.parametrize(("bits", "fault"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_messages_are_refused_with_the_reason(bits: str, fault: str) -> None:
    assert decoded(as_bytes(GOOD), ENDS, 7)[1] == [3, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=fault):
        decoded(as_bytes(bits) if bits else b"", ENDS, 7)


def test_a_message_cut_anywhere_is_refused() -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(-7, 8, 300).astype(np.int16)
    ends = np.array([100, 200, 300])
    message = encode(np.full(3, ONE, np.int32), indices, ends)
    for length in range(len(message)):
        with pytest.raises(ValueError, match="it ends within a block"):
            decoded(message[:length], ends, 7)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(message: bytes) -> None:
    try:
        norms, indices = decoded(message, ENDS, 7)
    except ValueError:
        return
    assert max(norms) <= INFINITY_BITS
    assert max(map(abs, indices)) <= 7
