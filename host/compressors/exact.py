"""The yardstick: the float32 mean by torch.distributed, without switch or integers.

torch is imported when the first mean is taken, and its default process group must have
been made (backend gloo) by then.
"""

from typing import Any

import numpy as np

from host.compressors.base import Compressor, Gradient, Layout, Network
from host.compressors.norms import largest_bits
from host.compressors.quantize import INFINITY_BITS
from host.compressors.stream import first_non_finite, non_finite_error


class Exact(Compressor):
    """No options, no state. The network is not used and may be None."""

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        distributed = process_group()
        import torch

        finite = largest_bits(vector) < INFINITY_BITS
        first = None if finite else first_non_finite(vector)
        if mean is not vector:
            np.copyto(mean, vector)
        distributed.all_reduce(torch.from_numpy(mean))
        if largest_bits(mean) >= INFINITY_BITS:
            rank = distributed.get_rank()
            raise non_finite_error(first, layout, rank, self.statistics.steps)
        size = distributed.get_world_size()
        mean /= np.float32(size)
        # a ring, which gloo uses for large vectors, carries all but 1/n twice
        ring = 2 * vector.nbytes * (size - 1) // size
        self.statistics.bytes_up += ring
        self.statistics.bytes_down += ring


def process_group() -> Any:
    """torch.distributed, or RuntimeError where it has no process group."""
    import torch.distributed as distributed

    if not distributed.is_available() or not distributed.is_initialized():
        raise RuntimeError(
            "exact: torch.distributed has no process group; call "
            "torch.distributed.init_process_group('gloo', ...) first"
        )
    return distributed
