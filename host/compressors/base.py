"""What a compressor is, and what it is given of the network."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Stream

Gradient = NDArray[np.float32]
Blocks = Sequence[tuple[str, int]]
"""Name and number of elements of consecutive blocks (layers) of a gradient."""


class Network(Protocol):
    """What a compressor may ask of the network. All workers ask the same, in order."""

    rank: int
    num_workers: int
    num_slots: int
    slot_bytes: int

    def sum(
        self, array: NDArray[Any], result_type: str | None = None
    ) -> NDArray[Any]: ...
    def max(self, array: NDArray[Any]) -> NDArray[Any]: ...
    def union(self, bits: NDArray[Any]) -> NDArray[Any]: ...
    def broadcast(self, array: NDArray[Any], root: int) -> NDArray[Any]: ...
    def gather(self, message: bytes) -> list[bytes]: ...
    def barrier(self) -> None: ...
    def aggregate(self, stream: Stream) -> None: ...


@dataclass(slots=True)
class Statistics:
    """Running totals of one compressor on one worker."""

    steps: int = 0
    clips: int = 0
    """Elements of this worker that were clipped."""
    overflows: int = 0
    """Chunks whose result had the overflow flag."""
    largest_integer: int = 0
    """Largest absolute integer that this worker has sent, before clipping."""
    largest_sum: int = 0
    """Largest absolute integer that came back."""
    bytes_up: int = 0
    """Payload and header bytes sent, without retransmissions."""
    bytes_down: int = 0


class Compressor(ABC):
    """Estimates the mean of the workers' gradients with integer aggregations only."""

    statistics: Statistics

    @abstractmethod
    def average(
        self, gradient: Gradient, network: Network, blocks: Blocks | None = None
    ) -> Gradient:
        """float32[d] -> float32[d], the same on every worker."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here. Plain Python and NumPy."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another compressor of the same kind and options stopped."""
