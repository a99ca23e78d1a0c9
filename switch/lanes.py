"""Element arithmetic on the payload of a packet and the values of a slot.

Values are kept in host byte order; a payload is big-endian. Every loop runs over
slices that start at 0: numba wraps negative indices, and `buffer[base + i]` would keep
the loop from becoming vector instructions (8 times slower for int8).
"""

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.protocol import ELEMENT_BYTES

Bytes = NDArray[np.uint8]

SUM = 0
MAX = 1
SATURATE = 1
DETECT = 2
INT16 = 1
INT32 = 2


@kernel
def swap16(value: int) -> int:
    """Byte order of a 16-bit lane; shifts and ors become one vector shuffle."""
    bits = np.uint16(value)
    return np.int16(np.uint16(bits << np.uint16(8)) | np.uint16(bits >> np.uint16(8)))


@kernel
def swap32(value: int) -> int:
    """Byte order of a 32-bit lane."""
    bits = np.uint32(value)
    return np.int32(
        np.uint32(bits << np.uint32(24))
        | np.uint32(np.uint32(bits & np.uint32(0xFF00)) << np.uint32(8))
        | np.uint32(np.uint32(bits >> np.uint32(8)) & np.uint32(0xFF00))
        | np.uint32(bits >> np.uint32(24))
    )
