"""What touches every sign, code or chosen element of a vector, by where it lies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, is_tensor
from host.compressors.code_sum import CodeSum
from host.compressors.logcodes import LogCodes
from host.compressors.selection import top_k
from host.compressors.stream import IntegerSum
from host.packetizer import Bytes, Integers


class Codewise(NamedTuple):
    """Operations on vectors that are arrays, or tensors on a device."""

    operations: Any
    """NumPy, or torch: for those that both have under one name."""
    here: Callable[[Any], NDArray[Any]]
    """The elements in this machine's memory."""
    packbits: Callable[[Any], Bytes]
    """`numpy.packbits` of bool[d], in this machine's memory."""
    places: Callable[[Integers, Any], Any]
    """Ascending indices, where the second argument is."""
    zeros: Callable[[int, Any], Any]
    """[so many], where the second argument is, and of its type."""
    room: Callable[[Any], Gradient]
    """[d] in this machine's memory, for what the mean is to be; or that itself."""
    top_k: Callable[[Any, int], Any]
    """`selection.top_k`, where the vector lies."""
    encode: Callable[[LogCodes, Any, int, NDArray[np.uint32]], Any]
    """`LogCodes.encode`."""
    look_up: Callable[[NDArray[Any], Any], Any]
    """[d] table[codes], where the codes are."""
    sum: Callable[..., IntegerSum]
    """`CodeSum`."""


HERE = Codewise(
    operations=np,
    here=lambda array: array,
    packbits=np.packbits,
    places=lambda indices, like: indices,
    zeros=lambda elements, like: np.zeros(elements, like.dtype),
    room=lambda mean: mean,
    top_k=top_k,
    encode=LogCodes.encode,
    look_up=lambda table, codes: table[codes],
    sum=CodeSum,
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
        packbits=device.packbits,
        places=device.places,
        zeros=device.zeros,
        room=device.room,
        top_k=device.top_k,
        encode=device.encode,
        look_up=device.look_up,
        sum=device.DeviceCodeSum,
    )
