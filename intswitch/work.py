"""Parts of the torch backend: a collective on its way, and tensors as bytes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import Work

from host.ordered import Outcome


class SwitchWork(Work):
    """A collective on its way."""

    def __init__(self, outcome: Outcome, told: Any) -> None:
        super().__init__()
        self._outcome = outcome
        self._told = told

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Until it is done. Raises what went wrong."""
        self._outcome.wait(timeout.total_seconds() if timeout else None)
        return True

    def is_completed(self) -> bool:
        return self._outcome.is_over()

    def is_success(self) -> bool:
        return self.is_completed() and self._outcome.error is None

    def exception(self) -> Any:
        return self._outcome.error

    def result(self) -> Any:
        return self._outcome.wait()

    def get_future(self) -> Any:
        """Of the output tensors."""
        return self._told


def bytes_of(tensor: Tensor) -> Tensor:
    """[bytes] of its elements, not copied if they lie in a row."""
    flat = tensor.reshape(-1)
    # of one element or none torch does not care where the next would be; a view does
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8)


def byte_rows(parts: Tensor) -> Tensor:
    """[ranks, bytes of a part]"""
    return bytes_of(parts).reshape(len(parts), -1)


def typed(data: Tensor, like: Tensor) -> Tensor:
    """Bytes as elements. A copy: they may lie where elements may not."""
    out = torch.empty(like.shape, dtype=like.dtype)
    bytes_of(out).copy_(data)
    return out
