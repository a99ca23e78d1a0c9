"""Sums and means of floats for the torch backend, estimated by a compressor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.base import Compressor
from host.compressors.scaled import ScaledCompressor


class Averages:
    """Of one group. Values are float32, bfloat16 or float16, on the CPU, or on a device
    where the compressor takes it; `weight`: how many times the mean is wanted."""

    def __init__(self, network: Any, create: Callable[[], Compressor]) -> None:
        self.network = network
        self.create = create
        self.compressors: dict[int, Compressor] = {}
        """By the number of elements that they have averaged: what a compressor
        remembers is of one tensor, and all that is known of one is its size."""

    def average(self, values: Tensor, weight: int, in_place: bool = False) -> Tensor:
        """float32, of the values' shape. in_place: it may be written over them."""
        compressor, floats = self.compressor_for(values), values.float()
        out = floats if in_place else None
        if can_scatter(compressor):
            with compressor.weighing(weight):
                return compressor.average(floats, self.network, out=out)
        mean: Tensor = compressor.average(floats, self.network, out=out)
        return mean if weight == 1 else mean.mul_(weight)

    def of_rows(self, rows: Tensor, weight: int, owners: NDArray[np.int64]) -> Tensor:
        """The same of some rows on each rank; see `ScaledCompressor.average_parts`."""
        compressor = self.compressor_for(rows)
        if not can_scatter(compressor) or rows.numel() == 0:
            own = torch.from_numpy(owners == self.network.rank).to(rows.device)
            return self.average(rows, weight)[own]
        with compressor.weighing(weight):
            found: Tensor = compressor.average_parts(rows.float(), self.network, owners)
        return found

    def compressor_for(self, values: Tensor) -> Compressor:
        elements = values.numel()
        if elements not in self.compressors:
            self.compressors[elements] = self.create()
        return self.compressors[elements]


def can_scatter(compressor: Compressor) -> TypeGuard[ScaledCompressor]:
    return isinstance(compressor, ScaledCompressor) and compressor.scatters
