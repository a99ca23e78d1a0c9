"""Signs and codes of vectors on a CUDA device: torch makes them there, and they alone
come to this machine's memory.

Each function has its counterpart in `codewise.HERE`, and comes out the same bit for
bit; see `device`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from host.compressors.device import chunked

Bytes = NDArray[np.uint8]


def here(tensor: Tensor) -> NDArray[Any]:
    """Its elements in this machine's memory, pinned."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    found: NDArray[Any] = pinned.copy_(tensor).numpy()
    return found


def there(array: NDArray[Any], like: Tensor) -> Tensor:
    """The elements of an array, where `like` is."""
    return torch.from_numpy(array).to(like.device)


def packbits(bits: Tensor) -> Bytes:
    """Of bool[d], here; an element is a bit then, the first one a byte's highest."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    packed = (chunked(bits.to(torch.uint8), 8) << places).sum(1, dtype=torch.uint8)
    return here(packed)
