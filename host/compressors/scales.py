"""IntSGD's scale alpha: integer = round(alpha * gradient).

Mishchenko, Wang, Kovalev, Richtarik, "IntSGD: Adaptive Floatless Compression of
Stochastic Gradients" (arXiv 2102.08374, ICLR 2022): alpha follows the size
of the previous estimates, which all workers have, so that nobody sends it. The formulas
are those of the authors' code (bokunwang1/intsgd). Here g is the last estimate of the
mean gradient, d the number of elements, n of workers, and r an average of ||g||^2:

    moving_average            alpha0 sqrt(d) / (sqrt(2 n) sqrt(r + 1e-16))
    moving_average_safeguard  alpha0 sqrt(d) / sqrt(2 n r + sigma^2)         sigma 1e-3
    plain                     alpha0 sqrt(d) / (sqrt(2 n) ||g|| + 2.2e-16)
    constant                  alpha0 sqrt(d) / sigma                         sigma 1e-3
    blockwise, block l        alpha0 sqrt(d_l / (2 n r_l + (d_l / d) sigma^2 + 2.2e-16))
                                                                             sigma 1e-4

    r = ||g||^2 in the first step, then beta r + (1 - beta) ||g||^2

Every worker must get the same bits: ||g||^2 comes from an exact integer, and the rest
is float64 arithmetic in one order with correctly rounded operations only.

Differences from the paper: it writes r with ||x_k - x_{k-1}||^2 / eta_k^2 where plain
SGD makes that ||g||^2, as the authors' later code does too. In the authors' first,
block-wise code r starts at (1 - beta) ||g||^2; here all rules start alike. A step whose
estimate is zero before r exists leaves r without a value (a zero r would make the next
scale 1e8 and more). Scales are float32 between 2^-126 and 2^120.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import ENTIRE, Layout, Piece
from host.compressors.integers import one_of
from switch.protocol import NO_EXPONENT

RULES = ("moving_average", "moving_average_safeguard", "plain", "constant", "blockwise")
SMALLEST_SCALE = 2.0**-126
LARGEST_SCALE = 2.0**120  # 1 / (n * scale) is still a normal float32 for n = 64
DEFAULT_SIGMA = {
    "moving_average_safeguard": 1e-3,
    "constant": 1e-3,
    "blockwise": 1e-4,
}
WHOLE = "gradient"


def usable_scale(scale: float) -> np.float32:
    """The nearest float32 that neither a product nor the inverse lets overflow."""
    return np.float32(min(max(scale, SMALLEST_SCALE), LARGEST_SCALE))


def exponent_scale(bound: int, exponent: int) -> np.float32:
    """The scale that puts floats below 2^exponent within +-bound.

    bound / 2^exponent. A float32 that rounds it up does no harm: the largest float
    below 2^exponent is half an ulp or more smaller, and its product rounds to the bound
    or below. 1 for NO_EXPONENT: all floats are 0.
    """
    if exponent == NO_EXPONENT:
        return np.float32(1)
    return usable_scale(math.ldexp(bound, -exponent))


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """How alpha follows from the norms of the estimates."""

    rule: str = "moving_average"
    """One of RULES."""
    beta: float = 0.9
    """Weight of the past in r; `plain` has none."""
    alpha0: float = 1.0
    """Factor of the scale: larger means larger integers and less noise."""
    sigma: float | None = None
    """Noise that is always allowed, in units of the gradient's norm. None: the rule's
    default. For the safeguard, constant and blockwise rules."""

    def __post_init__(self) -> None:
        one_of("scale", self.rule, RULES)
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta is {self.beta}: must be at least 0 and below 1")
        if not 0 < self.alpha0 < math.inf:
            raise ValueError(f"alpha0 is {self.alpha0}: must be above 0 and finite")
        if self.sigma is None:
            return
        if self.rule not in DEFAULT_SIGMA:
            raise ValueError(
                f"sigma is {self.sigma}, and the rule {self.rule} has none: only "
                f"{', '.join(DEFAULT_SIGMA)} have"
            )
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma is {self.sigma}: must be above 0 and finite")


def alpha_of(options: ScaleOptions, r: float, size: int, total: int, n: int) -> float:
    """The formulas above. size: d, or d_l of a block of a vector of `total`."""
    sigma = options.sigma or DEFAULT_SIGMA.get(options.rule, 0.0)
    root = options.alpha0 * math.sqrt(size)
    if options.rule == "moving_average":
        return root / (math.sqrt(2 * n) * math.sqrt(r + 1e-16))
    if options.rule == "moving_average_safeguard":
        return root / math.sqrt(2 * n * r + sigma * sigma)
    if options.rule == "plain":
        return root / (math.sqrt(2 * n) * math.sqrt(r) + sys.float_info.epsilon)
    if options.rule == "constant":
        return root / sigma
    noise = size / total * sigma * sigma + sys.float_info.epsilon
    return options.alpha0 * math.sqrt(size / (2 * n * r + noise))


class Scale:
    """alpha of a vector, or of each block of it; the same on all workers."""

    def __init__(self, options: ScaleOptions) -> None:
        self.options = options
        self.averages: dict[str, float] = {}
        """r of each block, by name; or of the whole vector."""
        self.elements = 0
        """d: of all pieces of the last step; 0: there has been none."""
        self.squares: dict[str, float] = {}
        """||g||^2 of each block, of those pieces of this step that have come."""
        self.seen = 0
        """Their elements."""

    def blocks_of(self, layout: Layout) -> Layout:
        """The blocks that have a scale of their own."""
        if self.options.rule == "blockwise":
            return layout
        return Layout((WHOLE,), layout.ends[-1:])

    def scales(
        self, blocks: Layout, num_workers: int, piece: Piece = ENTIRE
    ) -> NDArray[np.float32]:
        """[blocks] alpha; 0 where no estimate has been seen yet."""
        total = int(blocks.ends[-1]) if piece.entire else self.elements
        scales = np.zeros(len(blocks.names), np.float32)
        if total == 0 and not piece.entire:  # nobody knows yet what is to come
            return scales
        for i, (name, size) in enumerate(zip(blocks.names, blocks.sizes, strict=True)):
            no_norm = self.options.rule == "constant" or size == 0
            r = 0.0 if no_norm else self.averages.get(name)
            if self.options.rule != "blockwise":
                size = total
            if r is not None:
                alpha = alpha_of(self.options, r, size, total, num_workers)
                scales[i] = usable_scale(alpha)
        return scales

    def observe(
        self, blocks: Layout, squared_norms: list[float], piece: Piece = ENTIRE
    ) -> None:
        """Take in ||g||^2 of each block of the estimate. It counts from the next step
        on: all pieces of one have the same alpha."""
        if piece.number == 0:  # what an earlier step left, if it failed, is nothing
            self.squares, self.seen = {}, 0
        self.seen += int(blocks.ends[-1])
        for name, square in zip(blocks.names, squared_norms, strict=True):
            self.squares[name] = self.squares.get(name, 0.0) + square
        if piece.last:
            self.elements = self.seen
            self._average()

    def _average(self) -> None:
        """Take the step's ||g||^2 into r."""
        beta = 0.0 if self.options.rule == "plain" else self.options.beta
        for name, square in self.squares.items():
            if name in self.averages:
                square = beta * self.averages[name] + (1 - beta) * square
            if name in self.averages or square > 0:
                self.averages[name] = square

    def state_dict(self) -> dict[str, Any]:
        return {"averages": dict(self.averages), "elements": self.elements}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.averages = {name: float(r) for name, r in state["averages"].items()}
        self.elements = int(state["elements"])


def squared_norms(
    square_sums: list[int], scales: NDArray[np.float32], num_workers: int
) -> list[float]:
    """||S / (n alpha)||^2 of each block, from the exact sums of squares of S."""
    norms = []
    for total, scale in zip(square_sums, scales.tolist(), strict=True):
        divisor = num_workers * scale
        norms.append(float(total) / (divisor * divisor))
    return norms
