"""Levels of vectors that lie on a CUDA device: rounding as torch does it there, so that
only integers or codes travel.

Everything here has its counterpart in `levels.py` or `level_sum.py`, and comes out the
same bit for bit; see `device`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.base import Network
from host.compressors.device import chunked, magnitudes, random_bits
from host.compressors.device_sum import DeviceSum
from host.compressors.level_sum import code_bits_of
from host.compressors.levels import (
    FRACTION_BITS,
    ONE,
    ONE_BITS,
    SIGN,
    UNITS,
    Grid,
    scale_of,
    table_of,
)
from host.compressors.norms import LARGEST_NORM


def position(x: Tensor, grid: Grid) -> Tensor:
    """`levels.position`"""
    if grid.exponential:
        below = x * float(grid.slope) + float(grid.offset + ONE)
        return torch.maximum(below, x + x).view(torch.int32) - int(ONE_BITS)
    index = x * float(grid.slope) + float(grid.offset)
    return (index * float(UNITS)).round().to(torch.int32)  # ties to even


def levels_of(
    part: Tensor, scale: Tensor, grid: Grid, start: int, key: NDArray[np.uint32]
) -> tuple[Tensor, Tensor]:
    """`levels.level_of`, of the elements from `start` on: indices and signs."""
    negative = part.view(torch.int32) >> int(SIGN)
    x = part.abs() * scale
    x = torch.where(x < float(grid.top), x, float(grid.top))
    up = random_bits(start, part, key)
    index = (position(x, grid) + up) >> int(FRACTION_BITS)
    sign = torch.where(index < int(grid.first), ~negative, negative)
    return index.clamp_(min=int(grid.first)), sign


def integer_of(index: Tensor, grid: Grid) -> Tensor:
    """`levels.integer_of`"""
    if grid.exponential:
        return torch.ones_like(index) << index >> 1
    return index * int(grid.stride) - int(grid.first)


class DeviceLevelSum(DeviceSum):
    """`LevelSum`. vector: float32[d] on the device of the mean; may be the mean."""

    key: NDArray[np.uint32]

    def __init__(
        self, vector: Tensor, mean: Tensor, network: Network, grid: Grid, **options: Any
    ) -> None:
        super().__init__(len(vector), mean, network, **options)
        self.grid = grid
        self.code_bits = code_bits_of(self.form)
        known = self.scales[self.scales > 0]
        self.far = bool((known <= scale_of(LARGEST_NORM, grid)).any())
        """Whether some block has the largest norm: nearly never."""
        self.make_ready(vector)

    def quantize(self, part: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """`level_sum.level_chunk`"""
        scale = self.spread(self.scales, self.block_ends, start, start + len(part))
        index, sign = levels_of(part, scale, self.grid, start, self.key)
        there = scale != 0
        self.put(self.lanes_of(index, sign) * there, start)
        highest = chunked(index * there, self.elements_per_chunk).amax(1)
        largest = integer_of(highest, self.grid).clamp_(min=0).to(torch.float32)
        finite = torch.ones_like(highest, dtype=torch.bool)  # else there is no sum
        return magnitudes(largest), self.count_beyond(part), finite

    def lanes_of(self, index: Tensor, sign: Tensor) -> Tensor:
        """What is sent: codes, or the integers themselves."""
        if self.code_bits:
            return (sign & 1 << self.code_bits - 1) | (index - int(self.grid.first))
        return (integer_of(index, self.grid) ^ sign) - sign

    def count_beyond(self, part: Tensor) -> Tensor:
        """[chunks] elements beyond the largest norm."""
        if not self.far:
            chunks = -(-len(part) // self.elements_per_chunk)
            return torch.zeros(chunks, dtype=torch.int64, device=part.device)
        beyond = part.abs() > float(LARGEST_NORM)
        return chunked(beyond.to(torch.int64), self.elements_per_chunk).sum(1)

    def sent(self, start: int, stop: int) -> Tensor:
        """The integers, of codes too."""
        sent = super().sent(start, stop)
        if not self.code_bits:
            return sent
        table = torch.from_numpy(table_of(self.grid, self.code_bits)).to(sent.device)
        integers: Tensor = table.take(sent.to(torch.int64))
        return integers

    def add_squares(self, totals: Tensor, start: int, squares: Tensor) -> None:
        """Nobody asks for them: no scale follows from what came before."""
