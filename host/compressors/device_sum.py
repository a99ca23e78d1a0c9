"""Sums of vectors that lie on a CUDA device: torch quantizes them there, and only
integers, or codes of them, go to this machine's memory, and integers back.

The counterparts of `stream.IntegerSum` and `stream.ScaledSum`, bit for bit; see
`device`.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.base import Network
from host.compressors.device import PART, chunked, first_non_finite, magnitudes, uniform
from host.compressors.integers import CODES, IntegerFormat, integer_format
from host.compressors.quantize import (
    FIRST_NON_FINITE,
    FLOAT_BELOW_2_31,
    LARGEST_BITS,
    LARGEST_SUM,
    LOW_HALF,
    NON_FINITE,
    NON_FINITE_CHUNKS,
    OVERFLOW,
    OVERFLOWS,
    PAYLOADS_DOWN,
)
from host.compressors.stream import MEAN, IntegerSum, Wanted
from host.packetizer import Contributions, Results, write_lanes
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES, ElementType

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32}


class ReadyPlan(NamedTuple):
    """What is ready to be sent, and where results go: all in this machine's order."""

    lanes: Bytes
    """[chunks * bytes of a full contribution], the last one padded: integers, or codes
    as they travel."""
    sums: Bytes
    """[own chunks * bytes of a full result]"""
    lane_bytes: int
    """Of an integer to be sent; of codes, 1."""
    result_bytes: int
    finite: NDArray[np.bool_]
    """[chunks]"""
    empty: NDArray[np.bool_]
    """[chunks] sent without a payload."""
    flags: Integers
    """[chunks] of the contributions."""
    num_workers: Integers
    """[chunks] how many are in each result."""
    tally: Integers
    recipients: Integers
    """See `Plan`."""
    first_own: int
    """The chunk whose result `sums` begins with."""
    chunk_bytes: int
    """Of a full result."""


@kernel
def fill_ready(plan: ReadyPlan, chunks: Integers, contributions: Contributions) -> None:
    """The same contributions as `quantize` fills."""
    for i in range(len(chunks)):
        chunk = chunks[i]
        payload = contributions.packets[i][HEADER_BYTES:]
        if plan.recipients.size > 0:
            contributions.recipient[i] = plan.recipients[chunk]
        if plan.empty[chunk]:
            contributions.element_count[i] = 0
        if not plan.finite[chunk]:
            payload[:] = 0
            contributions.exponent[i] = NON_FINITE
            continue
        start = chunk * payload.size
        ready = plan.lanes[start : start + payload.size]
        write_lanes(payload, ready, plan.lane_bytes)
        contributions.flags[i] |= plan.flags[chunk]


@kernel
def drain_sums(plan: ReadyPlan, chunks: Integers, results: Results) -> None:
    """Take the results of `chunks`; without a payload, sums stay 0."""
    for i in range(len(chunks)):
        chunk, at = chunks[i], results.payload_at[i]
        has_payload = results.element_count[i] != 0
        plan.num_workers[chunk] = results.num_workers[i]
        plan.tally[NON_FINITE_CHUNKS] += results.exponent[i] == NON_FINITE
        plan.tally[OVERFLOWS] += (results.flags[i] & OVERFLOW) != 0
        plan.tally[PAYLOADS_DOWN] += has_payload
        if has_payload:
            start = (chunk - plan.first_own) * plan.chunk_bytes
            row = results.buffer[at : at + plan.chunk_bytes]
            out = plan.sums[start : start + plan.chunk_bytes]
            write_lanes(out, row, plan.result_bytes)


