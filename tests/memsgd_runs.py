"""Runs of Mem-SGD over a network of threads, and what each worker saw of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.base import Gradient
from host.compressors.memsgd import MemSGD

N, D = 4, 300
Gradients = NDArray[np.float32]
Floats = NDArray[np.float64]

FORMS = [
    {"select": select, "path": path, "k": k}
    for path in ("network", "gather")
    for select, k in (("top", 5), ("rand", 5), ("rand", 0.5))
]
every_form = pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: " ".join(str(value) for value in form.values())
)


def dyadic(steps: int = 1, n: int = N, d: int = D, seed: int = 0) -> Gradients:
    """[steps, n, d] multiples of 2^-8 below 8: their sums are exact, in float32 too."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-2000, 2001, (steps, n, d)) / 256).astype(np.float32)


class Outcome:
    """What one worker saw of a run."""

    def __init__(self, made: MemSGD, network: LocalNetwork, blocks: Any) -> None:
        self.made, self.network, self.blocks = made, network, blocks
        self.means: list[Gradient] = []
        self.shares: list[Gradient] = []
        self.memories: list[Gradient] = []

    def step(self, gradient: Gradient) -> None:
        self.means.append(self.made.average(gradient, self.network, self.blocks))
        self.shares.append(self.made.share())
        kept = self.made.memory.blocks if self.made.memory else {}
        if kept:
            self.memories.append(np.concatenate(list(kept.values())))


def run(
    gradients: Gradients,
    make: Callable[..., MemSGD] = MemSGD,
    blocks: Any = None,
    through: Callable[..., list[Any]] = run_workers,
    **options: Any,
) -> list[Outcome]:
    """[n]. through: what runs the workers."""

    def work(network: LocalNetwork) -> Outcome:
        outcome = Outcome(make(**options), network, blocks)
        for g in gradients[:, network.rank]:
            outcome.step(g.copy())
        return outcome

    return results_of(through(gradients.shape[1], work))
