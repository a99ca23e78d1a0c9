"""Which of torch's reductions the switch does, and on which integers.

Integers are reduced as they are. The maximum of floats is exact: their bit patterns
become integers of the same order. Sums of floats are the compressor's part, and what
stands in no table here is gloo's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ReduceOp

SUM, AVG = ReduceOp.SUM, ReduceOp.AVG
Transform = Callable[[Tensor], Tensor]


class Reduction(NamedTuple):
    """As `host.collectives` does it, and how to get there and back."""

    name: str
    """sum, max or or."""
    encode: Transform
    """Elements -> int8, int16 or int32."""
    decode: Callable[[Tensor, torch.dtype], Tensor]


def same(tensor: Tensor) -> Tensor:
    return tensor


def ordered(tensor: Tensor) -> Tensor:
    """Floats as integers of the same order; -0 below 0, NaN above everything."""
    known = torch.where(tensor.isnan(), torch.nan, tensor)  # of all NaN one, positive
    return _flipped(known.view(INTEGER_OF[tensor.dtype]))


def _flipped(bits: Tensor) -> Tensor:
    """Negative floats have their magnitude's bits inverted. Its own inverse."""
    info = torch.iinfo(bits.dtype)
    return torch.where(bits < 0, bits ^ info.max, bits)


def floats_of(integers: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `ordered`."""
    return _flipped(integers).view(dtype)


def unchanged(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor


def inverted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return ~tensor


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int8)


def from_bytes(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.view(dtype)


INTEGERS = (torch.int8, torch.int16, torch.int32)
INTEGER_OF = {
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}

OF_INTEGERS = {
    ReduceOp.SUM: Reduction("sum", same, unchanged),
    ReduceOp.MAX: Reduction("max", same, unchanged),
    # ~ turns the order of integers around
    ReduceOp.MIN: Reduction("max", torch.bitwise_not, inverted),
    ReduceOp.BOR: Reduction("or", same, unchanged),
    ReduceOp.BAND: Reduction("or", torch.bitwise_not, inverted),
}
OF_FLOATS = {
    ReduceOp.MAX: Reduction("max", ordered, floats_of),
    ReduceOp.MIN: Reduction(
        "max",
        lambda tensor: ordered(-tensor),
        lambda integers, dtype: -floats_of(integers, dtype),
    ),
}
OF_BYTES = {ReduceOp.BOR: Reduction("or", as_bytes, from_bytes)}
TABLES: dict[torch.dtype, dict[Any, Reduction]] = {
    **dict.fromkeys(INTEGERS, OF_INTEGERS),
    **dict.fromkeys(INTEGER_OF, OF_FLOATS),
    torch.uint8: OF_BYTES,
    torch.bool: OF_BYTES,
}


def reduction_of(op: Any, dtype: torch.dtype) -> Reduction | None:
    """None: the switch does not do it."""
    return TABLES.get(dtype, {}).get(op)
