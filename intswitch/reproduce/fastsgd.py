"""FastSGD's claims: compression ratio, bits a key, time, and what the threshold costs.

Yang, Chen, Zeng, Gao, "FastSGD: A Fast Compressed SGD Framework for Distributed Machine
Learning" (arXiv 2112.04291). Only the abstract could be read; the compressor is a
reconstruction (see `host/compressors/fastsgd.py`), and so are the claims beyond the
abstract's. The experiments are in `fastsgd_coding.py` and `fastsgd_runs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from intswitch.reproduce import fastsgd_figure
from intswitch.reproduce.claims import (
    Basis,
    Claim,
    Evidence,
    Options,
    Progress,
    judged,
)
from intswitch.reproduce.fastsgd_coding import THRESHOLDS, exponent_of
from intswitch.reproduce.fastsgd_runs import FULL, QUICK, Found, Trained, measure

ORDERS = 1e4
"""Four orders of magnitude."""
LOST = 0.05
"""Share of the loss's decrease that may be lost and the loss still be the same."""
ALL = 0.9
"""... and the training still be one. Lenient; the claim says so."""
STEEP = 3
"""By how much the ratio grows from the largest threshold to the knee, at least."""
LINEAR = 1.25
"""Power of the elements that still is linear: vectors outgrow caches. (n log n could
not be told from it; that there is none is seen in the code: each element is looked at a
few times.)"""
NEAR_ENTROPY = 1.25


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    found = measure(options, QUICK if options.quick else FULL, progress)
    return judged(found, CLAIMS, fastsgd_figure.rows, fastsgd_figure.draw)


def lost(found: Found, trained: Trained) -> float:
    """Share of the decrease of the loss that compression has cost."""
    return (trained.loss - found.exact) / (found.start - found.exact)


def of(found: Found, feedback: bool) -> list[Trained]:
    """Trainings, thresholds descending."""
    return [each for each in found.trainings if each.feedback == feedback]


def knee(found: Found, feedback: bool) -> Trained | None:
    """The smallest threshold down to which the loss stays the same."""
    last = None
    for each in of(found, feedback):
        if not lost(found, each) <= LOST:  # or is NaN
            break
        last = each
    return last


def ratio_claims(found: Found) -> Iterator[Claim]:
    """Of a float32 gradient to messages, and what it costs."""
    best = knee(found, feedback=True)
    learning = [each for each in found.trainings if lost(found, each) < ALL]
    highest = max(learning, key=found.ratio, default=None)
    yield Claim(
        source="abstract",
        says="compresses by up to 4 orders of magnitude; at what loss is not said: "
        f"here trainings count that lost less than {ALL:.0%} of the loss's decrease",
        measured=f"{told(found, highest)}; the same loss (at most {LOST:.0%} lost) "
        f"down to {told(found, best)}",
        holds=highest is not None and found.ratio(highest) >= ORDERS,
    )
    loose, *_, strict = of(found, feedback=True)
    ratios = [found.ratio(each) for each in of(found, feedback=True)]
    steep = best is not None and found.ratio(best) >= STEEP * found.ratio(loose)
    yield Claim(
        source="threshold",
        basis=Basis.RECONSTRUCTED,
        says="the ratio grows steeply as the threshold falls, while the loss hardly "
        "changes until a knee",
        measured=f"{told(found, loose)}; {told(found, best)} is the knee; "
        f"{told(found, strict)} (judged: the knee at {LOST:.0%} lost, there {STEEP} "
        f"times the ratio or more, at last more than {2 * LOST:.0%} lost)",
        holds=steep
        and all(one < other for one, other in pairwise(ratios))
        and lost(found, strict) > 2 * LOST,
    )
    yield bias_claim(found)


def bias_claim(found: Found) -> Claim:
    """Error feedback beside nothing, where feedback still is harmless."""
    best, bare = knee(found, feedback=True), knee(found, feedback=False)
    same = [
        each
        for each in of(found, feedback=False)
        if best is not None and each.threshold == best.threshold
    ]
    return Claim(
        source="threshold",
        basis=Basis.DERIVED,
        says="the threshold is a bias, which error feedback takes back",
        measured=f"at most {LOST:.0%} lost down to {told(found, best)}; there "
        f"{told(found, same[0] if same else None)}; at most {LOST:.0%} lost down to "
        f"{told(found, bare)} (judged: there more than {2 * LOST:.0%})",
        holds=bool(same)
        and lost(found, same[0]) > 2 * LOST
        and (bare is None or best is None or bare.threshold > best.threshold),
    )


def told(found: Found, trained: Trained | None) -> str:
    """`tau 3 with feedback: ratio 512, 1.2% of the decrease lost`"""
    if trained is None:
        return "no threshold"
    share = round(lost(found, trained), 3) + 0.0  # never -0.0 %
    return (
        f"tau {trained.threshold} {fastsgd_figure.WITH[trained.feedback]}: ratio "
        f"{found.ratio(trained):,.0f}, "
        f"{share:.1%} of the decrease lost"
    )


