"""SwitchML's block floating point: an exponent for every packet, one window ahead.

Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation" (NSDI
2021), on floating point, and the exponent quantizer of p4lang/p4app-switchML. For chunk
c, with e the largest exponent over the workers, 2^e > |x| for all its elements x:

    q_i  = round(x (2^31 - 1) / (n 2^e))
    mean = sum_i q_i * 2^e / (2^31 - 1)

e must be known before chunk c is sent. It rides in the packet that uses the same slot
before: chunk c carries the exponent of chunk c + num_slots, whose turn comes only once
the result of c is in. A first window of empty packets carries those of the first
chunks.

Blocks of zeros have no exponent; where no worker has one, the chunk is sent empty. A
block with a NaN or an infinity announces the exponent 127: the chunk is sent empty, and
every worker raises ValueError after the aggregation.

Differences from the paper: (2^31 - 1) / n is rounded down to an integer, so that no
product can round to one beyond it, and nothing is clipped or overflows. The exponent is
at most 126 (larger elements, from 2^126, are clipped), and scales are at most 2^120.
There is one exponent for what a slot holds. int8, int16 and wider sums are ours.
"""

from typing import Any

import numpy as np

from host.compressors.base import Gradient, Layout, Network
from host.compressors.norms import block_exponents
from host.compressors.quantize import NON_FINITE
from host.compressors.scaled import ScaledCompressor
from host.compressors.scales import exponent_scale
from host.compressors.stream import (
    ExponentMax,
    ScaledSum,
    first_non_finite,
    non_finite_error,
)
from host.packetizer import Contributions, Integers, Results
from switch.protocol import NO_EXPONENT


class BlockExponentSum(ScaledSum):
    """A scaled sum, each chunk a block, that learns its scales on the way.

    exponents: int64[chunks], this worker's.
    """

    def __init__(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        exponents: Integers,
        **options: Any,
    ) -> None:
        scales = np.zeros(len(exponents), np.float32)
        super().__init__(vector, mean, network, scales=scales, **options)
        self.num_slots = network.num_slots
        bound = self.form.clip_bound(network.num_workers)
        self.scale_of = np.array(
            [exponent_scale(bound, exponent) for exponent in range(NO_EXPONENT, 128)],
            np.float32,
        )
        self.scale_of[[0, NON_FINITE - NO_EXPONENT]] = 0  # such chunks are sent empty
        self.known = np.zeros(len(exponents), np.bool_)
        ahead = np.full(self.num_slots, NO_EXPONENT, np.int64)
        self.ahead = np.concatenate([exponents[self.num_slots :], ahead])

    def learn(self, chunks: Integers, exponents: Integers) -> None:
        """The largest exponents of `chunks` over all workers."""
        self.plan.scales[chunks] = self.scale_of[exponents - NO_EXPONENT]
        self.known[chunks] = True

    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        if not self.known[chunks].all():
            raise RuntimeError(
                f"chunk {chunks[~self.known[chunks]][0]} is sent before the result of "
                f"the chunk {self.num_slots} before it, which brings its exponent"
            )
        super().fill(chunks, contributions)
        contributions.exponent[:] = self.ahead[chunks]

    def drain(self, chunks: Integers, results: Results) -> None:
        super().drain(chunks, results)
        later = chunks + self.num_slots
        exist = later < self.num_chunks
        self.learn(later[exist], results.exponent[exist])


class BlockExponent(ScaledCompressor):
    """See the module. State: step."""

    def __init__(
        self,
        *,
        element_type: str = "int32",
        result_type: str | None = None,
        rounding: str = "deterministic",
        seed: int = 0,
    ) -> None:
        """See `ScaledCompressor`."""
        super().__init__(element_type, result_type, rounding, seed)

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        width = self.form.elements_per_chunk(network.slot_bytes)
        ends = np.append(np.arange(width, len(vector), width), len(vector))
        exponents = block_exponents(vector, ends)
        finite = not (exponents == NON_FINITE).any()
        first = None if finite else first_non_finite(vector)
        window = ExponentMax(exponents[: network.num_slots])
        network.aggregate(window)
        window.add_to(self.statistics)
        stream = BlockExponentSum(
            vector,
            mean,
            network,
            exponents,
            form=self.form,
            block_ends=ends,
            key=self.key(network),
        )
        stream.learn(np.arange(window.num_chunks), window.maxima)
        if window.non_finite:
            raise non_finite_error(first, layout, network.rank, self.step)
        self.complete(stream, network, layout)
