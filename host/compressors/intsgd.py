"""IntSGD: integers by an adaptive scale that nobody has to send.

Mishchenko, Wang, Kovalev, Richtarik, "IntSGD: Adaptive Floatless Compression of
Stochastic Gradients" (arXiv 2102.08374, ICLR 2022), as the authors' code runs it:

    q_i  = Int(alpha g_i)              random or deterministic rounding, then clipping
    S    = sum_i q_i                   all that is communicated
    mean = S / (n alpha)
    alpha for the next step, from ||mean||^2: see `scales`

Differences from the paper: its first step is not rounded, or (in the authors' code)
uses alpha = 100; here one round of maximum exponents comes first (`first="exponent"`),
or alpha_init (`first="constant"`). The authors' code clips in float32, at
-(2^(b-1)) / n and (2^(b-1) - 1) / n, which for int32 can overflow; here the bound is a
symmetric integer. int16, and sums wider than their elements, are not in the paper.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Layout, Network
from host.compressors.integers import one_of
from host.compressors.scaled import ScaledCompressor, elementwise
from host.compressors.scales import (
    Scale,
    ScaleOptions,
    exponent_scale,
    squared_norms,
    usable_scale,
)

FIRST_SCALES = ("exponent", "constant")


class IntSGD(ScaledCompressor):
    """See the module. State: step, and r of the scale rule."""

    devices = True

    def __init__(
        self,
        *,
        element_type: str = "int8",
        result_type: str | None = None,
        rounding: str = "random",
        seed: int = 0,
        clip: bool = True,
        scale: str = "moving_average",
        beta: float = 0.9,
        alpha0: float = 1.0,
        sigma: float | None = None,
        first: str = "exponent",
        alpha_init: float = 100.0,
    ) -> None:
        """See `ScaledCompressor` and `ScaleOptions`; besides, first: where the scale
        comes from before there is an estimate, `exponent` (a round of maximum
        exponents) or `constant` (alpha_init)."""
        super().__init__(element_type, result_type, rounding, seed, clip)
        self.scale = Scale(ScaleOptions(scale, beta, alpha0, sigma))
        self.first = one_of("first", first, FIRST_SCALES)
        if not 0 < alpha_init < float("inf"):
            raise ValueError(f"alpha_init is {alpha_init}: must be above 0 and finite")
        self.alpha_init = usable_scale(alpha_init)

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        blocks = self.scale.blocks_of(layout)
        scales = self.scales(vector, network, layout, blocks)
        stream = elementwise(vector).sum(
            vector,
            mean,
            network,
            self.form,
            block_ends=blocks.ends,
            scales=scales,
            key=self.key(network),
            clip=self.clip,
        )
        self.complete(stream, network, layout)
        norms = squared_norms(stream.square_sums, scales, network.num_workers)
        self.scale.observe(blocks, norms, self.piece)

    def scales(
        self, vector: Any, network: Network, layout: Layout, blocks: Layout
    ) -> NDArray[np.float32]:
        """[blocks] alpha of this step."""
        scales = self.scale.scales(blocks, network.num_workers, self.piece)
        unknown = np.flatnonzero(scales == 0)
        if len(unknown) == 0:
            return scales
        if self.first == "constant":
            scales[unknown] = self.alpha_init
            return scales
        exponents = self.max_exponents(vector, network, layout, blocks.ends)
        bound = self.form.clip_bound(network.num_workers)
        for block in unknown:
            scales[block] = exponent_scale(bound, int(exponents[block]))
        return scales

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"scale": self.scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scale.load_state_dict(state["scale"])