def key_claims(found: Found) -> Iterator[Claim]:
    """Delta encoding."""
    ours = [each.ours for each in found.keys]
    shares = ", ".join(f"{each.share:.1%}" for each in found.keys)
    yield Claim(
        source="abstract",
        says="adaptive fine-grained delta encoding needs fewer bits a key",
        measured=f"{bits(ours)} bits with {shares} of the elements; in whole bytes "
        f"{bits([each.whole_bytes for each in found.keys])}; entropy "
        f"{bits([each.entropy for each in found.keys])} (judged: at most "
        f"{NEAR_ENTROPY} times that)",
        holds=all(
            each.entropy <= each.ours < min(each.whole_bytes, each.bitmap, 32)
            and each.ours <= NEAR_ENTROPY * each.entropy
            for each in found.keys
        ),
    )
    best = knee(found, feedback=True) or found.trainings[-1]
    keys = 8 * best.key_bytes / best.pairs
    values = 8 * best.message_bytes / best.pairs - keys
    yield Claim(
        source="keys, values",
        basis=Basis.RECONSTRUCTED,
        says="where few pairs are left, keys take more than values",
        measured=f"{keys:.1f} bits of key and {values:.1f} of value a pair, tau "
        f"{best.threshold}, {best.pairs:,.0f} of {found.features:,} elements",
        holds=keys > values,
    )


def bits(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def time_claims(found: Found) -> Iterator[Claim]:
    elements = [each.elements for each in found.timings]
    encode = exponent_of([each.encode for each in found.timings], elements)
    decode = exponent_of([each.decode for each in found.timings], elements)
    most = found.timings[-1]
    yield Claim(
        source="abstract",
        says="the time of compression is linear",
        measured=f"from {elements[0]:,} to {elements[-1]:,} elements it grows with the "
        f"power {encode:.2f} to encode, {decode:.2f} to decode; at last "
        f"{1e9 * most.encode / most.elements:.2f} and "
        f"{1e9 * most.decode / most.elements:.2f} ns an element (judged: at "
        f"most {LINEAR}, which n log n would keep, too)",
        holds=max(encode, decode) <= LINEAR,
    )


def rounding_claims(found: Found) -> Iterator[Claim]:
    """Logarithm quantization."""
    bases = ", ".join(map(str, THRESHOLDS))
    biased = max(found.roundings, key=lambda each: each.draws.bias)
    yield Claim(
        source="quantization",
        basis=Basis.DERIVED,
        says="rounded at random and dense, the mean is unbiased (base 2: NUQSGD's "
        "levels)",
        measured=f"{biased.draws.told()}, at the worst of the bases {bases}",
        holds=all(each.draws.unbiased for each in found.roundings),
    )
    ratios = [each.worst.variance / each.bound for each in found.roundings]
    yield Claim(
        source="quantization",
        basis=Basis.DERIVED,
        says="the variance is at most (b-1)^2/(4b) of the square, and as much at "
        "2/(b+1) of a level",
        measured=f"{'; '.join(map(str, ratios))} of the bound, bases {bases}",
        holds=all(ratio.holds(1.0) for ratio in ratios),
    )
    errors = [each.largest_error / (math.sqrt(each.base) - 1) for each in found.nearest]
    dropped = [each.largest_dropped for each in found.nearest]
    yield Claim(
        source="quantization",
        basis=Basis.DERIVED,
        says="to the nearest logarithm the error is at most sqrt(b)-1 of the element, "
        "and what is dropped at most M b^(-tau-1/2)",
        measured=f"largest error {shares_of(errors)} of that, largest dropped "
        f"{shares_of(dropped)} (judged: above 0.95)",
        holds=all(0.95 < each <= 1 + 1e-4 for each in (*errors, *dropped)),
    )


def shares_of(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.4f}" for value in values)


def switch_claims(found: Found) -> Iterator[Claim]:
    """Ours: the sum in the switch."""
    each = found.paths
    yield Claim(
        source="in the switch",
        basis=Basis.DERIVED,
        says="log codes added in the switch through a table have the very mean of the "
        "messages",
        measured=f"equal to the bit in {each.equal} of {each.steps} steps; bytes up "
        f"and down a worker and step {each.told(each.network)} in the network, "
        f"{each.told(each.gather)} by messages",
        holds=each.equal == each.steps,
    )
    equal, steps = found.nuqsgd
    yield Claim(
        source="in the switch",
        basis=Basis.DERIVED,
        says="base 2, tau 6, dense and at random is NUQSGD with 4 bits",
        measured=f"equal to the bit in {equal} of {steps} steps",
        holds=equal == steps,
    )


CLAIMS: Sequence[Callable[[Found], Iterator[Claim]]] = (
    ratio_claims,
    key_claims,
    time_claims,
    rounding_claims,
    switch_claims,
)
