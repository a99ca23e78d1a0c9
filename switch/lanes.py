"""Element arithmetic on the payload of a packet and the values of a slot.

Values are kept in host byte order; a payload is big-endian. Every loop runs over
slices that start at 0: numba wraps negative indices, and `buffer[base + i]` would keep
the loop from becoming vector instructions (8 times slower for int8).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from switch.byteorder import swap16, swap32
from switch.codes import look_up4, look_up8
from switch.compiled import kernel
from switch.protocol import ElementType, Overflow, Reduction

Bytes = NDArray[np.uint8]
Lanes = NDArray[Any]  # int8, int16 or int32
Tables = Any  # a record with the code tables of a job; see `tables.JOB`

INT8, INT16 = int(ElementType.INT8), int(ElementType.INT16)
CODE4, CODE8 = int(ElementType.CODE4), int(ElementType.CODE8)
SUM, MAX = int(Reduction.SUM), int(Reduction.MAX)
SATURATE, DETECT = int(Overflow.SATURATE), int(Overflow.DETECT)


@kernel
def load8(lanes: Lanes, payload: Lanes) -> None:
    for i in range(lanes.size):
        lanes[i] = payload[i]


@kernel
def load16(lanes: Lanes, payload: Lanes) -> None:
    for i in range(lanes.size):
        lanes[i] = swap16(payload[i])


@kernel
def load32(lanes: Lanes, payload: Lanes) -> None:
    for i in range(lanes.size):
        lanes[i] = swap32(payload[i])


@kernel
def load(lanes: Lanes, payload: Bytes, element_type: int, tables: Tables) -> None:
    """Payload to host order: sign-extended to the width of `lanes`, or looked up."""
    if element_type == CODE4:
        look_up4(lanes, payload, tables.code4)
    elif element_type == CODE8:
        look_up8(lanes, payload, tables.code8)
    elif element_type == INT8:
        load8(lanes, payload.view(np.int8))
    elif element_type == INT16:
        load16(lanes, payload.view(np.int16))
    else:
        load32(lanes, payload.view(np.int32))


@kernel
def store(payload: Bytes, values: Bytes, result_type: int) -> None:
    """Values of a slot to the payload of a result; both are equally wide."""
    if result_type == INT8:
        load8(payload, values)
    elif result_type == INT16:
        load16(payload.view(np.int16), values.view(np.int16))
    else:
        load32(payload.view(np.int32), values.view(np.int32))


@kernel
def add_wrap(values: Lanes, lanes: Lanes) -> bool:
    for i in range(values.size):
        values[i] = values.dtype.type(np.int64(values[i]) + np.int64(lanes[i]))
    return False


@kernel
def add_saturate(values: Lanes, lanes: Lanes) -> bool:
    largest = np.int64(np.iinfo(values.dtype).max)
    for i in range(values.size):
        total = np.int64(values[i]) + np.int64(lanes[i])
        values[i] = min(max(total, -largest - 1), largest)
    return False


@kernel
def add_detect(values: Lanes, lanes: Lanes) -> bool:
    """Add with wrap-around; whether some sum left the range."""
    outside = values.dtype.type(0)
    for i in range(values.size):
        old = values[i]
        values[i] = values.dtype.type(np.int64(old) + np.int64(lanes[i]))
        # the sign bit: both operands differ from the sum in sign
        outside |= (old ^ values[i]) & (lanes[i] ^ values[i])
    return bool(outside < 0)


@kernel
def keep_max(values: Lanes, lanes: Lanes) -> bool:
    for i in range(values.size):
        values[i] = max(values[i], lanes[i])
    return False


@kernel
def keep_or(values: Lanes, lanes: Lanes) -> bool:
    for i in range(values.size):
        values[i] |= lanes[i]
    return False


@kernel
def reduce_lanes(values: Lanes, lanes: Lanes, reduction: int, overflow: int) -> bool:
    """Reduce `lanes` into `values`; whether an overflow is to be flagged."""
    if reduction == SUM:
        if overflow == DETECT:
            return add_detect(values, lanes)
        if overflow == SATURATE:
            return add_saturate(values, lanes)
        return add_wrap(values, lanes)
    if reduction == MAX:
        return keep_max(values, lanes)
    return keep_or(values, lanes)


@kernel
def absorb(
    values: Lanes,
    scratch: Lanes,
    payload: Bytes,
    element_type: int,
    tables: Tables,
    reduction: int,
    overflow: int,
    is_first: bool,
) -> bool:
    """Write the first payload of a slot, reduce a later one; whether it overflowed."""
    if is_first:
        load(values, payload, element_type, tables)
        return False
    load(scratch, payload, element_type, tables)
    return reduce_lanes(values, scratch, reduction, overflow)
