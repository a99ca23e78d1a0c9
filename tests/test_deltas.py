"""host/compressors/deltas.py: keys as differences of as many bits as they need."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from host.compressors.deltas import (
    HEADER,
    Coding,
    best_coding,
    codings,
    count_lengths,
    decode_keys,
    encode_keys,
)

EVERYTHING = 2**32
Keys = NDArray[np.uint32]


def keys_of(*keys: int) -> Keys:
    return np.array(keys, np.uint32)


def random_keys(d: int, count: int, seed: int = 0) -> Keys:
    chosen = np.random.default_rng(seed).choice(d, count, replace=False)
    return np.sort(chosen).astype(np.uint32)


def lengths_of(keys: Keys) -> NDArray[np.int64]:
    lengths = np.zeros(33, np.int64)
    assert count_lengths(keys, lengths)
    return lengths


def written_by_hand(keys: Keys, coding: Coding) -> bytes:
    """An encoder that is slow and simple."""
    bits, previous = "", 0
    for key in keys.tolist():
        units = max(1, -(-(key - previous).bit_length() // coding.unit))
        flag = f"{units - 1:0{coding.flag_bits}b}"[::-1] if coding.flag_bits else ""
        bits += "1" * (units - 1) + "0" if coding.unary else flag
        bits += f"{key - previous:0{units * coding.unit}b}"[::-1]
        previous = key
    bits += "0" * (-len(bits) % 8)
    octets = [int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8)]
    return HEADER.pack(len(keys), coding.intervals, coding.unary) + bytes(octets)


KEYS = [
    keys_of(),
    keys_of(0),
    keys_of(EVERYTHING - 1),
    keys_of(0, EVERYTHING - 1),
    keys_of(0, 1, 2, 3),
    keys_of(5, 2**31 + 6, 2**32 - 2, 2**32 - 1),
    np.arange(1000, dtype=np.uint32),
    np.arange(0, 2**32, 2**25, dtype=np.uint32),
    random_keys(10_000, 3000),
    random_keys(10_000_000, 3000),
    keys_of(*(2**n - 1 for n in range(33))),
]


@pytest.mark.parametrize("keys", KEYS, ids=len)
def test_keys_come_back(keys: Keys) -> None:
    encoded = encode_keys(keys)
    back, end = decode_keys(encoded, EVERYTHING)
    assert back.dtype == np.uint32
    np.testing.assert_array_equal(back, keys)
    assert end == len(encoded)
    again, end = decode_keys(encoded + b"more", EVERYTHING)
    np.testing.assert_array_equal(again, keys)
    assert end == len(encoded)


@pytest.mark.parametrize("keys", KEYS, ids=len)
def test_the_bytes_are_those_of_a_simple_encoder(keys: Keys) -> None:
    """In the coding that takes the fewest bits of all."""
    best = best_coding(lengths_of(keys))
    encoded = encode_keys(keys)
    assert encoded == written_by_hand(keys, best)
    assert len(encoded) == min(len(written_by_hand(keys, each)) for each in codings())


@settings(deadline=None, max_examples=200)
@given(st.sets(st.integers(0, EVERYTHING - 1), max_size=60))
def test_any_keys_come_back(chosen: set[int]) -> None:
    keys = keys_of(*sorted(chosen))
    encoded = encode_keys(keys)
    assert encoded == written_by_hand(keys, best_coding(lengths_of(keys)))
    np.testing.assert_array_equal(decode_keys(encoded, EVERYTHING)[0], keys)


@pytest.mark.parametrize("coding", list(codings()), ids=str)
def test_every_coding_is_read(coding: Coding) -> None:
    for keys in KEYS:
        encoded = written_by_hand(keys, coding)
        back, end = decode_keys(encoded, EVERYTHING)
        np.testing.assert_array_equal(back, keys)
        assert end == len(encoded)


def test_a_message_by_hand() -> None:
    """Differences 3, 1, 6, 0b10110: with m = 16 and unary flags, low bits first,
    0 11 | 0 10 | 10 0110 | 110 011010: flags, and units of two bits."""
    keys = keys_of(3, 4, 10, 32)
    assert best_coding(lengths_of(keys)) == Coding(16, True)
    bits = "011" + "010" + "100110" + "110011010"
    stream = int(bits[::-1], 2).to_bytes(3, "little")
    assert encode_keys(keys) == b"\0\0\0\x04\x10\x01" + stream


# how many bits


def entropy(d: int, count: int) -> float:
    """log2 of (d over count), in bits a key."""
    ways = math.lgamma(d + 1) - math.lgamma(count + 1) - math.lgamma(d - count + 1)
    return ways / math.log(2) / count


@pytest.mark.parametrize(
    ("share", "ours", "sketchml", "least"),
    [(0.1, 5.8, 6.8, 4.7), (0.01, 9.7, 10.6, 8.1), (1e-3, 13.9, 14.1, 11.4)],
)
def test_bits_a_key_of_uniform_keys(
    share: float, ours: float, sketchml: float, least: float
) -> None:
    """The reconstruction's table. SketchML's unary flags are a bit longer; nothing has
    fewer bits than the entropy."""
    d = 5_000_000
    keys = random_keys(d, int(share * d))
    lengths, count = lengths_of(keys), len(keys)
    bits = 8 * (len(encode_keys(keys)) - HEADER.size) / count
    theirs = min(each.cost(lengths) + each.unary * count for each in codings()) / count
    assert entropy(d, count) == pytest.approx(least, abs=0.06)
    assert bits == pytest.approx(ours, abs=0.06)
    assert theirs == pytest.approx(sketchml, abs=0.06)


# what is not a message


@pytest.mark.parametrize("keys", [keys_of(1, 1), keys_of(5, 4), keys_of(0, 0)])
def test_keys_must_ascend(keys: Keys) -> None:
    with pytest.raises(ValueError, match="must be strictly ascending"):
        encode_keys(keys)


GOOD = encode_keys(random_keys(1000, 50))


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"", "0 bytes are no header"),
        (GOOD[:5], "5 bytes are no header"),
        (GOOD[:-1], "it ends before the last key"),
        (GOOD[:6], "it ends before the last key"),
        (HEADER.pack(1001, 16, 1) + bytes(10_000), "1001 keys for a vector of 1000"),
        (HEADER.pack(2**32 - 1, 1, 0), "4294967295 keys for a vector of 1000"),
        (HEADER.pack(1, 3, 0) + b"\0", "no coding has 3 intervals"),
        (HEADER.pack(1, 0, 0) + b"\0", "no coding has 0 intervals"),
        (HEADER.pack(1, 1, 1) + b"\0", "no coding has 1 intervals and flags of kind 1"),
        (HEADER.pack(1, 2, 2) + b"\0", "flags of kind 2"),
        (HEADER.pack(1, 2, 1) + b"\x03" + bytes(9), "more units than there are"),
        (HEADER.pack(1, 16, 1) + b"\xff" * 20, "more units than there are"),
        (HEADER.pack(2, 16, 0) + bytes(2), "two keys are the same"),
        (HEADER.pack(1, 1, 0) + b"\xe8\x03\0\0", "a key is beyond the vector"),
        (HEADER.pack(2, 1, 0) + b"\xff" * 8, "a key is beyond the vector"),
    ],
)
def test_malformed_keys_are_refused(encoded: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=f"malformed keys: .*{text}"):
        decode_keys(encoded, 1000)


def check_any_bytes(encoded: bytes, limit: int) -> None:
    """They are refused, or are keys."""
    try:
        keys, end = decode_keys(encoded, limit)
    except ValueError:
        return
    assert end <= len(encoded)
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    assert len(keys) == 0 or keys[-1] < limit


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40), st.integers(0, 2000))
def test_arbitrary_bytes_are_refused_or_keys(encoded: bytes, limit: int) -> None:
    check_any_bytes(encoded, limit)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, 100),
    st.sampled_from(list(codings())),
    st.binary(max_size=200),
)
def test_arbitrary_streams_are_refused_or_keys(
    count: int, coding: Coding, stream: bytes
) -> None:
    header = HEADER.pack(count, coding.intervals, coding.unary)
    check_any_bytes(header + stream, 10**6)


def test_every_bit_that_flips_is_refused_or_other_keys() -> None:
    for at in range(8 * len(GOOD)):
        flipped = bytearray(GOOD)
        flipped[at // 8] ^= 1 << at % 8
        check_any_bytes(bytes(flipped), 1000)
