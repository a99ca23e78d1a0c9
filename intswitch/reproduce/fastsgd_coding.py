"""The experiments behind FastSGD's claims that need no training: its coding, and the
sum of its codes in the switch. Numbers, no judgement; see `fastsgd.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.deltas import HEADER, encode_keys
from host.compressors.fastsgd import FastSGD
from host.compressors.logcodes import LogCodes
from host.compressors.nuqsgd import NUQSGD
from host.compressors.pairs import add_pairs, decode_pairs, encode_pairs
from host.compressors.quantize import random_key
from intswitch.reproduce import lockstep
from intswitch.reproduce.estimates import Draws

WORKERS = 4
ELEMENTS = 1024
THRESHOLDS = {2.0: 14, 1.5: 24, 1.1: 100}
"""Of the bases whose rounding is measured."""
SHARES = (0.1, 0.01, 0.001)

Gradients = NDArray[np.float32]


def gaussian(seed: int, workers: int, elements: int) -> Gradients:
    """[workers, elements] below 1, for M = 1."""
    chance = np.random.default_rng([seed, 20])
    normal = chance.normal(size=(workers, elements))
    return (normal / 6).clip(-1, 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Rounding:
    """Means of the same gradients, dense and rounded at random, drawn many times."""

    base: float
    draws: Draws
    """Of four workers with Gaussian gradients."""
    worst: Draws
    """Of one, each of whose elements has the largest relative variance there is."""

    @property
    def bound(self) -> float:
        """(b - 1)^2 / (4 b) ||v||^2, for `worst`."""
        relative = (self.base - 1) ** 2 / (4 * self.base)
        return relative * float(self.worst.expected @ self.worst.expected)


def rounding(base: float, seed: int, draws: int) -> Rounding:
    chance = np.random.default_rng([seed, 21])
    signs = chance.choice([-1.0, 1.0], size=(1, ELEMENTS))
    # between the levels 1 and 1/b the variance over x^2 is largest at 2 / (b + 1)
    worst = (signs * 2 / (base + 1)).astype(np.float32)
    return Rounding(
        base,
        drawn(gaussian(seed, WORKERS, ELEMENTS), base, seed, draws),
        drawn(worst, base, seed, draws),
    )


def drawn(gradients: Gradients, base: float, seed: int, draws: int) -> Draws:
    """Means of dense codes, through the switch."""

    def create() -> FastSGD:
        return FastSGD(
            base=base, threshold=THRESHOLDS[base], rounding="random", dense=True,
            seed=seed,
        )  # fmt: skip

    return Draws.of(lockstep.means(gradients, create, draws), gradients)


class Nearest(NamedTuple):
    """Deterministic rounding of elements of all magnitudes, M = 1."""

    base: float
    largest_error: float
    """Of those that are kept, relative."""
    largest_dropped: float
    """Times b^(tau + 1/2): 1 is the bound."""


def nearest(base: float, seed: int) -> Nearest:
    log = LogCodes(base, THRESHOLDS[base], random=False, dense=False)
    chance = np.random.default_rng([seed, 22])
    vector = (10.0 ** chance.uniform(-8, 0, 500_000)).astype(np.float32)
    codes = log.encode(vector, 0, random_key(seed, 0, 0))
    kept = codes > 0
    errors = np.abs(log.values(0)[codes[kept]] / vector[kept] - 1)
    dropped = float(vector[~kept].max()) * base ** (log.threshold + 0.5)
    return Nearest(base, float(errors.max()), dropped)


class KeyBits(NamedTuple):
    """Bits a key, of uniform random keys."""

    share: float
    """Of all elements."""
    ours: float
    whole_bytes: float
    """Differences in 1, 2 or 4 bytes after a flag of 2 bits: SketchML's first coder."""
    entropy: float
    bitmap: float


