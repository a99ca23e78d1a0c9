"""The sum of levels in the switch: one norm for all workers, codes on the wire.

With a norm M_i of its own for every worker, sum_i M_i T[c_i] would take products in the
switch. With one M for all, which need only be as large as the largest element of any,

    mean = M unit / n * sum_i T[c_i]

and all that is left to the switch is to look the integer T of a code up, and to add.
(Or the workers send the integers themselves.) Each worker's estimate stays unbiased. M
is known beforehand (`LevelSum`), or a power of two that arrives one window ahead in the
exponent field, for every chunk another (`LevelBlockSum`; see `block_exponent`).
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.codes import pack4
from host.compressors.base import Gradient, Network
from host.compressors.block_exponent import (
    BlockPlan,
    announce,
    block_plan,
    check_known,
    drain_blocks,
)
from host.compressors.integers import CODES, IntegerFormat
from host.compressors.levels import (
    SIGN,
    Grid,
    add_levels,
    fill_indices,
    integer_of,
    level_of,
    scale_of,
    signed,
)
from host.compressors.norms import LARGEST_NORM
from host.compressors.quantize import LARGEST_BITS, ZERO, Floats, Plan
from host.compressors.stream import ScaledSum, check_kept, drain_sum
from host.packetizer import Contributions, Integers, Results
from switch.byteorder import to_wire
from switch.compiled import kernel
from switch.protocol import ELEMENT_BITS, HEADER_BYTES, ElementType


class LevelPlan(NamedTuple):
    """What the kernels of a LevelSum need."""

    sum: Plan
    """Its scales: units in a float."""
    grid: Grid
    least_scale: np.float32
    """Of the largest norm there is: elements beyond it are clipped."""
    sign_bit: np.int32
    """Of the codes, which are sent; 0: the integers are."""
    codes: NDArray[np.int8]
    """[elements_per_chunk] room for a chunk's codes before two of them share a byte.
    Empty: they do not."""


@kernel
def level_segment(
    segment: Floats,
    lanes: NDArray[Any],
    scale: np.float32,
    plan: LevelPlan,
    start: np.uint32,
) -> np.int32:
    """Part of a chunk that has one norm: one integer or code of each element. Returns
    the largest index."""
    grid, key, sign_bit = plan.grid, plan.sum.key, plan.sign_bit
    bits = segment.view(np.int32)
    largest = np.int32(0)
    for j in range(len(segment)):
        at = np.uint32(np.uint32(j) + start)
        negative = np.int32(bits[j] >> SIGN)
        index, sign = level_of(segment[j], negative, scale, grid, at, key)
        largest = index if index > largest else largest
        if sign_bit != 0:
            lanes[j] = np.int8((sign & sign_bit) | np.int32(index - grid.first))
            continue
        integer = signed(integer_of(index, grid), sign)
        lanes[j] = to_wire(integer, lanes.itemsize)
    return largest


@kernel
def count_beyond(segment: Floats) -> int:
    """Elements beyond the largest norm. Slow path: there hardly ever are any."""
    count = 0
    for j in range(len(segment)):
        count += abs(segment[j]) > LARGEST_NORM
    return count


@kernel
def level_chunk(plan: LevelPlan, chunk: int, lanes: Any) -> int:
    """A chunk's integers or codes, padded with zeros. Returns the largest index, 0 or
    less if all integers are 0."""
    scaled = plan.sum
    start, stop = scaled.starts[chunk], scaled.ends[chunk]
    at, block, beyond, largest = start, scaled.first_block[chunk], 0, -1
    while at < stop:
        end, scale = min(stop, scaled.block_ends[block]), scaled.scales[block]
        segment, part = scaled.vector[at:end], lanes[at - start : end - start]
        if scale == ZERO:
            part[:] = 0
        else:
            index = level_segment(segment, part, scale, plan, np.uint32(at))
            largest = max(largest, int(index))
            if scale <= plan.least_scale:
                beyond += count_beyond(segment)
        at, block = end, block + 1
    lanes[stop - start :] = 0
    scaled.beyond[chunk] = beyond
    return largest


@kernel
def fill_levels(
    plan: LevelPlan, chunks: Integers, contributions: Contributions
) -> None:
    """Fill the contributions of `chunks`; those of zeros alone are sent empty."""
    largest = 0
    for i in range(len(chunks)):
        payload = contributions.packets[i][HEADER_BYTES:]
        if len(plan.codes) > 0:
            index = level_chunk(plan, chunks[i], plan.codes)
            pack4(payload, plan.codes.view(np.uint8))
        elif plan.sum.element_bytes == 1:
            index = level_chunk(plan, chunks[i], payload.view(np.int8))
        elif plan.sum.element_bytes == 2:
            index = level_chunk(plan, chunks[i], payload.view(np.int16))
        else:
            index = level_chunk(plan, chunks[i], payload.view(np.int32))
        plan.sum.empty[chunks[i]] = index <= 0
        if index <= 0:
            contributions.element_count[i] = 0
        if plan.sum.beyond[chunks[i]]:
            contributions.flags[i] |= plan.sum.flag_beyond
        largest = max(largest, index)
    integer = np.float32(integer_of(np.int32(largest), plan.grid))
    bits = int(integer.view(np.int32))
    plan.sum.tally[LARGEST_BITS] = max(plan.sum.tally[LARGEST_BITS], bits)


def code_bits_of(form: IntegerFormat) -> int:
    """Of the codes that are sent; 0: the integers are."""
    return ELEMENT_BITS[form.element] if form.element in CODES else 0


class Rounded(NamedTuple):
    """What this worker has rounded last, and all that decides to what."""

    vector: Gradient
    mean: Gradient
    block_ends: Integers
    scales: Gradient
    grid: Grid
    key: NDArray[np.uint32]

    def share(self) -> Gradient:
        """See `Compressor.share`. Rounded once more, to the same levels."""
        check_kept(self.vector, self.mean)
        indices = np.empty(len(self.vector), np.int16)
        share = np.zeros_like(self.vector)
        blocks = (self.block_ends, self.scales, self.grid)
        fill_indices(self.vector, *blocks, self.key, indices)
        add_levels(indices, *blocks, 1, share)
        return share


class LevelSum(ScaledSum):
    """Sum over the workers of one level for each element of `vector`.

    As `ScaledSum`, of which scales are the units in a float, from `scales_of`. The
    result type in `form` holds n times the largest level, and so does the element type
    hold it; or that is a code, and the job's table `table_of` the grid.
    """

    fill_rows: ClassVar[Callable[..., None]] = staticmethod(fill_levels)
    drain_rows: ClassVar[Callable[..., None]] = staticmethod(drain_sum)

    def __init__(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        grid: Grid,
        **options: Any,
    ) -> None:
        super().__init__(vector, mean, network, **options)
        two_a_byte = self.form.element == ElementType.CODE4
        self.grid = grid
        self.plan: Any = LevelPlan(
            sum=self.scaled,
            grid=grid,
            least_scale=scale_of(LARGEST_NORM, grid),
            sign_bit=np.int32(2 ** code_bits_of(self.form) >> 1),
            codes=np.zeros(self.elements_per_chunk * two_a_byte, np.int8),
        )

    def share(self) -> Gradient:
        plan = self.scaled
        return Rounded(
            plan.vector, plan.mean, plan.block_ends, plan.scales, self.grid, plan.key
        ).share()


class LevelBlockPlan(NamedTuple):
    """What the kernels of a LevelBlockSum need. Both have the same `sum`."""

    levels: LevelPlan
    blocks: BlockPlan


@kernel
def fill_level_blocks(
    plan: LevelBlockPlan, chunks: Integers, contributions: Contributions
) -> None:
    check_known(plan.blocks, chunks)
    fill_levels(plan.levels, chunks, contributions)
    announce(plan.blocks, chunks, contributions)


@kernel
def drain_level_blocks(
    plan: LevelBlockPlan, chunks: Integers, results: Results
) -> None:
    drain_blocks(plan.blocks, chunks, results)


class LevelBlockSum(LevelSum):
    """The same, each chunk a block, whose norm is a power of two that is learnt on the
    way. exponents, maxima: see `block_plan`."""

    fill_rows = staticmethod(fill_level_blocks)
    drain_rows = staticmethod(drain_level_blocks)

    def __init__(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        grid: Grid,
        exponents: Integers,
        maxima: Integers,
        **options: Any,
    ) -> None:
        scales = np.zeros(len(exponents), np.float32)
        super().__init__(vector, mean, network, grid, scales=scales, **options)
        top = int(grid.top)
        blocks = block_plan(self.scaled, network, exponents, maxima, top)
        self.plan = LevelBlockPlan(levels=self.plan, blocks=blocks)
