"""Sapio's first scaling: one factor f for the whole training.

Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation"
(arXiv 1903.06701, version 1, 2019), on floating point, Theorems 1 and 2:

    q_i  = round(f g_i)
    mean = sum_i q_i / (n f)

If |g_i| <= B for all elements and workers, and f <= (2^31 - n) / (n B), no int32 sum
overflows: |sum| <= n (f B + 1/2) < 2^31. B is profiled in the first steps; a gradient
beyond it later may overflow silently, as in the paper (`overflow: wrap`), or, where the
job's policy is `detect`, be counted in statistics.overflows. Nothing is clipped.

Differences from the paper: B is given (`bound`), or taken from the first
`profile_steps` steps, in each of which one round gets the largest |element| of all
workers; until it ends, f follows the largest seen so far. f is a float32 and taken
2^-22 below the limit, because the float32 product f g may round up. int8 and int16 are
ours. An integer beyond the element type keeps its low bits, as a cast does (int32: it
saturates), and is sent with the overflow flag.
"""

import math
from typing import Any

import numpy as np

from host.compressors.base import Layout, Network
from host.compressors.integers import IntegerFormat
from host.compressors.quantize import INFINITY_BITS
from host.compressors.scaled import ScaledCompressor, elementwise
from host.compressors.scales import usable_scale

BELOW_LIMIT = 1 - 2.0**-22


def fixed_scale(form: IntegerFormat, num_workers: int, bound: float) -> np.float32:
    """f for gradients within +-bound: the largest that Theorem 2 allows."""
    if bound == 0:
        return np.float32(1)
    share = (form.largest_result + 1 - num_workers) / num_workers
    return usable_scale(min(share, form.largest_element - 0.5) / bound * BELOW_LIMIT)


class FixedScale(ScaledCompressor):
    """See the module. State: step, and the bound B."""

    devices = scatters = True

    def __init__(
        self,
        *,
        element_type: str = "int32",
        result_type: str | None = None,
        rounding: str = "deterministic",
        seed: int = 0,
        bound: float | None = None,
        profile_steps: int = 10,
    ) -> None:
        """See `ScaledCompressor`; besides, bound: B, the largest |element| of any
        gradient. None: the largest in the first `profile_steps` steps, at least 1."""
        super().__init__(element_type, result_type, rounding, seed, clip=False)
        if bound is not None and not 0 < bound < math.inf:
            raise ValueError(f"bound is {bound}: must be above 0 and finite")
        if profile_steps < 1:
            raise ValueError(f"profile_steps is {profile_steps}: must be 1 or more")
        self.profile_steps = 0 if bound is not None else profile_steps
        self.bound = bound or 0.0

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        if self.step < self.profile_steps or self.bound == 0:
            self.profile(vector, network, layout)
        scale = fixed_scale(self.form, network.num_workers, self.bound)
        stream = elementwise(vector).sum(
            vector,
            mean,
            network,
            self.form,
            block_ends=np.array([len(vector)], np.int64),
            scales=np.array([scale], np.float32),
            wanted=self.wanted,
            key=self.key(network),
            clip=False,
        )
        self.complete(stream, network, layout)

    def profile(self, vector: Any, network: Network, layout: Layout) -> None:
        """Take the largest |element| of all workers into the bound."""
        own = elementwise(vector).largest_bits_of(vector, np.array([len(vector)]))
        largest = self.agreed_maxima(own, INFINITY_BITS, vector, network, layout)
        self.bound = max(self.bound, float(largest.view(np.float32)[0]))

    def overflowed(self, chunks: int) -> None:
        """Counted, and otherwise passed over as in the paper."""

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"bound": self.bound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.bound = float(state["bound"])
