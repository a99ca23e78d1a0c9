"""IntDIANA: IntSGD for heterogeneous data, on differences to a memory.

Mishchenko, Wang, Kovalev, Richtarik, "IntSGD: Adaptive Floatless Compression of
Stochastic Gradients" (arXiv 2102.08374), IntDIANA, after the authors' first code. Where
the workers' data differ, gradients g_i stay large at the optimum while their mean
vanishes, and IntSGD's integers grow without bound. Each worker sends instead the
difference to its memory h_i, which learns g_i:

    q_i  = Int(alpha (g_i - h_i))
    h_i += q_i / alpha
    mean = h + S / (n alpha);  h = mean        so that h is the mean of the h_i
    alpha for the next step, from ||mean||^2: see `scales`; `plain` as in the code

Differences from the paper: it is given any estimate g_i of the local gradient (the
paper's L-SVRG estimator is the caller's part). The first step is rounded too, with a
scale from a round of maximum exponents (theirs is sent as floats). alpha has sqrt(2 n),
as in the authors' code. h and h_i are float32, so that h is the mean of the h_i up to
rounding.
"""

from typing import Any

import numpy as np

from host.compressors.base import Gradient, Layout, Network
from host.compressors.intsgd import IntSGD
from host.compressors.norms import squared_norm
from host.compressors.quantize import dequantize, quantize
from host.compressors.stream import ScaledSum
from host.packetizer import Results, make_ready, new_contributions
from switch.protocol import HEADER_BYTES

BATCH = 128  # chunks


class Memory:
    """A vector kept from step to step, by block: blocks may come in another order, or
    some of them in another call. Zero at first."""

    def __init__(self) -> None:
        self.blocks: dict[str, Gradient] = {}

    def of(self, name: str, size: int) -> Gradient:
        block = self.blocks.setdefault(name, np.zeros(size, np.float32))
        if len(block) != size:
            raise ValueError(
                f"blocks: {name} has {size} elements: must have {len(block)}, "
                "as in the steps before"
            )
        return block

    def add_to(self, vector: Gradient, layout: Layout, sign: int) -> None:
        """vector += sign * memory."""
        for name, part in layout.split(vector):
            part += np.float32(sign) * self.of(name, len(part))

    def add(self, vector: Gradient, layout: Layout) -> None:
        """memory += vector."""
        for name, part in layout.split(vector):
            self.blocks[name] = self.of(name, len(part)) + part

    def store(self, vector: Gradient, layout: Layout) -> None:
        """memory = vector."""
        for name, part in layout.split(vector):
            self.blocks[name] = part.copy()


def own_share(stream: ScaledSum) -> Gradient:
    """[d] q_i / alpha: what this worker sent, read as results of one worker.

    Rounded once more, to the same integers: that takes less time than to keep them.
    """
    form, plan = stream.form, stream.scaled
    share = np.empty_like(plan.mean)
    sent = new_contributions(BATCH, stream.elements_per_chunk * form.element_bytes)
    once_more = plan._replace(tally=plan.tally.copy(), beyond=plan.beyond.copy())
    as_results = once_more._replace(
        mean=share,
        result_bytes=form.element_bytes,
        squares=np.zeros_like(plan.squares),
    )
    payload_at = np.arange(BATCH) * sent.packets.shape[1] + HEADER_BYTES
    one = np.ones(BATCH, np.int64)
    for start in range(0, stream.num_chunks, BATCH):
        chunks = np.arange(start, min(start + BATCH, stream.num_chunks))
        make_ready(sent, len(chunks), stream.elements_per_chunk)
        quantize(once_more, chunks, sent)
        results = Results(
            sent.packets.reshape(-1), payload_at, sent.element_count, one,
            sent.exponent, sent.flags,
        )  # fmt: skip
        dequantize(as_results, chunks, results)
    return share


class IntDIANA(IntSGD):
    """See the module. State: IntSGD's, and the memories h_i and h."""

    def __init__(self, *, scale: str = "plain", **options: Any) -> None:
        """As `IntSGD`, with another scale by default."""
        super().__init__(scale=scale, **options)
        self.own = Memory()
        self.shared = Memory()

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        difference = vector.copy()
        self.own.add_to(difference, layout, -1)
        blocks = self.scale.blocks_of(layout)
        stream = ScaledSum(
            difference,
            mean,
            network,
            self.form,
            block_ends=blocks.ends,
            scales=self.scales(difference, network, layout, blocks),
            key=self.key(network),
            clip=self.clip,
        )
        self.complete(stream, network, layout)
        self.own.add(own_share(stream), layout)
        self.shared.add_to(mean, layout, 1)
        self.shared.store(mean, layout)
        norms = [squared_norm(part) for _, part in blocks.split(mean)]
        self.scale.observe(blocks, norms)

    def state_dict(self) -> dict[str, Any]:
        copies = {name: block.copy() for name, block in self.own.blocks.items()}
        shared = {name: block.copy() for name, block in self.shared.blocks.items()}
        return super().state_dict() | {"own": copies, "shared": shared}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for memory, saved in ((self.own, state["own"]), (self.shared, state["shared"])):
            memory.blocks = {name: block.copy() for name, block in saved.items()}
