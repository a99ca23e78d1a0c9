"""NUQSGD's claims: less variance than QSGD, and what that means for a training.

Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy, "NUQSGD: Provably
Communication-efficient Data-parallel SGD via Nonuniform Quantization" (arXiv
1908.06077, JMLR 2021). The abstract and the authors' code were read, and numbers come
from the figures that they published with it; theorems are reconstructed, and replaced
by bounds that are proved in `host/compressors/nuqsgd.py`.

As coded by the authors there is no level 0. The experiments that stand beside theirs
(`AS_CODED`) have none, either; what is ours has. See `nuqsgd_runs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from host.compressors import qsgd
from intswitch.reproduce import nuqsgd_figure
from intswitch.reproduce.claims import (
    Basis,
    Claim,
    Evidence,
    Options,
    Progress,
    judged,
)
from intswitch.reproduce.estimates import interval
from intswitch.reproduce.nuqsgd_runs import (
    BLOCKS,
    FULL,
    QUICK,
    SENSITIVE,
    D,
    Drawn,
    Found,
    measure,
)
from intswitch.reproduce.training import TRAINING_LEVEL, Curve, mean_score

SMALL = 256  # the block of the comparison with D
REACHED = 0.95  # of a bound, by the worst vector
EVEN = "Gaussian"  # the kind of vector in which no element stands out
MANY = 15.0  # times
NEAR = 1.5
WORSE = 1.25
"""Times SGD's final training loss: what is below matches it, what is above is worse."""
MATCHING = f"(judged: at most {WORSE} times the training loss)"
WORSENING = (
    f"(judged: more than {WORSE} times the training loss, or most seeds diverge)"
)


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    found = measure(options, QUICK if options.quick else FULL, progress)
    return judged(found, CLAIMS, nuqsgd_figure.rows, nuqsgd_figure.draw)


def evenly_drawn(found: Found) -> list[Drawn]:
    """All but those of log-normal vectors: where one element is most of the vector and
    seldom moves, a mean of some draws tells little."""
    return [
        *(each for (_, kind, _), each in found.variances.items() if kind == EVEN),
        *(bound.drawn for bound in found.bounds),
        *(found.uniform, found.sparse),
        *found.common.values(),
    ]


def unbiased_claims(found: Found) -> Iterator[Claim]:
    every = evenly_drawn(found)
    worst = max((each.draws for each in every), key=lambda draws: draws.bias)
    yield Claim(
        source="definition",
        basis=Basis.RECONSTRUCTED,
        says="Q is unbiased: E[Q(v)] = v; with QSGD's levels and NUQSGD's",
        measured=f"{worst.told()}, at the worst of {len(every)} cases, common norms "
        "among them (judged: all but log-normal vectors)",
        holds=all(each.draws.unbiased for each in every),
    )


def bound_claims(found: Found) -> Iterator[Claim]:
    """With the paper's levels, on vectors that are about the worst."""
    told = [
        f"{each.bits} bits, d = {each.elements}: {each.drawn.relative} of "
        f"{each.bound:.4g}"
        for each in found.bounds
    ]
    yield Claim(
        source="theorem: variance",
        basis=Basis.DERIVED,
        says="E ||Q(v) - v||^2 <= eps ||v||^2, eps = 1/8 + (2/9) 4^-s d, or "
        "2^-s sqrt(d) - 1 if 2^-s sqrt(d) > 9/4; and there are v that reach it",
        measured=f"{'; '.join(told)} (judged: {REACHED:.0%} is reached)",
        holds=all(
            each.drawn.relative.low <= each.bound
            and each.drawn.relative.high >= REACHED * each.bound
            for each in found.bounds
        ),
    )
    (ours,) = (each for each in found.bounds if (each.bits, each.elements) == (4, D))
    theirs = found.uniform.relative
    yield Claim(
        source="abstract",
        says="NUQSGD has stronger guarantees than QSGD",
        measured=f"4 bits, blocks of {D:,}: no vector has more than {ours.bound:.2f} "
        f"||v||^2 (here {ours.drawn.relative}); QSGD has {theirs} where all elements "
        f"are alike, bound {qsgd.variance_bound(4, D):.1f}",
        holds=ours.drawn.relative.high < theirs.low,
    )
    levels = 2.0 ** (2 ** (3 - 1) - 2)
    limit = levels**2 + levels * D**0.5
    yield Claim(
        source="theorem: sparsity",
        basis=Basis.RECONSTRUCTED,
        says="of d elements at most 4^s + 2^s sqrt(d) are not zero, on average",
        measured=f"3 bits, {D:,} Gaussian elements: {found.sparse.nonzeros}, bound "
        f"{limit:.0f}",
        holds=found.sparse.nonzeros.high <= limit,
    )


