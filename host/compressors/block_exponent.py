"""SwitchML's block floating point: an exponent for every packet, one window ahead.

Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation" (NSDI
2021), on floating point, and the exponent quantizer of p4lang/p4app-switchML. For chunk
c, with e the largest exponent over the workers, 2^e > |x| for all its elements x:

    q_i  = round(x (2^31 - 1) / (n 2^e))
    mean = sum_i q_i * 2^e / (2^31 - 1)

e must be known before chunk c is sent.

    ahead    It rides in the packet that uses the same slot before: chunk c carries the
             exponent of chunk c + num_slots, whose turn comes only once the result of c
             is in. A first window of empty packets carries those of the first chunks.
    first    A round before finds the largest of all exponents, a byte a chunk. So all
             integers can be made at once, on a CUDA device where the gradient lies on
             one.

Both have the same scales, and the same mean. Blocks of zeros have no exponent; where no
worker has one, the chunk is sent empty. A block with a NaN or an infinity announces the
exponent 127: the chunk is sent empty, and every worker raises ValueError after the
aggregation.

Differences from the paper: (2^31 - 1) / n is rounded down to an integer, so that no
product can round to one beyond it, and nothing is clipped or overflows. The exponent is
at most 126 (larger elements, from 2^126, are clipped), and scales are at most 2^120.
There is one exponent for what a slot holds. int8, int16, wider sums, and exponents that
come first, are ours.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, Layout, Network
from host.compressors.integers import one_of
from host.compressors.norms import exponents_of
from host.compressors.quantize import NON_FINITE, Plan, dequantize, quantize
from host.compressors.scaled import ScaledCompressor, elementwise
from host.compressors.scales import exponent_scale
from host.compressors.stream import IntegerSum, ScaledSum
from host.packetizer import Contributions, Integers, Results
from switch.compiled import kernel
from switch.protocol import NO_EXPONENT

EXPONENTS = ("ahead", "first")


class BlockPlan(NamedTuple):
    """What the kernels of a BlockExponentSum need."""

    sum: Plan
    """Each chunk is a block, whose scale is written when its exponent is known."""
    num_slots: int
    scale_of: NDArray[np.float32]
    """[256] scale of each largest exponent, from NO_EXPONENT on."""
    known: NDArray[np.bool_]
    """[chunks] whether the scale is known."""
    ahead: Integers
    """[chunks] this worker's exponent of the chunk `num_slots` later."""


@kernel
def learn(plan: BlockPlan, chunk: int, exponent: int) -> None:
    """A chunk's largest exponent over all workers."""
    plan.sum.scales[chunk] = plan.scale_of[exponent - NO_EXPONENT]
    plan.known[chunk] = True


@kernel
def check_known(plan: BlockPlan, chunks: Integers) -> None:
    for i in range(len(chunks)):
        if not plan.known[chunks[i]]:
            raise RuntimeError(
                "a chunk is sent before the result of the chunk num_slots before it, "
                "which brings its exponent"
            )


@kernel
def announce(plan: BlockPlan, chunks: Integers, contributions: Contributions) -> None:
    """Tell the exponents of later chunks."""
    for i in range(len(chunks)):
        contributions.exponent[i] = plan.ahead[chunks[i]]


@kernel
def fill_blocks(
    plan: BlockPlan, chunks: Integers, contributions: Contributions
) -> None:
    check_known(plan, chunks)
    quantize(plan.sum, chunks, contributions)
    announce(plan, chunks, contributions)


@kernel
def drain_blocks(plan: BlockPlan, chunks: Integers, results: Results) -> None:
    dequantize(plan.sum, chunks, results)
    for i in range(len(chunks)):
        later = chunks[i] + plan.num_slots
        if later < len(plan.known):
            learn(plan, later, results.exponent[i])


def scales_by_exponent(bound: int) -> NDArray[np.float32]:
    """[256] from NO_EXPONENT on: floats below 2^exponent become integers up to
    `bound`."""
    exponents = range(NO_EXPONENT, NON_FINITE + 1)
    scales = np.array([exponent_scale(bound, each) for each in exponents], np.float32)
    scales[[0, -1]] = 0  # such chunks are sent empty
    return scales


def block_plan(
    scaled: Plan, network: Network, exponents: Integers, maxima: Integers, bound: int
) -> BlockPlan:
    """Each chunk a block, whose floats below 2^exponent become integers up to `bound`.

    exponents: [chunks] this worker's. maxima: the largest ones over all workers of the
    first window's chunks.
    """
    no_more = np.full(network.num_slots, NO_EXPONENT, np.int64)
    plan = BlockPlan(
        sum=scaled,
        num_slots=network.num_slots,
        scale_of=scales_by_exponent(bound),
        known=np.zeros(len(exponents), np.bool_),
        ahead=np.concatenate([exponents[network.num_slots :], no_more]),
    )
    for chunk, exponent in enumerate(maxima.tolist()):
        learn(plan, chunk, exponent)
    return plan


class BlockExponentSum(ScaledSum):
    """A scaled sum, each chunk a block, that learns its scales on the way.

    exponents, maxima: see `block_plan`.
    """

    needs_results = True
    fill_rows = staticmethod(fill_blocks)
    drain_rows = staticmethod(drain_blocks)

    def __init__(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        exponents: Integers,
        maxima: Integers,
        **options: Any,
    ) -> None:
        scales = np.zeros(len(exponents), np.float32)
        super().__init__(vector, mean, network, scales=scales, **options)
        bound = self.form.clip_bound(network.num_workers)
        self.plan: BlockPlan = block_plan(
            self.scaled, network, exponents, maxima, bound
        )


class BlockExponent(ScaledCompressor):
    """See the module. State: step."""

    scatters = True

    def __init__(
        self,
        *,
        element_type: str = "int32",
        result_type: str | None = None,
        rounding: str = "deterministic",
        seed: int = 0,
        exponents: str = "ahead",
    ) -> None:
        """See `ScaledCompressor`; besides, exponents: ahead or first."""
        super().__init__(element_type, result_type, rounding, seed)
        self.exponents = one_of("exponents", exponents, EXPONENTS)
        self.devices = exponents == "first"

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        ends = self.segments(vector, network).ends()
        norms = elementwise(vector).block_norms(vector, ends, "linf")
        sum_in_blocks = self.ahead if self.exponents == "ahead" else self.known
        stream = sum_in_blocks(
            vector,
            mean,
            network,
            layout,
            exponents_of(norms),
            form=self.form,
            block_ends=ends,
            key=self.key(network),
            wanted=self.wanted,
        )
        self.complete(stream, network, layout)

    def ahead(
        self, vector: Any, mean: Any, network: Network, layout: Layout,
        exponents: Integers, **options: Any,
    ) -> IntegerSum:  # fmt: skip
        """A sum that learns most of its scales on the way."""
        window = exponents[: network.num_slots]
        maxima = self.agreed_exponents(window, vector, network, layout)
        return BlockExponentSum(vector, mean, network, exponents, maxima, **options)

    def known(
        self, vector: Any, mean: Any, network: Network, layout: Layout,
        exponents: Integers, **options: Any,
    ) -> IntegerSum:  # fmt: skip
        """A sum whose scales are known."""
        maxima = self.agreed_maxima(
            exponents.astype(np.int8), NON_FINITE, vector, network, layout
        )
        by_exponent = scales_by_exponent(self.form.clip_bound(network.num_workers))
        scales = by_exponent[maxima.astype(np.int64) - NO_EXPONENT]
        return elementwise(vector).sum(vector, mean, network, scales=scales, **options)
