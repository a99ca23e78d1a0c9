"""The sum in the switch of what codes stand for.

Codes of logarithms do not add up, but what they stand for does: the integers T[code] of
a table. Every worker takes the same table, and n times its largest entry fits the sum.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, Network, Statistics
from host.compressors.integers import IntegerFormat
from host.compressors.quantize import Floats, dequantize_segment
from host.packetizer import Bytes, Contributions, Integers, Results, Stream
from switch.byteorder import swap16, swap32
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES

MAGNITUDE = np.uint8(127)  # of a code, beside the sign
LARGEST_CODE, LARGEST_SUM, PAYLOADS_DOWN = range(3)  # places in a tally


class CodePlan(NamedTuple):
    """What the kernels of a CodeSum need."""

    codes: Bytes
    """[d]"""
    table: NDArray[np.int32]
    """[256] the integer of each code; of the code 0, the integer 0."""
    mean: Floats
    """[d]"""
    unit: np.float32
    """mean = unit * sum."""
    elements_per_chunk: int
    element_bytes: int
    result_bytes: int
    full: NDArray[np.bool_]
    """[chunks] whether this worker sends a payload."""
    tally: Integers
    """[3]"""


@kernel
def largest_code(codes: Bytes) -> int:
    """Without its sign."""
    largest = np.uint8(0)
    for j in range(len(codes)):
        magnitude = np.uint8(codes[j] & MAGNITUDE)
        largest = magnitude if magnitude > largest else largest
    return int(largest)


@kernel
def look_up(codes: Bytes, table: NDArray[np.int32], lanes: NDArray[Any]) -> None:
    """Integers in network order, and zeros behind them."""
    for j in range(len(codes)):
        integer = table[codes[j]]
        if lanes.itemsize == 1:
            lanes[j] = np.int8(integer)
        elif lanes.itemsize == 2:
            lanes[j] = swap16(integer)
        else:
            lanes[j] = swap32(integer)
    lanes[len(codes) :] = 0


@kernel
def fill_codes(plan: CodePlan, chunks: Integers, contributions: Contributions) -> None:
    """A chunk in which nothing is there is sent empty."""
    for i in range(len(chunks)):
        start = chunks[i] * plan.elements_per_chunk
        codes = plan.codes[start : start + plan.elements_per_chunk]
        largest = largest_code(codes)
        plan.tally[LARGEST_CODE] = max(plan.tally[LARGEST_CODE], largest)
        plan.full[chunks[i]] = largest > 0
        if largest == 0:
            contributions.element_count[i] = 0
            continue
        payload = contributions.packets[i][HEADER_BYTES:]
        if plan.element_bytes == 1:
            look_up(codes, plan.table, payload.view(np.int8))
        elif plan.element_bytes == 2:
            look_up(codes, plan.table, payload.view(np.int16))
        else:
            look_up(codes, plan.table, payload.view(np.int32))


@kernel
def drain_codes(plan: CodePlan, chunks: Integers, results: Results) -> None:
    width = plan.elements_per_chunk * plan.result_bytes
    for i in range(len(chunks)):
        start = chunks[i] * plan.elements_per_chunk
        mean = plan.mean[start : start + plan.elements_per_chunk]
        if results.element_count[i] == 0:
            mean[:] = 0
            continue
        plan.tally[PAYLOADS_DOWN] += 1
        at = results.payload_at[i]
        row = results.buffer[at : at + width]
        if plan.result_bytes == 1:
            largest, _, _ = dequantize_segment(row.view(np.int8), mean, plan.unit)
        elif plan.result_bytes == 2:
            largest, _, _ = dequantize_segment(row.view(np.int16), mean, plan.unit)
        else:
            largest, _, _ = dequantize_segment(row.view(np.int32), mean, plan.unit)
        plan.tally[LARGEST_SUM] = max(plan.tally[LARGEST_SUM], largest)


class CodeSum(Stream):
    """mean = unit * the sum over the workers of table[codes].

    codes: uint8[d], d > 0. table: int32[256], with table[0] = 0; its largest |entry|
    fits the elements of `form`, and n times that the results. unit: 2^-126 or more.
    """

    fill_rows = staticmethod(fill_codes)
    drain_rows = staticmethod(drain_codes)

    def __init__(
        self,
        codes: Bytes,
        mean: Gradient,
        network: Network,
        form: IntegerFormat,
        *,
        table: NDArray[np.int32],
        unit: float,
    ) -> None:
        self.form = form
        self.kind = form.kind
        self.elements_per_chunk = form.elements_per_chunk(network.slot_bytes)
        self.num_chunks = -(-len(codes) // self.elements_per_chunk)
        self.plan: CodePlan = CodePlan(
            codes=codes,
            table=table,
            mean=mean,
            unit=np.float32(unit),
            elements_per_chunk=self.elements_per_chunk,
            element_bytes=form.element_bytes,
            result_bytes=form.result_bytes,
            full=np.zeros(self.num_chunks, np.bool_),
            tally=np.zeros(3, np.int64),
        )

    def add_to(self, statistics: Statistics) -> None:
        """Count what this aggregation did."""
        plan, size = self.plan, self.elements_per_chunk
        largest = int(plan.table[plan.tally[LARGEST_CODE]])
        statistics.largest_integer = max(statistics.largest_integer, largest)
        largest_sum = int(plan.tally[LARGEST_SUM])
        statistics.largest_sum = max(statistics.largest_sum, largest_sum)
        up, down = int(plan.full.sum()), int(plan.tally[PAYLOADS_DOWN])
        for_headers = self.num_chunks * HEADER_BYTES
        statistics.bytes_up += for_headers + up * size * self.form.element_bytes
        statistics.bytes_down += for_headers + down * size * self.form.result_bytes
