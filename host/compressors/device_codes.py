"""Signs, codes and chosen elements of vectors on a CUDA device: torch makes and chooses
them there, and they alone come to this machine's memory.

Each function has its counterpart in `codewise.HERE`, and comes out the same bit for
bit; see `device`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.base import Network, Statistics, moved
from host.compressors.code_sum import MAGNITUDE, MAGNITUDE4, NIBBLE, SIGN4
from host.compressors.device import (
    PART,
    chunked,
    magnitudes,
    random_bits,
    uniform,
)
from host.compressors.device_sum import DeviceSum
from host.compressors.integers import CODES, IntegerFormat
from host.compressors.logcodes import (
    FRACTION,
    HALF_STEP,
    NEGATIVE,
    NEXT_EXPONENT,
    ONE_PATTERN,
    SMALLEST_NORMAL,
    LogCodes,
)
from host.compressors.quantize import LARGEST_BITS
from host.packetizer import Bytes, Integers
from switch.protocol import ElementType

Key = NDArray[np.uint32]


def here(tensor: Tensor) -> NDArray[Any]:
    """Its elements in this machine's memory, pinned."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    found: NDArray[Any] = pinned.copy_(tensor).numpy()
    return found


def packbits(bits: Tensor) -> Bytes:
    """Of bool[d], here; an element is a bit then, the first one a byte's highest."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    packed = (chunked(bits.to(torch.uint8), 8) << places).sum(1, dtype=torch.uint8)
    return here(packed)


def places(indices: Integers, like: Tensor) -> Tensor:
    """Ascending indices, where `like` is; on their way they have as few bytes as do."""
    few = len(indices) == 0 or indices[-1] < 2**31
    found: Tensor = moved(indices.astype(np.int32 if few else np.int64), like)
    return found.to(torch.int64)


def room(mean: Tensor) -> NDArray[np.float32]:
    """[d] here, pinned."""
    return torch.empty(len(mean), pin_memory=mean.is_cuda).numpy()


def look_up(table: NDArray[Any], codes: Tensor) -> Tensor:
    """[d] table[codes]; codes of torch's uint8 would not be taken for indices."""
    found: Tensor = moved(table, codes).index_select(0, codes.to(torch.int32))
    return found


def zeros(elements: int, like: Tensor) -> Tensor:
    return like.new_zeros(elements)


def top_k(vector: Tensor, k: int) -> Tensor:
    """`selection.top_k`, on the device."""
    bits, k = magnitudes(vector), min(k, len(vector))
    if k < 1:
        return places(np.zeros(0, np.int64), vector)
    least = int(torch.topk(bits, k, sorted=False).values.amin())
    above = torch.nonzero(bits > least).view(-1)
    if least == 0:
        return above
    ties = torch.nonzero(bits == least).view(-1)[: k - len(above)]
    return torch.cat([above, ties]).sort().values


# codes


def encode(log: LogCodes, vector: Tensor, exponent: int, key: Key) -> Tensor:
    """`LogCodes.encode`: uint8[d], where the vector is."""
    codes = torch.empty(len(vector), dtype=torch.uint8, device=vector.device)
    levels_of = levels_of_base_2 if log.base == 2 else levels_of_any_base
    for start in range(0, len(vector), PART):
        bits = vector[start : start + PART].view(torch.int32)
        relative = magnitudes(bits) - (exponent << int(FRACTION))
        levels = levels_of(log, relative, start, key)
        levels = torch.where(magnitudes(bits) >= int(SMALLEST_NORMAL), levels, 0)
        negative = (bits < 0) & (levels > 0)
        codes[start : start + PART] = torch.where(negative, levels | NEGATIVE, levels)
    return codes


def levels_of_base_2(log: LogCodes, relative: Tensor, start: int, key: Key) -> Tensor:
    """`logcodes.encode_base_2`, of patterns relative to M; m of each."""
    one = int(ONE_PATTERN)
    x = relative.clamp_max(one) + (log.threshold << int(FRACTION))
    x = x.clamp_min_(0)  # a pattern below that may be of a NaN, of any sign elsewhere
    if log.dense and log.random:
        scaled = x.view(torch.float32)
        position = torch.maximum(scaled + 1, scaled * 2).view(torch.int32)
    else:
        position = x + int(NEXT_EXPONENT)
    step: Any = random_bits(start, x, key) if log.random else int(HALF_STEP)
    levels: Tensor = position - one + step >> int(FRACTION)
    return levels.clamp_min_(0)


def levels_of_any_base(log: LogCodes, relative: Tensor, start: int, key: Key) -> Tensor:
    """`logcodes.encode_any_base`, of patterns relative to M; m of each.

    What the kernels guess and check is searched for here, in the same bounds.
    """
    patterns = relative.clamp_min(0)
    bounds = moved(log.places.bounds.view(np.int32), patterns)  # order as floats do
    levels = torch.bucketize(patterns, bounds, out_int32=True, right=True) - 1
    if not log.random:
        return levels
    low, gap = moved(log.places.steps.view(np.float32).reshape(-1, 2).T, patterns)
    above = patterns.view(torch.float32) - low.index_select(0, levels)
    chance = 1 - uniform(start, patterns, key)
    levels += chance * gap.index_select(0, levels) < above
    return levels


# sums


class DeviceCodeSum(DeviceSum):
    """`code_sum.CodeSum`. codes: uint8[d] on the device of the mean.

    What is sent comes from the device, half a byte an element for code4, and the sums
    go back.
    """

    def __init__(
        self,
        codes: Tensor,
        mean: Tensor,
        network: Network,
        form: IntegerFormat,
        *,
        table: NDArray[np.int32],
        scale: float,
    ) -> None:
        super().__init__(
            len(codes),
            mean,
            network,
            form,
            block_ends=np.array([len(codes)]),
            scales=np.array([scale], np.float32),
            key=None,
        )
        self.table = table
        self.make_ready(codes)
        # there, codes stand for the integers, which floats need not hold
        self.largest_integer = int(table[self.tally[LARGEST_BITS]])
        self.tally[LARGEST_BITS] = 0

    def quantize(self, part: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """`code_sum.fill_codes`; the largest are codes without their signs."""
        if self.form.element == ElementType.CODE4:
            self.put(part >> int(NIBBLE) & int(SIGN4) | part & int(MAGNITUDE4), start)
        elif self.form.element in CODES:
            self.put(part, start)
        else:
            self.put(look_up(self.table, part), start)
        by_chunk = chunked(part & int(MAGNITUDE), self.elements_per_chunk)
        largest = by_chunk.amax(1).to(torch.int32)
        return largest, torch.zeros_like(largest), torch.ones_like(largest).bool()

    def add_to(self, statistics: Statistics, *, clip: bool = True) -> None:
        """As `CodeSum`."""
        super().add_to(statistics, clip=clip)
        largest = max(statistics.largest_integer, self.largest_integer)
        statistics.largest_integer = largest
