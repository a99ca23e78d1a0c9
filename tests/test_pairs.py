"""host/compressors/pairs.py: a gradient as a message, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from host.compressors.deltas import encode_keys
from host.compressors.logcodes import NEGATIVE, LogCodes
from host.compressors.pairs import (
    add_pairs,
    decode_pairs,
    encode_pairs,
    select,
    symbols_of,
)
from host.compressors.quantize import NON_FINITE

SPARSE = LogCodes(2.0, 6, False, False)
DENSE = LogCodes(2.0, 6, False, True)
FINITE = -3  # an exponent


def some_codes(d: int, share: float, log: LogCodes, seed: int = 0) -> NDArray[np.uint8]:
    chance = np.random.default_rng(seed)
    codes = chance.integers(1, log.threshold + 2, d) | chance.choice([0, NEGATIVE], d)
    return np.where(chance.random(d) < share, codes, 0).astype(np.uint8)


def whole(message: bytes, d: int, log: LogCodes) -> NDArray[np.uint8]:
    """The codes that a message stands for."""
    exponent, pairs = decode_pairs(message, d, log)
    assert exponent == FINITE
    if log.dense:
        return pairs.codes
    codes = np.zeros(d, np.uint8)
    codes[pairs.keys] = pairs.codes
    return codes


@pytest.mark.parametrize("d", [1, 7, 8, 9, 1000, 4096])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("threshold", [0, 1, 6, 7, 126])
@pytest.mark.parametrize("dense", [False, True])
def test_codes_come_back(d: int, share: float, threshold: int, dense: bool) -> None:
    log = LogCodes(2.0, threshold, False, dense)
    codes = some_codes(d, share, log)
    message = encode_pairs(codes, FINITE, log)
    np.testing.assert_array_equal(whole(message, d, log), codes)


@pytest.mark.parametrize(
    ("threshold", "dense", "width"),
    [
        *((14, False, 5), (15, False, 5), (16, False, 6), (6, False, 4)),
        *((7, False, 4), (0, False, 1), (126, False, 8)),
        *((6, True, 4), (7, True, 5), (14, True, 5), (0, True, 2), (126, True, 8)),
    ],
)
def test_a_value_has_the_bits_of_tau_and_a_sign(
    threshold: int, dense: bool, width: int
) -> None:
    log = LogCodes(2.0, threshold, False, dense)
    codes = some_codes(1000, 0.3, log)
    message = encode_pairs(codes, FINITE, log)
    keys = np.flatnonzero(codes).astype(np.uint32)
    count = 1000 if dense else len(keys)
    assert symbols_of(log).width == width
    before = 0 if dense else len(encode_keys(keys))
    assert len(message) == 1 + before + -(-count * width // 8)


@pytest.mark.parametrize("d", [0, 1, 7, 8, 9, 16, 1003])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_what_is_there_is_selected(d: int, share: float) -> None:
    codes = some_codes(d, share, SPARSE)
    pairs = select(codes)
    np.testing.assert_array_equal(pairs.keys, np.flatnonzero(codes))
    np.testing.assert_array_equal(pairs.codes, codes[codes != 0])


@pytest.mark.parametrize("log", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_values_are_added(log: LogCodes) -> None:
    codes = some_codes(500, 0.2, log)
    total = np.arange(500, dtype=np.float32)
    _, pairs = decode_pairs(encode_pairs(codes, FINITE, log), 500, log)
    add_pairs(total, pairs, FINITE, log)
    np.testing.assert_array_equal(total, np.arange(500) + log.values(FINITE)[codes])


def test_a_gradient_that_is_not_finite_has_no_pairs() -> None:
    for log in (SPARSE, DENSE):
        exponent, pairs = decode_pairs(np.int8(NON_FINITE).tobytes(), 10, log)
        assert exponent == NON_FINITE
        assert len(pairs.keys) == len(pairs.codes) == 0


GOOD = encode_pairs(some_codes(100, 0.3, SPARSE), FINITE, SPARSE)


@pytest.mark.parametrize(
    ("message", "log", "text"),
    [
        (b"", SPARSE, "malformed gradient: it is empty"),
        (b"\0", SPARSE, "malformed keys: 0 bytes are no header"),
        (b"\0", DENSE, "malformed gradient: 0 bytes of values, and 100 values of 4"),
        (GOOD[:-1], SPARSE, "bytes of values, and"),
        (GOOD + b"\0", SPARSE, "bytes of values, and"),
        (bytes(52), DENSE, "51 bytes of values, and 100 values of 4 bits have 50"),
        (
            b"\0" + encode_keys(np.array([3], np.uint32)) + b"\x07",
            SPARSE,
            "a value beyond the threshold 6",
        ),
        (np.int8(NON_FINITE).tobytes() + b"\0", SPARSE, "malformed keys"),
    ],
)
def test_malformed_gradients_are_refused(
    message: bytes, log: LogCodes, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        decode_pairs(message, 100, log)


def check_any_message(message: bytes, log: LogCodes) -> None:
    """It is refused, or stands for codes of these elements."""
    try:
        _, pairs = decode_pairs(message, 100, log)
    except ValueError:
        return
    assert (pairs.codes & 127 <= log.threshold + 1).all()
    add_pairs(np.zeros(100, np.float32), pairs, 0, log)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.sampled_from([SPARSE, DENSE]))
def test_arbitrary_bytes_are_refused_or_codes(message: bytes, log: LogCodes) -> None:
    check_any_message(message, log)


def test_every_bit_that_flips_is_refused_or_other_codes() -> None:
    for at in range(8 * len(GOOD)):
        flipped = bytearray(GOOD)
        flipped[at // 8] ^= 1 << at % 8
        check_any_message(bytes(flipped), SPARSE)
