"""switch/byteorder.py against NumPy's byteswap."""

import numpy as np

from switch.byteorder import swap16, swap32


def test_swap16() -> None:
    values = np.array([0, 1, -1, 0x1234, -0x1234, 32767, -32768], np.int16)
    swapped = [int(swap16(value)) for value in values]
    assert swapped == values.byteswap().tolist()


def test_swap16_takes_the_low_bits_of_a_wider_integer() -> None:
    assert int(swap16(np.int32(0x7FFF1234))) == 0x3412


def test_swap32() -> None:
    values = np.array(
        [0, 1, -1, 0x12345678, -0x12345678, 2**31 - 1, -(2**31)], np.int32
    )
    swapped = [int(swap32(value)) for value in values]
    assert swapped == values.byteswap().tolist()
