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

from host.compressors.base import Layout, Network, copy_of
from host.compressors.intsgd import IntSGD
from host.compressors.memory import Memory
from host.compressors.scaled import elementwise


class IntDIANA(IntSGD):
    """See the module. State: IntSGD's, and the memories h_i and h."""

    def __init__(self, *, scale: str = "plain", **options: Any) -> None:
        """As `IntSGD`, with another scale by default."""
        super().__init__(scale=scale, **options)
        self.own = Memory()
        self.shared = Memory()
        self.layout: Layout | None = None

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        there = elementwise(vector)
        difference = copy_of(vector)
        self.own.add_to(difference, layout, -1)
        blocks = self.scale.blocks_of(layout)
        stream = there.sum(
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
        self.own.add(stream.share(), layout)
        self.shared.add_to(mean, layout, 1)
        self.shared.store(mean, layout)
        norms = [there.squared_norm(part) for _, part in blocks.split(mean)]
        self.scale.observe(blocks, norms, self.piece)
        self.layout = layout

    def share(self) -> Any:
        """h_i, whose mean is the estimate."""
        if self.layout is None:
            raise RuntimeError("share: there has been no average yet")
        return self.own.vector(self.layout)

    def state_dict(self) -> dict[str, Any]:
        memories = {"own": self.own.state_dict(), "shared": self.shared.state_dict()}
        return super().state_dict() | memories

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.own.load_state_dict(state["own"])
        self.shared.load_state_dict(state["shared"])
