"""Heuristic IntSGD: Sapio's scaling as IntSGD's experiments have it.

Mishchenko et al., "IntSGD" (arXiv 2102.08374), experiments, after Sapio et al. In every
step:

    m     = max over workers and elements of |g_i|
    alpha = (2^(b-1) - 1) / (n 2^floor(log2 m))
    q_i   = round(alpha g_i), clipped at the largest integer that n workers may send

floor makes the largest integers up to twice what fits, so that the clip bites the
largest elements: that is how the authors' code has it, and what `block_exponent`, as
SwitchML does it, avoids. b is 8 or 32 there.

Differences from the paper: m comes as an exponent (all that alpha needs) in one round
of empty contributions. The clip bound is a symmetric integer; see `intsgd`. int16, and
sums wider than their elements, are ours.
"""

import math
from typing import Any

import numpy as np

from host.compressors.base import Layout, Network
from host.compressors.scaled import ScaledCompressor, elementwise
from host.compressors.scales import usable_scale
from switch.protocol import NO_EXPONENT


class Heuristic(ScaledCompressor):
    """See the module. State: step."""

    devices = scatters = True

    def __init__(
        self,
        *,
        element_type: str = "int8",
        result_type: str | None = None,
        rounding: str = "deterministic",
        seed: int = 0,
    ) -> None:
        """See `ScaledCompressor`."""
        super().__init__(element_type, result_type, rounding, seed)

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        ends = np.array([len(vector)], np.int64)
        exponent = int(self.max_exponents(vector, network, layout, ends)[0])
        scale = np.float32(1)
        if exponent != NO_EXPONENT:
            # 2^exponent > m, hence floor(log2 m) = exponent - 1
            budget = self.form.budget(network.num_workers)
            scale = usable_scale(math.ldexp(budget, 1 - exponent))
        stream = elementwise(vector).sum(
            vector,
            mean,
            network,
            self.form,
            block_ends=ends,
            scales=np.array([scale], np.float32),
            wanted=self.wanted,
            key=self.key(network),
        )
        self.complete(stream, network, layout)
