"""host/compressors/bits.py: numbers of any width, one after the other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from host.compressors.bits import from_bytes, get, low_bits, put, room_for, to_bytes

numbers = st.integers(1, 63).flatmap(
    lambda width: st.tuples(st.integers(0, 2**width - 1), st.just(width))
)


@settings(deadline=None)
@given(st.lists(numbers, max_size=50))
def test_numbers_come_back(written: list[tuple[int, int]]) -> None:
    """And lie as Python's big integer has them: low bits first."""
    total = sum(width for _, width in written)
    words, at, stream = room_for(total), 0, 0
    for number, width in written:
        stream |= number << at
        at = put(words, at, np.uint64(number), width)
    assert at == total
    encoded = to_bytes(words, total)
    assert encoded == stream.to_bytes(-(-total // 8), "little")
    back, bits = from_bytes(encoded)
    assert total <= bits < total + 8
    at = 0
    for number, width in written:
        assert low_bits(np.uint64(get(back, at)), width) == number
        at += width


def test_a_number_may_fill_a_word() -> None:
    words = room_for(65)
    assert put(words, put(words, 0, np.uint64(1), 1), np.uint64(2**64 - 1), 64) == 65
    assert to_bytes(words, 65) == b"\xff" * 8 + b"\x01"
    assert get(words, 1) == 2**64 - 1
    assert get(words, 64) == 1
