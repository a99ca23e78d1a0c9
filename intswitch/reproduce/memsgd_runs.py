"""All experiments behind Mem-SGD's claims: numbers, no judgement. See `memsgd.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intswitch.reproduce.claims import Options, Progress
from intswitch.reproduce.datasets import (
    Dataset,
    epsilon_twin,
    rcv1_twin,
    read_normalized,
)
from intswitch.reproduce.estimates import Draws
from intswitch.reproduce.memsgd_descents import (
    MOST_STEPS,
    Convergence,
    Race,
    converge,
    ground,
    race,
)
from intswitch.reproduce.memsgd_steps import RAND, TOP
from intswitch.reproduce.memsgd_theory import (
    BOUND_L2,
    Bounds,
    Contraction,
    bounds,
    contraction,
    gaussian,
    left_by_top,
    scaled_without_memory,
)
from intswitch.reproduce.training import Curve, train

ELEMENTS = 1000  # of the vector on which contractions are tried
COUNTS = (0.5, 1, 10, 100)  # k
SCALED = 10  # k of random elements, scaled, without memory
DENSE_K, SPARSE_K = 1, 10  # as in the paper's experiments
WORKERS, LEARNING_RATE = 4, 0.2
TRAININGS = {
    "SGD": "exact",
    "top": "memsgd:ratio=0.01",
    "top, by messages": "memsgd:ratio=0.01,path=gather",
    "top, no memory": "memsgd:ratio=0.01,memory=false",
    "random": "memsgd:select=rand,ratio=0.1",
    "random, no memory": "memsgd:select=rand,ratio=0.1,memory=false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. Twins: (samples, features)."""

    seeds: int
    """Of Figure 2."""
    races: int
    """Seeds of Figure 3."""
    trainings: int
    """Seeds of the trainings, and runs for the bounds."""
    epsilon: tuple[int, int]
    wide: tuple[int, int]
    """The epsilon twin of Figure 3, where the number of features decides."""
    rcv1: tuple[int, int]
    draws: int
    bound_steps: int
    training: int
    """Steps of one."""
    epochs: int = 3


FULL = Size(
    seeds=8,
    races=2,
    trainings=4,
    epsilon=(20_000, 200),
    wide=(8000, 2000),
    rcv1=(20_000, 1500),
    draws=4000,
    bound_steps=20_000,
    training=300,
)
QUICK = Size(
    seeds=10,
    races=2,
    trainings=3,
    epsilon=(6000, 100),
    wide=(3000, 1000),
    rcv1=(6000, 500),
    draws=1000,
    bound_steps=4000,
    training=120,
)


@dataclass(frozen=True, slots=True)
class Found:
    """The outcomes."""

    contractions: Mapping[float, Contraction]
    """Of random elements, by k."""
    tops: Mapping[float, float]
    """What the k largest leave, by k of one and more."""
    scaled: Draws
    bounds: Mapping[str, Bounds]
    figure2: Sequence[Convergence]
    figure3: Sequence[Race]
    curves: Mapping[str, Sequence[Curve]]
    """A training for every seed."""
    notes: Sequence[str]


def measure(options: Options, size: Size, progress: Progress) -> Found:
    """All of them."""
    seed = options.seed
    seeds = range(seed, seed + size.seeds)
    figure2, figure3 = figures(options, size, seeds, progress)
    vector = gaussian(seed, ELEMENTS)
    methods = {"top": TOP, "random": RAND}
    return Found(
        contractions={k: contraction(vector, k, size.draws, seed) for k in COUNTS},
        tops={k: left_by_top(vector, int(k)) for k in COUNTS if k >= 1},
        scaled=scaled_without_memory(vector, SCALED, size.draws, seed),
        bounds={
            name: bounds(method, seed, size.trainings, size.bound_steps)
            for name, method in progress.over(list(methods.items()), "bounds")
        },
        figure2=figure2,
        figure3=figure3,
        curves=trainings(seeds[: size.trainings], size.training, progress),
        notes=notes(size, figure2, figure3),
    )


def figures(
    options: Options, size: Size, seeds: Sequence[int], progress: Progress
) -> tuple[list[Convergence], list[Race]]:
    """Figures 2 and 3, on the same data but for epsilon."""
    figure2, figure3 = [], []
    for dataset, wide in data_of(options, size):
        place = ground(dataset)
        k = DENSE_K if dataset.samples.is_dense else SPARSE_K
        epochs = size.epochs
        figure2.append(
            converge(place, k, epochs=epochs, seeds=seeds, progress=progress)
        )
        if wide is not None:
            place, epochs = ground(wide), 2 * size.epochs
        figure3.append(
            race(place, k, epochs=epochs, seeds=seeds[: size.races], progress=progress)
        )
    return figure2, figure3


def data_of(options: Options, size: Size) -> list[tuple[Dataset, Dataset | None]]:
    """For Figure 2; and for Figure 3, where that takes another one."""
    if options.data is not None:
        return [(read_normalized(options.data), None)]
    narrow, wide = (
        epsilon_twin(options.seed, *shape) for shape in (size.epsilon, size.wide)
    )
    return [(narrow, wide), (rcv1_twin(options.seed, *size.rcv1), None)]


def trainings(
    seeds: Sequence[int], steps: int, progress: Progress
) -> dict[str, list[Curve]]:
    """A network, without momentum, for which there is no theory."""
    return {
        name: [
            train(
                method,
                "digits",
                num_workers=WORKERS,
                seed=seed,
                steps=steps,
                momentum=0.0,
                lr=LEARNING_RATE,
            )
            for seed in seeds
        ]
        for name, method in progress.over(list(TRAININGS.items()), "training")
    }


def notes(
    size: Size, figure2: Sequence[Convergence], figure3: Sequence[Race]
) -> list[str]:
    """What one must know to read the table."""
    everything = [*figure2, *(race.convergence for race in figure3)]
    told = dict.fromkeys(each.ground.dataset.told() for each in everything)
    firsts = [
        f"{name} {first:g}" for race in figure3 for name, first in race.firsts.items()
    ]
    return [
        f"Data: {'; '.join(told)}. Rows of norm 1; lambda = 1 / samples; gamma = 2; "
        f"{size.epochs} epochs, {size.seeds} seeds. Gap: objective at the average of "
        "the iterates, above the optimum.",
        "Dense data stand beside the paper's epsilon, sparse ones beside its RCV1. "
        f"No descent has more than {MOST_STEPS:,} steps. Twins have fewer features "
        "than the sets, for an element must be sent about as often in an epoch.",
        "Intervals are for 95 %, those of contractions for 99.99 %. Bounds: a dense "
        f"problem with lambda = {BOUND_L2} and {size.trainings} runs; expectations are "
        "means over the runs, G^2 is the largest mean square of the gradients met.",
        f"Figure 3: {size.races} seeds; g_0 by a first epoch: {', '.join(firsts)}. "
        "Bits as in the authors' accounts: 64 for an element and its index.",
        f"Training: an MLP on scikit-learn's digits, {WORKERS} workers in lockstep, "
        f"{size.training} steps, learning rate {LEARNING_RATE}, no momentum, "
        f"{size.trainings} seeds; 1 % of the elements where the largest are sent, 10 % "
        "where random ones are. The paper has workers that share one x without locks.",
    ]
