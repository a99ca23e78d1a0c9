"""What touches every element of vectors on a CUDA device, as torch does it there.

Everything here has its counterpart in `quantize.py` or `norms.py`, and comes out the
same bit for bit: all of it is integer arithmetic, or one correctly rounded float
operation after the other. So workers with a device and workers without can be in one
job.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.norms import LARGEST_NORM_BITS, RUNNING_SUMS, SQUARES
from host.compressors.quantize import (
    BELOW_ONE,
    INFINITY_BITS,
    MAGNITUDE_BITS,
    MULTIPLIER_1,
    MULTIPLIER_2,
    ONE_BITS,
    SHIFT_1,
    SHIFT_2,
    SIGN_AND_EXPONENT,
)
from host.packetizer import Integers

PART = 1 << 22
"""Elements worked on at once: what is in between stays in the device's cache."""


def signed(bits: Any) -> int:
    """A uint32 as the int32 of the same bits: torch has no arithmetic of the former."""
    return int(np.uint32(bits).view(np.int32))


def shifted(bits: Tensor, count: Any) -> Tensor:
    """`bits` >> `count` of what is unsigned."""
    return (bits >> int(count)) & (0xFFFFFFFF >> int(count))


def random_bits(start: int, like: Tensor, key: NDArray[np.uint32]) -> Tensor:
    """`quantize.random_bits` of as many indices, from `start` on."""
    stop = start + like.numel()
    index = torch.arange(start, stop, device=like.device).to(torch.int32)
    bits = index + signed(key[0])
    bits = (bits ^ shifted(bits, SHIFT_1)) * signed(MULTIPLIER_1)
    bits = (bits ^ shifted(bits, SHIFT_2)) + signed(key[1])
    return shifted(bits * signed(MULTIPLIER_2), SIGN_AND_EXPONENT)


def uniform(start: int, like: Tensor, key: NDArray[np.uint32]) -> Tensor:
    """`quantize.uniform` of as many indices, from `start` on."""
    bits = random_bits(start, like, key)
    return (bits | signed(ONE_BITS)).view(torch.float32) - float(BELOW_ONE)


def chunked(values: Tensor, width: int) -> Tensor:
    """[chunks, width], padded with what changes nothing."""
    lacking = -len(values) % width
    if lacking:
        pad = values.new_ones if values.dtype == torch.bool else values.new_zeros
        values = torch.cat([values, pad(lacking)])
    return values.view(-1, width)


def magnitudes(values: Tensor) -> Tensor:
    """Bit patterns of |float32|, which order as the floats do."""
    return values.view(torch.int32) & int(MAGNITUDE_BITS)


def largest_bits_of(vector: Tensor, block_ends: Integers) -> NDArray[np.int32]:
    """`norms.largest_bits_of`."""
    start, found = 0, []
    for end in block_ends.tolist():
        bits = magnitudes(vector[start:end])
        found.append(bits.amax() if end > start else bits.new_zeros(()))
        start = end
    largest: NDArray[np.int32] = torch.stack(found).cpu().numpy()
    return largest


def block_norms(vector: Tensor, block_ends: Integers, norm: str) -> NDArray[np.int32]:
    """`norms.block_norms`, of blocks as `norms.block_ends` makes them: all of one size
    but for the last, which may be shorter."""
    size = int(block_ends[0])
    whole = len(vector) - len(vector) % size
    euclidean = norm == "l2"
    at_once = max(PART // (min(size, RUNNING_SUMS) if euclidean else size), 1)
    found = []
    for blocks in (vector[:whole].view(-1, size), vector[None, whole:]):
        for at in range(0, len(blocks) if blocks.numel() else 0, at_once):
            group = blocks[at : at + at_once]
            found.append(euclidean_bits(group) if euclidean else largest_bits(group))
    norms: NDArray[np.int32] = torch.cat(found).cpu().numpy()
    return norms


def euclidean_bits(blocks: Tensor) -> Tensor:
    """`norms.euclidean_bits` of each of [blocks, size]."""
    total = sums_of_squares(blocks)
    bits = total.sqrt().to(torch.float32).view(torch.int32)
    bits.clamp_(max=LARGEST_NORM_BITS)
    return torch.where(torch.isfinite(total), bits, INFINITY_BITS)


def largest_bits(blocks: Tensor) -> Tensor:
    """`norms.largest_bits` of each of [blocks, size], at most LARGEST_NORM_BITS of what
    is finite."""
    bits = magnitudes(blocks).amax(1)
    return torch.where(bits < INFINITY_BITS, bits.clamp(max=LARGEST_NORM_BITS), bits)


def sums_of_squares(blocks: Tensor) -> Tensor:
    """[blocks] float64: `norms.sum_of_squares` of each of [blocks, size].

    The order of the additions is the kernel's, and takes size / 64 steps, one after the
    other, each for all blocks at once: blocks of a million elements are slow here.
    """
    lanes = min(blocks.shape[1], RUNNING_SUMS)  # the other sums would be 0
    sums = blocks.new_zeros((len(blocks), lanes), dtype=torch.float64)
    for at in range(0, blocks.shape[1], RUNNING_SUMS):
        wide = blocks[:, at : at + RUNNING_SUMS].to(torch.float64)
        sums[:, : wide.shape[1]].addcmul_(wide, wide)  # the squares are exact
    total = sums.new_zeros(len(blocks))
    for partial in sums.unbind(1):
        total += partial
    return total


def squared_norm(vector: Tensor) -> float:
    """`norms.squared_norm`"""
    total = 0.0
    for part in sums_of_squares(chunked(vector, SQUARES)).tolist():
        total += part
    return total


def first_non_finite(vector: Tensor) -> int | None:
    """Index of the first NaN or infinity. Slow path, for errors."""
    bad = torch.nonzero(~torch.isfinite(vector))
    return int(bad[0]) if len(bad) else None
