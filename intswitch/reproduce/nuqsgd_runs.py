"""The experiments behind NUQSGD's claims: numbers, no judgement. See `nuqsgd.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from host.compressors.nuqsgd import variance_bound, worst_vector
from intswitch import workloads
from intswitch.methods import Method
from intswitch.reproduce import lockstep
from intswitch.reproduce.claims import Options, Progress
from intswitch.reproduce.estimates import Draws, Interval, interval
from intswitch.reproduce.training import Curve, FloatMean, train
from intswitch.trainer import FlatModel

Gradients = NDArray[np.float32]

D = 8192  # elements; and of a block in the authors' experiments
BLOCKS = (64, 256, 1024, D)
AS_CODED = "levels=authors,path=gather"
NAMES = {"QSGD": "qsgd", "QSGDinf": "qsgdinf", "NUQSGD": "nuqsgd"}
PAIR = 2  # workers, as in most of the paper's experiments
CROWD = 8
SENSITIVE = (64, 512, D)
TRAININGS = {
    "SGD": "exact",
    **{name: f"{method}:{AS_CODED},block_size={D}" for name, method in NAMES.items()},
    "NUQSGD in the network": "nuqsgd",
    "QSGDinf in the network": "qsgdinf",
}


def as_coded(name: str, block: int, bits: int = 4) -> str:
    """A method as the authors' code has it, but for what docs/compressors.md lists."""
    return f"{NAMES[name]}:bits={bits},{AS_CODED},block_size={block}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Means of the same gradients, drawn many times."""

    draws: Draws
    square: float
    """The workers' squared norms, added up, over n^2: a relative variance of 1 for
    each worker gives this."""
    nonzeros: Interval
    """Elements of the mean that are not zero."""

    @property
    def relative(self) -> Interval:
        """E ||Q(v) - v||^2 / ||v||^2 of a worker, on average."""
        return self.draws.variance / self.square


def drawn(method: str, gradients: Gradients, draws: int, seed: int) -> Drawn:
    """gradients: [n, d]. method: as `-c` has it."""
    chosen = Method.parse(method)
    means = lockstep.means(gradients, lambda: chosen.create(seed), draws)
    square = float((gradients.astype(np.float64) ** 2).sum()) / len(gradients) ** 2
    sizes = np.count_nonzero(means, axis=1)
    return Drawn(Draws.of(means, gradients), square, interval(sizes))


def vectors(seed: int) -> dict[str, Gradients]:
    """[1, d] by name: a light tail and a heavy one."""
    chance = np.random.default_rng([seed, 20])
    normal = chance.normal(size=(2, 1, D))
    signs = np.sign(chance.normal(size=(1, D)))
    return {
        "Gaussian": normal[0].astype(np.float32),
        "log-normal": (signs * np.exp(2 * normal[1])).astype(np.float32),
    }


