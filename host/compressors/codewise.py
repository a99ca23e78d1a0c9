"""What touches every sign, code or chosen element of a vector, by where it lies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import is_tensor
from host.packetizer import Bytes


class Codewise(NamedTuple):
    """Operations on vectors that are arrays, or tensors on a device."""

    operations: Any
    """NumPy, or torch: for those that both have under one name."""
    here: Callable[[Any], NDArray[Any]]
    """The elements in this machine's memory."""
    there: Callable[[NDArray[Any], Any], Any]
    """An array's elements where the second argument is."""
    packbits: Callable[[Any], Bytes]
    """`numpy.packbits` of bool[d], in this machine's memory."""


HERE = Codewise(
    operations=np,
    here=lambda array: array,
    there=lambda array, like: array,
    packbits=np.packbits,
)


def codewise(vector: Any) -> Codewise:
    """As `scaled.elementwise`."""
    if not is_tensor(vector):
        return HERE
    import torch

    from host.compressors import device_codes as device

    return Codewise(
        operations=torch,
        here=device.here,
        there=device.there,
        packbits=device.packbits,
    )
