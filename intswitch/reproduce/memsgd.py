"""Mem-SGD's claims: few elements suffice if the others are remembered.

Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018). The paper's text
was read; numbers of its figures come from the result files that the authors published.

One worker, a sample a step, float64: see `memsgd_steps.py`. The descents are in
`memsgd_runs.py`, theory is in `memsgd_theory.py`. The last claims are ours: several
workers, each with its memory, and the switch adds integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS
from intswitch.reproduce import memsgd_runs as runs
from intswitch.reproduce import memsgd_theory as theory
from intswitch.reproduce.claims import Basis, Cell, Claim, Evidence, Options, Progress
from intswitch.reproduce.datasets import (
    Dataset,
    epsilon_twin,
    normalized,
    rcv1_twin,
    read_libsvm,
)
from intswitch.reproduce.estimates import interval
from intswitch.reproduce.memsgd_steps import RAND, TOP
from intswitch.reproduce.training import Curve, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ELEMENTS = 1000  # of the vector on which contractions are tried
COUNTS = (0.5, 1, 10, 100)  # k
TRAININGS = {
    "SGD": "exact",
    "top 1 %": "memsgd:ratio=0.01",
    "top 1 %, by messages": "memsgd:ratio=0.01,path=gather",
    "top 1 %, no memory": "memsgd:ratio=0.01,memory=false",
    "random 10 %": "memsgd:select=rand,ratio=0.1",
}
WORKERS = 4
TOLERANCE = 1.5
"""By what factor a gap may exceed another, and still be as small."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. Twins: (samples, features)."""

    seeds: int
    epsilon: tuple[int, int]
    rcv1: tuple[int, int]
    wide: tuple[int, int]
    """Of Figure 3 on epsilon, where the number of features decides."""
    epochs: int
    draws: int
    bound_steps: int
    training: int


FULL = Size(5, (20_000, 200), (20_000, 1500), (8000, 2000), 3, 4000, 20_000, 300)
QUICK = Size(3, (6000, 100), (6000, 500), (2000, 500), 3, 1000, 4000, 150)


@dataclass(frozen=True, slots=True)
class Found:
    """The outcomes of all experiments."""

    contractions: Mapping[float, theory.Contraction]
    """By k."""
    tops: Mapping[float, float]
    """What the k largest leave, by k of one and more."""
    scaled: theory.Draws
    bounds: Mapping[str, theory.Bounds]
    figure2: Sequence[runs.Convergence]
    figure3: Sequence[runs.Race]
    curves: Mapping[str, Sequence[Curve]]
    notes: Sequence[str]


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    found = measure(options, QUICK if options.quick else FULL, progress)
    return Evidence(
        claims=[claim for part in CLAIMS for claim in part(found)],
        rows=list(rows(found)),
        draw=lambda figure: draw(figure, found),
        notes=found.notes,
    )


def measure(options: Options, size: Size, progress: Progress) -> Found:
    seed = options.seed
    seeds = range(seed, seed + size.seeds)
    vector = theory.gaussian_cubes(seed, ELEMENTS)
    figure2, figure3 = [], []
    for dataset, wide in data_of(options, size):
        k = 1 if dataset.samples.is_dense else 10
        base = runs.convergence(
            dataset, k, epochs=size.epochs, seeds=seeds, progress=progress
        )
        figure2.append(base)
        if wide is not None:
            base = runs.unstarted(wide)
        epochs = size.epochs + 2 * (wide is not None)
        figure3.append(
            runs.race(base, k, epochs=epochs, seeds=seeds[:3], progress=progress)
        )
    return Found(
        contractions={
            k: theory.contraction(vector, k, size.draws, seed) for k in COUNTS
        },
        tops={k: theory.left_by_top(vector, int(k)) for k in COUNTS if k >= 1},
        scaled=theory.scaled_without_memory(vector, 10, size.draws, seed),
        bounds={
            name: theory.bounds(method, seed, size.seeds, size.bound_steps)
            for name, method in progress.over(
                [("top", TOP), ("random", RAND)], "bounds"
            )
        },
        figure2=figure2,
        figure3=figure3,
        curves=trainings(seeds, size.training, progress),
        notes=notes(size, figure2, figure3),
    )


def data_of(
    options: Options, size: Size
) -> list[tuple[Dataset, Dataset | None]]:
    """For Figure 2; and for Figure 3, where that takes another one."""
    if options.data is not None:
        read = read_libsvm(options.data)
        return [(Dataset(read.name, normalized(read.samples), read.labels), None)]
    return [
        (epsilon_twin(options.seed, *size.epsilon), epsilon_twin(7, *size.wide)),
        (rcv1_twin(options.seed, *size.rcv1), None),
    ]


def trainings(
    seeds: Sequence[int], steps: int, progress: Progress
) -> dict[str, list[Curve]]:
    """A network of 4,810 weights; without momentum, for which there is no theory."""
    return {
        name: [
            train(
                method,
                "digits",
                num_workers=WORKERS,
                seed=seed,
                steps=steps,
                momentum=0.0,
                lr=0.2,
            )
            for seed in seeds
        ]
        for name, method in progress.over(list(TRAININGS.items()), "training")
    }