def spread(seed: int) -> Gradients:
    """[n, d] Gaussian, of workers whose norms are log-normal."""
    chance = np.random.default_rng([seed, 21])
    norms = np.exp(chance.normal(size=(CROWD, 1)))
    return (norms * chance.normal(size=(CROWD, 2048))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Bound:
    """NUQSGD where its variance is about the largest."""

    bits: int
    elements: int
    drawn: Drawn
    bound: float


def bounds(draws: int, seed: int, progress: Progress) -> list[Bound]:
    """With the paper's levels, and the worker's own norm of one block."""
    cases = [(bits, elements) for bits in (3, 4, 5) for elements in (512, D)]
    return [
        Bound(
            bits,
            elements,
            drawn(
                f"nuqsgd:bits={bits},path=gather,block_size={elements}",
                worst_vector(bits, elements)[np.newaxis],
                draws,
                seed,
            ),
            variance_bound(bits, elements),
        )
        for bits, elements in progress.over(cases, "the bound")
    ]


@dataclass(frozen=True, slots=True)
class Noise:
    """Of gradients in the middle of a training, mini-batches included: the squared
    distance to the mean gradient, a sample for every step."""

    squares: Mapping[str, list[float]]
    """By method."""

    def ratio(self, one: str, other: str) -> Interval:
        """Of the mean variances."""
        return interval(self.squares[one]) / float(np.mean(self.squares[other]))


def batch_gradients(seed: int, warm: int, draws: int) -> Gradients:
    """[draws, n, d] of mini-batches, at the weights that `warm` steps of SGD make."""
    torch.set_num_threads(1)
    shares = [
        workloads.load("digits", rank=rank, num_workers=PAIR, seed=seed)
        for rank in range(PAIR)
    ]
    flat, workload = FlatModel(shares[0].model()), shares[0]

    def gradient(rank: int, step: int) -> torch.Tensor:
        flat.gradient.zero_()
        batch = shares[rank].batch(step, workload.batch_size)
        workload.loss(flat.model, batch).backward()  # type: ignore[no-untyped-call]
        return flat.gradient

    for step in range(warm):
        flat.weights -= workload.lr * gradient(step % PAIR, step)
    return np.array(
        [
            [gradient(rank, warm + step).numpy().copy() for rank in range(PAIR)]
            for step in range(draws)
        ]
    )


def noise(seed: int, draws: int, progress: Progress) -> Noise:
    """As coded, the block of the authors; and SGD of one worker."""
    gradients = batch_gradients(seed, 100, draws)
    middle = gradients.mean(axis=(0, 1), dtype=np.float64)
    alone = ((gradients[:, 0] - middle) ** 2).sum(axis=1)
    squares = {"SGD, one worker": alone.tolist()}
    methods = {"SGD": "exact"} | {name: as_coded(name, D) for name in NAMES}
    for name, text in progress.over(list(methods.items()), "variance in a training"):
        chosen = Method.parse(text)

        def work(network: lockstep.Worker, chosen: Method = chosen) -> Gradients:
            exact = chosen.compressor == "exact"
            compressor = FloatMean() if exact else chosen.create(seed)
            mine = gradients[:, network.rank]
            return np.array([compressor.average(each, network) for each in mine])

        means = lockstep.run(PAIR, work)[0]
        squares[name] = ((means - middle) ** 2).sum(axis=1).tolist()
    return Noise(squares)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    draws: int
    batches: int
    seeds: int
    training: int
    """Steps of a training."""


FULL = Size(draws=300, batches=60, seeds=6, training=200)
QUICK = Size(draws=60, batches=30, seeds=4, training=200)


@dataclass(frozen=True, slots=True)
class Found:
    """The outcomes of all experiments."""

    variances: Mapping[tuple[str, str, int], Drawn]
    """As coded, 4 bits, one worker; by method, kind of vector and block."""
    bounds: Sequence[Bound]
    uniform: Drawn
    """QSGD with the paper's levels, a block of elements that are all alike."""
    sparse: Drawn
    """NUQSGD with the paper's levels of 3 bits, a Gaussian block."""
    common: Mapping[str, Drawn]
    """NUQSGD of workers with unlike norms: own norms, and common ones."""
    noise: Noise
    curves: Mapping[str, Sequence[Curve]]
    """4 bits; a training for every seed."""
    sensitive: Mapping[tuple[str, int], Sequence[Curve]]
    """3 bits; by method and block."""
    notes: Sequence[str]


COMMON = {
    "own norms": "nuqsgd:path=gather",
    "largest norm": "nuqsgd:common=max",
    "power of two": "nuqsgd",
}


def measure(options: Options, size: Size, progress: Progress) -> Found:
    seed = options.seed
    given, crowd = vectors(seed), spread(seed)
    cases = [(n, kind, block) for n in NAMES for kind in given for block in BLOCKS]
    alike = np.full((1, D), 1.0, np.float32)
    return Found(
        variances={
            (name, kind, block): drawn(
                as_coded(name, block), given[kind], size.draws, seed
            )
            for name, kind, block in progress.over(cases, "variance")
        },
        bounds=bounds(size.draws, seed, progress),
        uniform=drawn(f"qsgd:path=gather,block_size={D}", alike, size.draws, seed),
        sparse=drawn(
            f"nuqsgd:bits=3,path=gather,block_size={D}",
            given["Gaussian"],
            size.draws,
            seed,
        ),
        common={
            name: drawn(method, crowd, size.draws, seed)
            for name, method in progress.over(list(COMMON.items()), "common norms")
        },
        noise=noise(seed, size.batches, progress),
        curves={
            name: trained(method, seed, size, progress, name)
            for name, method in TRAININGS.items()
        },
        sensitive={
            (name, block): trained(
                as_coded(name, block, bits=3),
                seed,
                size,
                progress,
                f"{name}, 3 bits, blocks of {block:,}",
            )
            for name in ("NUQSGD", "QSGDinf")
            for block in SENSITIVE
        },
        notes=notes(size),
    )


def trained(
    method: str, seed: int, size: Size, progress: Progress, text: str
) -> list[Curve]:
    """The digits, with the workload's own learning rate and momentum."""
    return [
        train(
            method, "digits", num_workers=PAIR, seed=seed + number, steps=size.training
        )
        for number in progress.over(range(size.seeds), f"training, {text}")
    ]


def notes(size: Size) -> list[str]:
    return [
        f"As coded: the authors' levels, without 0, and messages to all. Variances: "
        f"one worker, {D:,} elements (Gaussian; log-normal of sigma 2), "
        f"{size.draws} draws.",
        f"Common norms: {CROWD} workers with log-normal norms, blocks of 512.",
        "Intervals of a ratio of variances are those of the upper one, over the mean "
        "of the lower one.",
        f"Variance in a training: the digits' MLP, {PAIR} workers, after 100 steps of "
        f"SGD, {size.batches} mini-batches, blocks of {D:,}.",
        f"Trainings: the digits' MLP of 17,226 parameters, {PAIR} workers, "
        f"{size.training} steps, {size.seeds} seeds. The paper trains ResNets on "
        "CIFAR-10 and ImageNet, and a CNN on MNIST; the figures at 3 bits are from "
        "the follow-up's notebooks (ALQ).",
    ]
