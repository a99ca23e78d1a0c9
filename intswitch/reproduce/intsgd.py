"""IntSGD's claims: noise, size of the integers, accuracy, IntDIANA.

Mishchenko, Wang, Kovalev, Richtarik, "IntSGD: Adaptive Floatless Compression of
Stochastic Gradients" (arXiv 2102.08374, ICLR 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from host.compressors.intsgd import IntSGD
from intswitch.reproduce import lockstep
from intswitch.reproduce.claims import Basis, Claim, Evidence, Options, Progress
from intswitch.reproduce.estimates import Draws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORKERS = 8
ELEMENTS = 4096


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    draws = rounding(options, progress, alpha=2.0)
    bound = ELEMENTS / (4 * WORKERS * 2.0**2)
    ratio = draws.variance / bound
    claims = [
        Claim(
            source="lemma 1",
            basis=Basis.RECONSTRUCTED,
            says="rounding is unbiased: E[Int(alpha g) / alpha] = g",
            measured=draws.told(),
            holds=draws.unbiased,
        ),
        Claim(
            source="lemma 1",
            basis=Basis.DERIVED,
            says="its variance is at most d/(4 n alpha^2), and 0.67 of it where "
            "fractions are uniform",
            measured=f"{ratio} of the bound",
            holds=ratio.high <= 1 and ratio.holds(2 / 3),
        ),
    ]
    rows = [{"draw": i, "squared_error": each} for i, each in enumerate(draws.squares)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.hist([row["squared_error"] for row in rows], bins=30)

    return Evidence(claims=claims, rows=rows, draw=draw)


def rounding(options: Options, progress: Progress, alpha: float) -> Draws:
    """Means of fixed gradients at a fixed scale."""
    chance = np.random.default_rng([options.seed, 1])
    gradients = chance.normal(size=(WORKERS, ELEMENTS)).astype(np.float32)
    draws = Draws(gradients.mean(axis=0, dtype=np.float64), seed=options.seed)
    steps = range(100 if options.quick else 1000)

    def work(network: lockstep.Worker) -> None:
        sigma = ELEMENTS**0.5 / alpha
        intsgd = IntSGD(scale="constant", sigma=sigma, seed=options.seed)
        first = network.rank == 0
        for _ in progress.over(steps, "rounding") if first else steps:
            mean: NDArray[np.float32] = intsgd.average(gradients[network.rank], network)
            if first:
                draws.add(mean)

    lockstep.run(WORKERS, work)
    return draws