def block_claims(found: Found) -> Iterator[Claim]:
    """As coded, by block size. The paper shows its figures at 8192."""
    kinds = list(dict.fromkeys(kind for _, kind, _ in found.variances))
    ratios = {
        (kind, block): found.variances["QSGD", kind, block].relative
        / found.variances["NUQSGD", kind, block].relative.mean
        for kind in kinds
        for block in BLOCKS
    }
    told = [
        f"{kind} {ratios[kind, SMALL]} and {ratios[kind, D]} times" for kind in kinds
    ]
    yield Claim(
        source="figures: variance",
        basis=Basis.DERIVED,
        says=f"QSGD's variance, 4 bits, is about 9 times NUQSGD's in blocks of {SMALL} "
        f"(Gaussian), and more than {MANY:.0f} times in blocks of {D:,}",
        measured=f"{'; '.join(told)} (judged: 8 to 10 there)",
        holds=8 < ratios[EVEN, SMALL].mean < 10
        and all(ratios[kind, D].low > MANY for kind in kinds),
    )
    noise = found.noise
    ratio, near = noise.ratio("QSGD", "QSGDinf"), noise.ratio("NUQSGD", "QSGDinf")
    yield Claim(
        source="figures: variance",
        basis=Basis.CODE,
        says="in a training, with mini-batch noise: QSGD's variance is 15 to 26 times "
        "QSGDinf's, NUQSGD's within 10 %",
        measured=f"{ratio} times, {near} times (judged: the interval reaches "
        f"{MANY:.0f} and is above {MANY / 2:g}; below {NEAR})",
        holds=ratio.high > MANY and ratio.low > MANY / 2 and near.high < NEAR,
    )


def training_claims(found: Found) -> Iterator[Claim]:
    """4 bits; as coded in blocks of 8192, and in the network as is our default."""
    says = "at 4 bits, blocks of 8192:"
    yield Claim(
        source="figures: MNIST",
        basis=Basis.CODE,
        says=f"{says} QSGD degrades",
        measured=f"{told(found, 'QSGD')} {WORSENING}",
        holds=is_worse(found.curves["QSGD"], found.curves["SGD"]),
    )
    for name in ("QSGDinf", "NUQSGD"):
        yield Claim(
            source="abstract, figures",
            basis=Basis.CODE,
            says=f"{says} {name} matches SGD",
            measured=f"{told(found, name)} {MATCHING}",
            holds=matches(found.curves[name], found.curves["SGD"]),
        )
    for name in ("NUQSGD in the network", "QSGDinf in the network"):
        yield Claim(
            source="ours",
            basis=Basis.DERIVED,
            says=f"{name}, 4 bits: with a norm that all workers share it matches SGD",
            measured=f"{told(found, name)} {MATCHING}",
            holds=matches(found.curves[name], found.curves["SGD"]),
        )


