"""Gradients of several workers, averaged over a network of threads by a compressor that
needs code tables."""

from collections.abc import Callable
from typing import Any

import numpy as np
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors.base import Compressor
from host.compressors.fastsgd import FastSGD

N = 4
PATHS = ["network", "gather"]

Gradients = NDArray[np.float32]
Work = Callable[[LocalNetwork], Any]


def of_many_magnitudes(d: int = 3000, n: int = N, seed: int = 0) -> Gradients:
    chance = np.random.default_rng(seed)
    magnitudes = 10.0 ** chance.uniform(-6, 0, (n, d))
    return (chance.normal(size=(n, d)) * magnitudes).astype(np.float32)


def run(work: Work, made: Compressor, n: int = N) -> list[Any]:
    """What the workers return, in a job with the tables of such a compressor."""
    return results_of(run_workers(n, work, **made.tables(n)))


def average(
    gradients: Gradients,
    steps: int = 1,
    kind: type[Compressor] = FastSGD,
    **options: Any,
) -> list[tuple[Gradients, Any]]:
    """Each worker's last mean and its compressor."""

    def work(network: LocalNetwork) -> tuple[Gradients, Compressor]:
        made = kind(**options)
        for _ in range(steps):
            mean = made.average(gradients[network.rank], network)
        return mean, made

    outcomes = run(work, kind(**options), len(gradients))
    for mean, _ in outcomes:
        assert mean.tobytes() == outcomes[0][0].tobytes()
    return outcomes
