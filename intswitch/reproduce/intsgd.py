"""IntSGD's claims: noise, size of the integers, accuracy, and why IntDIANA.

Mishchenko, Wang, Kovalev, Richtarik, "IntSGD: Adaptive Floatless Compression of
Stochastic Gradients" (arXiv 2102.08374, ICLR 2022). The abstracts of its two versions
and the authors' code were read; theorems and tables are reconstructed, and marked so.

The compressors are the ones of `host/compressors`, and the integers go through the
emulated switch: see `lockstep.py`. The experiments are in `intsgd_runs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from intswitch.reproduce import intsgd_figure
from intswitch.reproduce.claims import (
    Basis,
    Claim,
    Evidence,
    Options,
    Progress,
    judged,
)
from intswitch.reproduce.estimates import Interval, interval
from intswitch.reproduce.intsgd_runs import (
    ALPHA,
    ALPHAS,
    ELEMENTS,
    FULL,
    QUICK,
    RESOLVED,
    SHARES,
    Descent,
    Found,
    measure,
)
from intswitch.reproduce.training import loss_ratio, mean_score

WORSE = 0.10
"""By how much a final training loss may exceed SGD's and still match it."""
TRAININGS = {
    "IntSGD int8": ("IntSGD with int8 matches SGD", "SGD", True),
    "IntSGD int32": ("IntSGD with int32 matches SGD", "SGD", True),
    "heuristic int8": (
        "the heuristic scale (Sapio et al.'s) does not match SGD with int8",
        "SGD",
        False,
    ),
    "heuristic int32": ("it does with int32", "SGD", True),
    "IntSGD int8, to nearest": (
        "rounding to nearest loses against random rounding (LSTM: 4.70 to 4.53)",
        "IntSGD int8",
        False,
    ),
}
"""What is said of each, the yardstick, and whether it matches that."""


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    found = measure(options, QUICK if options.quick else FULL, progress)
    return judged(found, CLAIMS, intsgd_figure.rows, intsgd_figure.draw)


def rounding_claims(found: Found) -> Iterator[Claim]:
    """Random rounding, at fixed scales."""
    worst_bias = max(found.roundings, key=lambda each: each.draws.bias)
    yield Claim(
        source="theory: Int",
        basis=Basis.RECONSTRUCTED,
        says="random rounding is unbiased: E[Int(alpha g) / alpha] = g",
        measured=f"{worst_bias.draws.told()}, at the worst of {len(ALPHAS)} scales",
        holds=all(each.draws.unbiased for each in found.roundings),
    )
    reached = found.worst.draws.variance / found.worst.bound
    yield Claim(
        source="theory: Int",
        basis=Basis.RECONSTRUCTED,
        says="the variance of n workers' mean is at most d/(4 n alpha^2), and as much "
        "where every fraction is 1/2",
        measured=f"{reached} of the bound at fractions of 1/2",
        holds=reached.holds(1.0)
        and all(each.draws.variance.low <= each.bound for each in found.roundings),
    )
    (usual,) = (each for each in found.roundings if each.alpha == ALPHA)
    ratio = usual.draws.variance / usual.bound
    yield Claim(
        source="theory: Int",
        basis=Basis.DERIVED,
        says="with uniform fractions it is 0.67 of the bound (1/6 over 1/4)",
        measured=f"{ratio} of the bound; {usual.exact / usual.bound:.4f} is exact here",
        holds=ratio.holds(usual.exact / usual.bound)
        and abs(ratio.mean - 2 / 3) < 0.01
        and all(each.draws.variance.holds(each.exact) for each in found.roundings),
    )


def nearest_claims(found: Found) -> Iterator[Claim]:
    """Deterministic rounding, one worker: the same mean every time."""
    draws = found.nearest.draws
    limit = ELEMENTS / (2 * ALPHA) ** 2
    same = min(draws.squares) == max(draws.squares)
    told = f"the same error in all {len(draws.squares)} draws" if same else draws.told()
    yield Claim(
        source="theory: Int",
        basis=Basis.DERIVED,
        says="rounding to nearest errs by at most sqrt(d)/(2 alpha), and is biased",
        measured=f"{math.sqrt(max(draws.squares) / limit):.2f} of the bound; {told}",
        holds=max(draws.squares) <= limit and not draws.unbiased,
    )