def sensitivity_claims(found: Found) -> Iterator[Claim]:
    """3 bits, as coded, by block size."""
    yardstick = found.curves["SGD"]
    nuqsgd, qsgdinf = (
        {block: found.sensitive[name, block] for block in SENSITIVE}
        for name in ("NUQSGD", "QSGDinf")
    )
    small, *_, large = SENSITIVE
    yield Claim(
        source="ALQ's notebooks",
        basis=Basis.CODE,
        says="at 3 bits NUQSGD loses with the block size (88 % in blocks of 64, 76 % "
        "in blocks of 8192)",
        measured=f"{by_block(nuqsgd, yardstick)} {MATCHING[:-1]} in blocks of {small}, "
        f"more in blocks of {large:,}, or most seeds diverge)",
        holds=matches(nuqsgd[small], yardstick) and is_worse(nuqsgd[large], yardstick),
    )
    yield Claim(
        source="ALQ's notebooks",
        basis=Basis.CODE,
        says="and QSGDinf hardly does (88 %, 87 %)",
        measured=f"{by_block(qsgdinf, yardstick)} {MATCHING}",
        holds=all(matches(each, yardstick) for each in qsgdinf.values()),
    )


def by_block(curves: Mapping[int, Sequence[Curve]], yardstick: Sequence[Curve]) -> str:
    return "; ".join(
        f"{block:,}: {outcome(each, yardstick)}" for block, each in curves.items()
    )


def common_claims(found: Found) -> Iterator[Claim]:
    """Ours: the price of one norm for all workers."""
    own, largest, power = (
        found.common[name].draws.variance
        for name in ("own norms", "largest norm", "power of two")
    )
    price, rounding = largest / own.mean, power / largest.mean
    yield Claim(
        source="ours",
        basis=Basis.DERIVED,
        says="a common norm is unbiased and costs variance where norms are unlike; "
        "rounded up to a power of two it costs at most twice as much",
        measured=f"8 workers with log-normal norms: {price} times the variance of own "
        f"norms; with powers of two {rounding} times that",
        holds=price.low > 1
        and rounding.high < 2
        and all(each.draws.unbiased for each in found.common.values()),
    )


class Ratio(NamedTuple):
    """Of final training losses: the geometric mean over the seeds, and its interval."""

    mean: float
    low: float
    high: float


def ratio_of(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> Ratio:
    """Of the seeds in which neither has diverged. NaN, which shows nothing, if those
    are fewer than two."""
    pairs = zip(curves, yardstick, strict=True)
    logarithms = [
        math.log(one.final_loss / other.final_loss)
        for one, other in pairs
        if not (one.diverged or other.diverged)
    ]
    if len(logarithms) < 2:
        return Ratio(math.nan, math.nan, math.nan)
    found = interval(logarithms, TRAINING_LEVEL)
    return Ratio(*map(math.exp, (found.mean, found.low, found.high)))


def diverged(curves: Sequence[Curve]) -> list[int]:
    """The steps in which they did."""
    return [curve.diverged for curve in curves if curve.diverged]


def matches(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> bool:
    ended = diverged((*curves, *yardstick))
    return not ended and ratio_of(curves, yardstick).high <= WORSE


def is_worse(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> bool:
    """It diverges in most seeds, or its loss in the others is larger."""
    return mostly_diverged(curves) or ratio_of(curves, yardstick).low > WORSE


def mostly_diverged(curves: Sequence[Curve]) -> bool:
    return 2 * len(diverged(curves)) > len(curves)


def outcome(curves: Sequence[Curve], yardstick: Sequence[Curve]) -> str:
    """Accuracy and loss of a method, or how it ended."""
    steps, ratio = diverged(curves), ratio_of(curves, yardstick)
    in_steps = ", ".join(map(str, steps))
    ended = f"diverged in {len(steps)} of {len(curves)} seeds (step {in_steps})"
    if mostly_diverged(curves):
        return ended
    loss = (
        f"training loss {ratio.mean:.2f} times SGD's "
        f"({ratio.low:.2f} to {ratio.high:.2f})"
    )
    return f"{ended}, else {loss}" if steps else f"{mean_score(curves):.1%}, {loss}"


def told(found: Found, name: str) -> str:
    yardstick = found.curves["SGD"]
    return (
        f"{outcome(found.curves[name], yardstick)}; test accuracy of SGD "
        f"{mean_score(yardstick):.1%}"
    )


CLAIMS: Sequence[Callable[[Found], Iterator[Claim]]] = (
    unbiased_claims,
    bound_claims,
    block_claims,
    training_claims,
    sensitivity_claims,
    common_claims,
)