def key_bits(share: float, elements: int, seed: int) -> KeyBits:
    count = round(share * elements)
    chance = np.random.default_rng([seed, 23])
    keys = np.sort(chance.choice(elements, count, replace=False)).astype(np.uint32)
    differences = np.diff(keys, prepend=0)
    octets = np.select([differences < 1 << 8, differences < 1 << 16], [1, 2], 4)
    ways = math.lgamma(elements + 1) - math.lgamma(count + 1)
    ways -= math.lgamma(elements - count + 1)
    return KeyBits(
        share,
        ours=8 * (len(encode_keys(keys)) - HEADER.size) / count,
        whole_bytes=2 + 8 * float(octets.mean()),
        entropy=ways / math.log(2) / count,
        bitmap=elements / count,
    )


class Timing(NamedTuple):
    """Of one vector, one element in a hundred kept."""

    elements: int
    encode: float
    """Seconds of this thread."""
    decode: float


def timing(elements: int, seed: int) -> Timing:
    log = LogCodes(2.0, 14, random=False, dense=False)
    chance = np.random.default_rng([seed, 24])
    vector = np.full(elements, 1e-7, np.float32)
    vector[chance.random(elements) < 0.01] = 0.01
    key, total = random_key(seed, 0, 0), np.zeros(elements, np.float32)

    def encode() -> bytes:
        return encode_pairs(log.encode(vector, 0, key), 0, log)

    message = encode()

    def decode() -> None:
        total[:] = 0
        exponent, pairs = decode_pairs(message, elements, log)
        add_pairs(total, pairs, exponent, log)

    return Timing(elements, fastest(encode), fastest(decode))


def fastest(run: Callable[[], Any], repetitions: int = 7) -> float:
    """Seconds of this thread, which others on the machine add little to."""
    best = math.inf
    for _ in range(repetitions):
        started = thread_time()
        run()
        best = min(best, thread_time() - started)
    return best


def exponent_of(times: Sequence[float], elements: Sequence[int]) -> float:
    """Of the power of the number of elements that the times grow with."""
    slope, _ = np.polyfit(np.log(elements), np.log(times), 1)
    return float(slope)


class Paths(NamedTuple):
    """The same gradients, averaged in the network and by messages."""

    equal: int
    """Means that were the same, bit for bit."""
    steps: int
    network: tuple[int, int]
    """Bytes up and down of one worker, headers included."""
    gather: tuple[int, int]

    def told(self, total: tuple[int, int]) -> str:
        """Bytes up and down a step."""
        up, down = (round(each / self.steps) for each in total)
        return f"{up:,} and {down:,}"


def paths(seed: int, steps: int = 10, elements: int = 20_000) -> Paths:
    chance = np.random.default_rng([seed, 25])
    shape = (steps, WORKERS, elements)
    gradients = chance.normal(size=shape) * 10.0 ** chance.uniform(-7, 0, shape)

    def work(network: lockstep.Worker) -> tuple[int, list[tuple[int, int]]]:
        both = [FastSGD(path=path) for path in ("network", "gather")]
        equal = 0
        for gradient in gradients[:, network.rank].astype(np.float32):
            one, other = (made.average(gradient, network) for made in both)
            equal += one.tobytes() == other.tobytes()
        totals = [made.statistics for made in both]
        return equal, [(total.bytes_up, total.bytes_down) for total in totals]

    found = lockstep.run(WORKERS, work, **FastSGD().tables(WORKERS))
    return Paths(min(equal for equal, _ in found), steps, *found[0][1])


def same_as_nuqsgd(seed: int, steps: int = 10, elements: int = 4096) -> tuple[int, int]:
    """In how many steps, of all, dense codes of tau = 6 have NUQSGD's very mean. Every
    packet has an element of one largest magnitude, so that its norm is the common M."""
    gradients = gaussian(seed, WORKERS, elements)
    gradients[:, ::64] = 0.9

    def work(network: lockstep.Worker) -> int:
        ours = FastSGD(
            threshold=6, rounding="random", scale="max", dense=True, seed=seed
        )
        theirs = NUQSGD(bits=4, norm="linf", seed=seed)
        mine = gradients[network.rank]
        means = [[made.average(mine, network) for made in (ours, theirs)]
                 for _ in range(steps)]  # fmt: skip
        return sum(one.tobytes() == other.tobytes() for one, other in means)

    tables = FastSGD(threshold=6, dense=True).tables(WORKERS)
    return min(lockstep.run(WORKERS, work, **tables)), steps