class DeviceSum(IntegerSum):
    """A sum whose integers or codes are all made at once, on the device; of what,
    `quantize` says. Parts, if there are any, are of whole chunks.

    elements: d. mean: float32 on the device, and the rest: see `ScaledSum`. What it
    does there, it does on the current stream; the mean is written by `finish`, and
    ready when the stream is through.
    """

    fill_rows: ClassVar[Any] = staticmethod(fill_ready)
    drain_rows: ClassVar[Any] = staticmethod(drain_sums)

    def __init__(
        self,
        elements: int,
        mean: Tensor,
        network: Network,
        form: IntegerFormat,
        *,
        block_ends: Integers,
        scales: NDArray[np.float32],
        key: NDArray[np.uint32] | None,
        clip: bool = True,
        wanted: Wanted = MEAN,
    ) -> None:
        super().__init__(elements, network, form, block_ends, clip, wanted)
        self.weight = wanted.weight
        self.mean, self.block_ends, self.scales, self.key = (
            mean,
            block_ends,
            scales,
            key,
        )
        width = self.elements_per_chunk
        room = self.num_chunks * width
        # elements that share one, if not one byte or more for each
        self.in_lane = 2 if form.element == ElementType.CODE4 else 1
        lane = torch.uint8 if form.element in CODES else INTEGERS[form.element_bytes]
        self.lanes = self.pinned(room // self.in_lane, lane)
        self.sums = self.pinned(
            len(self.own_chunks) * width, INTEGERS[form.result_bytes]
        )
        self.plan = ReadyPlan(
            lanes=self.lanes.numpy().view(np.uint8),
            sums=self.sums.numpy().view(np.uint8),
            lane_bytes=lane.itemsize,
            result_bytes=form.result_bytes,
            finite=np.ones(self.num_chunks, np.bool_),
            empty=self.empty,
            flags=np.zeros(self.num_chunks, np.int64),
            num_workers=np.ones(self.num_chunks, np.int64),
            tally=self.tally,
            recipients=self.recipients,
            first_own=int(self.own_chunks.min(initial=self.num_chunks)),
            chunk_bytes=width * form.result_bytes,
        )

    def pinned(self, elements: int, dtype: torch.dtype) -> Tensor:
        """[elements] zeros in memory that the device reads and writes by itself."""
        return torch.zeros(elements, dtype=dtype, pin_memory=self.mean.is_cuda)

    def parts(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges of the vector's elements, each of whole chunks but for the end."""
        step = max(PART // self.elements_per_chunk, 1) * self.elements_per_chunk
        for start in range(first, end, step):
            yield start, min(start + step, end)

    def make_ready(self, vector: Tensor) -> None:
        """Quantize all chunks: `quantize`."""
        told = [
            self.quantize(vector[start:stop], start)
            for start, stop in self.parts(0, self.elements)
        ]
        largest, beyond, finite = (
            torch.cat(each).cpu().numpy() for each in zip(*told, strict=True)
        )
        self.plan.finite[:] = finite
        self.empty[:] = self.all_scales_zero() | (largest == 0)
        self.beyond[:] = np.where(finite, beyond, 0)
        self.plan.flags[self.beyond > 0] = self.flag_beyond
        self.tally[LARGEST_BITS] = largest[finite].max(initial=0)
        if not finite.all():
            first = first_non_finite(vector)
            self.tally[FIRST_NON_FINITE] = -1 if first is None else first

    def quantize(self, part: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """`put` the integers or codes of the elements from `start` on.

        Returns of each chunk the bits of its largest |integer|, before clipping, how
        many are beyond the bound, and whether the chunk is finite.
        """
        raise NotImplementedError

    def put(self, values: Tensor, start: int) -> None:
        """Have the integers or codes of the elements from `start` on go to `lanes`."""
        if self.in_lane == 2:  # the first of two codes in the high nibble
            values = chunked(values, 2)
            values = values[:, 0] << 4 | values[:, 1]
            start //= 2
        out = self.lanes[start : start + len(values)]
        out.copy_(values.to(out.dtype), non_blocking=True)

    def sent(self, start: int, stop: int) -> Tensor:
        """What has been `put` of the elements from `start` to `stop`, on the device
        again. `share` takes it for integers: who sends codes looks them up here."""
        first, end = start // self.in_lane, -(-stop // self.in_lane)
        sent = self.lanes[first:end].to(self.mean.device, non_blocking=True)
        if self.in_lane == 1:
            return sent
        return torch.stack([sent >> 4, sent & 15], 1).view(-1)[: stop - start]

    def spread(
        self, values: NDArray[np.float32], ends: Integers, start: int, stop: int
    ) -> Tensor:
        """What counts for each of the elements from `start` to `stop`; of `values`,
        each counts up to its end."""
        device = self.mean.device
        if (values == values[0]).all():
            return torch.tensor(values[0])
        first, last = np.searchsorted(ends, (start, stop - 1), side="right")
        counts = np.diff(np.clip(ends[first : last + 1], start, stop), prepend=start)
        return torch.repeat_interleave(
            torch.from_numpy(values[first : last + 1]).to(device),
            torch.from_numpy(counts).to(device),
            output_size=stop - start,
        )

    def all_scales_zero(self) -> NDArray[np.bool_]:
        """[chunks]"""
        last_block = np.searchsorted(self.block_ends, self.ends - 1, side="right")
        below = np.concatenate([[0], np.cumsum(self.scales != 0)])
        empty: NDArray[np.bool_] = below[last_block + 1] == below[self.first_block]
        return empty

    def finish(self) -> None:
        """Write the mean, and add up squares: `dequantize`."""
        ends, inverses = self.inverses(self.plan.num_workers, self.weight)
        largest = torch.zeros((), dtype=torch.int64, device=self.mean.device)
        squares = torch.zeros(
            self.squares.shape, dtype=torch.int64, device=largest.device
        )
        first = self.own[0]
        for start, stop in self.parts(*self.own):
            place = slice(start - first, stop - first)
            totals = self.sums[place].to(self.mean.device, non_blocking=True)
            inverse = self.spread(inverses, ends, start, stop)
            torch.mul(totals.to(torch.float32), inverse, out=self.mean[place])
            largest = torch.maximum(largest, totals.to(torch.int64).abs().amax())
            self.add_squares(totals, start, squares)
        self.squares[:] = squares.cpu().numpy()
        self.tally[LARGEST_SUM] = int(largest)

    def add_squares(self, totals: Tensor, start: int, squares: Tensor) -> None:
        """Add to each block's sums of squares, (high, low) * (2^32, 1)."""
        ends = np.clip(self.block_ends - start, 0, len(totals))
        stops = torch.from_numpy(ends).to(totals.device)
        square = totals.to(torch.int64).square_()
        for place, half in enumerate((square >> 32, square & int(LOW_HALF))):
            # of integers: differences of running sums are the blocks' own, exactly
            running = torch.cat([half.new_zeros(1), half.cumsum(0)])[stops]
            squares[:, place] += running.diff(prepend=running.new_zeros(1))

    def inverses(
        self, num_workers: Integers, weight: float = 1.0
    ) -> tuple[Integers, NDArray[np.float32]]:
        """weight / (n * scale), and the index after the last element for which each
        is."""
        chunk_ends = self.ends
        if (num_workers == num_workers[0]).all():
            chunk_ends, num_workers = chunk_ends[-1:], num_workers[:1]
        ends = np.union1d(chunk_ends, self.block_ends)
        scales = self.scales[np.searchsorted(self.block_ends, ends)].astype(np.float64)
        divisors = num_workers[np.searchsorted(chunk_ends, ends)] * scales
        with np.errstate(divide="ignore"):
            inverses = np.where(divisors > 0, weight / divisors, 0.0)
        return ends, inverses.astype(np.float32)

    def share(self) -> Tensor:
        """[d], on the device."""
        ends, inverses = self.inverses(np.ones(self.num_chunks, np.int64))
        share = self.mean.new_empty(self.elements)
        for start, stop in self.parts(0, self.elements):
            integers = self.sent(start, stop)
            inverse = self.spread(inverses, ends, start, stop)
            torch.mul(integers.to(torch.float32), inverse, out=share[start:stop])
        return share


class DeviceScaledSum(DeviceSum):
    """`ScaledSum`. vector: float32[d] on the device of the mean; may be the mean."""

    def __init__(
        self, vector: Tensor, mean: Tensor, network: Network, form: IntegerFormat,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(len(vector), mean, network, form, **options)
        self.make_ready(vector)

    def quantize(self, part: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """`quantize.quantize`."""
        scale = self.spread(self.scales, self.block_ends, start, start + len(part))
        rounded = self.rounded(part * scale, start)
        by_chunk = chunked(rounded, self.elements_per_chunk)
        beyond = (by_chunk.abs() > float(self.bound)).sum(1)
        finite = chunked(torch.isfinite(part), self.elements_per_chunk).all(1)
        most = float(FLOAT_BELOW_2_31)
        # as in the kernel: these comparisons send a NaN to the limit
        known = torch.where(rounded < most, rounded, most)
        known = torch.where(known > -most, known, -most).to(torch.int32)
        known = known.clamp_(-int(self.limit), int(self.limit))
        self.put(known, start)
        return magnitudes(by_chunk).amax(1), beyond, finite

    def rounded(self, products: Tensor, start: int) -> Tensor:
        """`quantize.round_product`."""
        if self.key is None:
            return products.round()  # ties to even
        low = products.floor()
        return low + (uniform(start, products, self.key) < products - low)


def compile_kernels(network: Network) -> None:
    """Have the loop of such sums compiled, by one of tensors in this machine's memory:
    no device is touched."""
    one, form = torch.ones(1), integer_format("int8", None)
    ends, scales = np.array([1]), np.ones(1, np.float32)
    network.aggregate(
        DeviceScaledSum(
            one, one, network, form, block_ends=ends, scales=scales, key=None
        )
    )