def adaptive_claims(found: Found) -> Iterator[Claim]:
    """The scale that follows the last estimate."""
    adaptive = found.adaptive
    noise = interval(adaptive.noise)
    yield Claim(
        source="theory: alpha",
        basis=Basis.DERIVED,
        says="with the adaptive alpha the variance is at most r/2 (r the running mean "
        "of ||g||^2), and about r/3",
        measured=f"{noise} r on average, {max(adaptive.noise):.3f} r in the worst of "
        f"{len(adaptive.noise)} steps",
        holds=noise.high <= 0.5
        and max(adaptive.noise) <= 0.5
        and abs(noise.mean - 1 / 3) < 0.02,
    )
    yield Claim(
        source="abstract",
        says="the scale is known to every device, without a profiling round",
        measured=f"r was {'equal to the bit' if adaptive.agree else 'not equal'} on "
        f"{adaptive.workers} workers in {len(adaptive.noise)} steps; nobody sent it",
        holds=adaptive.agree,
    )
    expected, sums = math.sqrt(adaptive.workers / 2), fmean(adaptive.sums)
    yield Claim(
        source="theory: alpha",
        basis=Basis.DERIVED,
        says=f"the integer sums are about sqrt(n/2) = {expected:.2f} (rms), so that "
        "int8 is plenty on homogeneous data",
        measured=f"{sums:.2f}; largest integer of a worker {max(adaptive.largest)}, "
        f"{adaptive.clipped:.1%} clipped at {127 // adaptive.workers} (judged: within "
        "15 %, fewer than 0.1 % clipped)",
        holds=abs(sums / expected - 1) < 0.15 and adaptive.clipped < 1e-3,
    )


def descent_claims(found: Found) -> Iterator[Claim]:
    """Heterogeneous data."""
    intsgd, diana = found.descents["IntSGD int32"], found.descents["IntDIANA int32"]
    early, late = max(intsgd.largest[1:11]), max(intsgd.largest[1:])
    yield Claim(
        source="abstract, v1",
        says="on heterogeneous data it becomes hard to keep IntSGD's integers bounded",
        measured=f"a worker's largest integer: {early:,} in 10 steps, {late:,} in "
        f"{len(intsgd.largest)}; of the sums {max(intsgd.sums[1:]):,} (judged: more "
        "than 10 times; the sums' below it)",
        holds=late > 10 * early and max(intsgd.sums[1:]) < late,
    )
    bound = 127 // SHARES
    yield Claim(
        source="abstract, v1",
        says="IntDIANA keeps them small, and converges as well",
        measured=f"largest integer {max(diana.largest[1:])}; objective gap "
        f"{diana.gaps[-1]:.1e}, IntSGD int32 {intsgd.gaps[-1]:.1e} (judged: at most "
        f"{bound}; twice the gap, or {10 * RESOLVED:g})",
        holds=max(diana.largest[1:]) <= bound and as_near(diana, intsgd),
    )
    narrow, narrow_diana = (found.descents[f"{n} int8"] for n in ("IntSGD", "IntDIANA"))
    yield Claim(
        source="abstract, v1",
        basis=Basis.DERIVED,
        says="so int8 is enough for IntDIANA, and not for IntSGD",
        measured=f"objective gap {narrow_diana.gaps[-1]:.1e} with IntDIANA, "
        f"{narrow.gaps[-1]:.1e} with IntSGD, clipped at {bound} (judged: at most twice "
        f"int32's gap, or {10 * RESOLVED:g}; more than 10 times)",
        holds=as_near(narrow_diana, diana) and narrow.gaps[-1] > 10 * diana.gaps[-1],
    )


def as_near(one: Descent, other: Descent) -> bool:
    """Whether the gap is at most twice the other's, or near to what is resolved."""
    return one.gaps[-1] <= max(2 * other.gaps[-1], 10 * RESOLVED)


def training_claims(found: Found) -> Iterator[Claim]:
    """A network, trained with each."""
    for name, (says, yardstick, matches) in TRAININGS.items():
        ratio = loss_ratio(found.curves[name], found.curves[yardstick])
        excess = Interval(ratio.mean - 1, ratio.half)
        yield Claim(
            source="experiments",
            basis=Basis.RECONSTRUCTED,
            says=says,
            measured=f"training loss {excess.mean:+.1%} ± {excess.half:.1%} of "
            f"{yardstick}'s (judged: {'at most' if matches else 'more than'} "
            f"{WORSE:+.0%}); test accuracy {accuracy(found, name)}, {yardstick} "
            f"{accuracy(found, yardstick)}",
            holds=excess.high <= WORSE if matches else excess.low > WORSE,
        )


def accuracy(found: Found, name: str) -> str:
    return f"{mean_score(found.curves[name]):.1%}"


CLAIMS: Sequence[Callable[[Found], Iterator[Claim]]] = (
    rounding_claims,
    nearest_claims,
    adaptive_claims,
    descent_claims,
    training_claims,
)
