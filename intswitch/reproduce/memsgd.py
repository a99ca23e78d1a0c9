"""Mem-SGD's claims: few elements suffice, if the others are remembered.

Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018). The paper's text
was read; numbers of its figures come from the result files that the authors published.

One worker, a sample a step, float64: `memsgd_steps.py`, and the descents made of them
in `memsgd_descents.py`. Theory: `memsgd_theory.py`. The last claims are ours: several
workers, each with its memory, and the switch adds integers. All experiments together:
`memsgd_runs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from intswitch.reproduce import memsgd_figure
from intswitch.reproduce.claims import (
    Basis,
    Claim,
    Evidence,
    Options,
    Progress,
    judged,
)
from intswitch.reproduce.estimates import interval
from intswitch.reproduce.memsgd_descents import LOOKS, Convergence, Race
from intswitch.reproduce.memsgd_runs import (
    ELEMENTS,
    FULL,
    QUICK,
    SCALED,
    Found,
    measure,
)
from intswitch.reproduce.memsgd_theory import LEVEL
from intswitch.reproduce.training import Curve, loss_ratio, mean_score

AS_SMALL = 1.5
"""By what factor a gap or a loss may exceed another one, and still match it."""
NEAR = 0.03  # test accuracy
TWICE = math.log10(2)
HALF_AN_ORDER = math.sqrt(10)
"""`An order of magnitude` is reached from here on."""


def reproduce(options: Options, progress: Progress) -> Evidence:
    """All claims; see the module."""
    found = measure(options, QUICK if options.quick else FULL, progress)
    return judged(found, CLAIMS, memsgd_figure.rows, memsgd_figure.draw)


def contraction_claims(found: Found) -> Iterator[Claim]:
    """Definitions 2.1 to 2.3; and the alternative to memory."""
    told = [f"k={k:g}: {each.left}" for k, each in found.contractions.items()]
    yield Claim(
        source="definition 2.1",
        says="rand_k, and ultra-sparsification (k < 1), are k-contractions: "
        "E ||x - comp(x)||^2 <= (1 - k/d) ||x||^2; with equality, as one computes",
        measured=f"of ||x||^2, d = {ELEMENTS}: {', '.join(told)}",
        holds=all(each.left.holds(each.bound) for each in found.contractions.values()),
    )
    told = [f"k={k:g}: {left:.3f}" for k, left in found.tops.items()]
    yield Claim(
        source="definition 2.1",
        says="top_k is one, and contracts more than that",
        measured=f"{', '.join(told)}",
        holds=all(left < 1 - k / ELEMENTS for k, left in found.tops.items()),
    )
    square = float(found.scaled.expected @ found.scaled.expected)
    blown = interval(found.scaled.squares, LEVEL) / square
    exact = ELEMENTS / SCALED - 1
    yield Claim(
        source="section 2.2",
        says="rand_k without memory, scaled by d/k, is unbiased, but its variance "
        f"blows up by d/k: to {exact:g} ||x||^2 here",
        measured=f"{blown} ||x||^2; {found.scaled.told()}",
        holds=blown.holds(exact) and found.scaled.unbiased,
    )


def bound_claims(found: Found) -> Iterator[Claim]:
    """The bounds are far from what is measured: they are for the worst case."""
    memory = {name: each.memory for name, each in found.bounds.items()}
    yield Claim(
        source="lemma 3.2",
        says="E ||m_t||^2 <= eta_t^2 4 alpha / (alpha - 4) (d/k)^2 G^2",
        measured="at most "
        + ", ".join(f"{each:.1e} of the bound ({n})" for n, each in memory.items()),
        holds=all(0 < each <= 1 for each in memory.values()),
    )
    gap = {name: each.gap for name, each in found.bounds.items()}
    steps = next(iter(found.bounds.values())).steps
    yield Claim(
        source="theorem 2.4",
        says="E f(average) - f* is at most the sum of its three terms",
        measured=f"after {steps:,} steps "
        + ", ".join(f"{each:.1e} of the bound ({n})" for n, each in gap.items()),
        holds=all(0 < each <= 1 for each in gap.values()),
    )


FIGURE_2: Mapping[bool, Mapping[str, str]] = {
    True: {
        "set": "epsilon",
        "top": "top 1 with memory converges as SGD does (loss .2827, SGD .2829)",
        "memory": "without memory it does not (2.50)",
        "random": "random 1 is slower at first (.3065, top 1 .2884), random 3 less "
        "(.2939)",
        "shift": "without the shift a = d/k, random 1 begins far worse (1.14 after an "
        "epoch), and recovers (.287 after three)",
    },
    False: {
        "set": "RCV1",
        "top": "top 10 with memory converges as SGD does (loss .0850, SGD .0850)",
        "memory": "without memory it does not",
        "random": "random 10 is slower at first (.0881, top 10 .0870), random 30 less "
        "(.0873)",
        "shift": "without the shift random 10 begins far worse (.417 after an epoch), "
        "and recovers (.0849 after five)",
    },
}
"""What the paper shows, by whether the data are dense."""


def figure2_claims(found: Found) -> Iterator[Claim]:
    for convergence in found.figure2:
        yield from convergence_claims(convergence)


def convergence_claims(found: Convergence) -> Iterator[Claim]:
    says = FIGURE_2[found.ground.dataset.samples.is_dense]
    source, epoch = f"figure 2, {says['set']}", LOOKS - 1
    top = found.ratio("top", "SGD")
    yield Claim(
        source=source,
        basis=Basis.CODE,
        says=says["top"],
        measured=f"gap after {found.epochs} epochs {top} of SGD's (judged: at most "
        f"{AS_SMALL})",
        holds=top.high <= AS_SMALL,
    )
    without = found.orders("top, no memory", "top")
    yield Claim(
        source=source,
        basis=Basis.CODE if found.k == 1 else Basis.DERIVED,
        says=says["memory"],
        measured=f"gap 10^({without}) times that with memory (judged: more than 10)",
        holds=without.low > 1,
    )
    slower = found.ratio("random", "top", epoch)
    less = found.ratio("random, 3 k", "random", epoch)
    yield Claim(
        source=source,
        basis=Basis.CODE,
        says=says["random"],
        measured=f"gap after one epoch {slower} times that of the largest; of thrice "
        f"as many {less} of that",
        holds=slower.low > 1 and less.high < 1,
    )
    early = found.orders("random, no shift", "random", epoch)
    late = found.orders("random, no shift", "random")
    yield Claim(
        source=source,
        basis=Basis.CODE,
        says=says["shift"],
        measured=f"gap 10^({early}) times that with the shift after one epoch, "
        f"10^({late}) after {found.epochs} (judged: more than twice, and less at last)",
        holds=early.low > 0 and early.mean > TWICE and late.mean < early.mean,
    )


def figure3_claims(found: Found) -> Iterator[Claim]:
    for race in found.figure3:
        dense = race.convergence.ground.dataset.samples.is_dense
        source = f"figure 3, {'epsilon' if dense else 'RCV1'}"
        gain = "10^3" if dense else "an order of magnitude"
        yield against_sgd(race, source, gain, 1000 if dense else 10)
        yield against_qsgd(race, source)


def against_sgd(race: Race, source: str, gain: str, factor: float) -> Claim:
    name = f"top {race.convergence.k}"
    ours, theirs, least = race.bits(name), race.bits("SGD"), factor / HALF_AN_ORDER
    return Claim(
        source=source,
        says=f"{name} needs less bits than SGD by {gain}",
        measured=f"{ours:.3g} bits to a tenth of the first gap, SGD {theirs:.3g}: "
        f"{quotient(theirs, ours)} times (judged: {least:.0f} or more)",
        holds=theirs / ours >= least and ours < math.inf,
    )


def against_qsgd(race: Race, source: str) -> Claim:
    """A level of QSGD that does not reach the gap is no rival."""
    ours = race.bits("top 1")
    rivals = {name: race.bits(name) for name in race.senders if "QSGD" in name}
    told = [f"{name} {quotient(each, ours)}" for name, each in rivals.items()]
    best = min(rivals.values())
    return Claim(
        source=source,
        says="top 1 needs one to two orders of magnitude less bits than QSGD",
        measured=f"times the bits of top 1: {', '.join(told)} (judged: "
        f"{HALF_AN_ORDER:.1f} or more)",
        holds=HALF_AN_ORDER <= best / ours < math.inf,
    )


def quotient(bits: float, ours: float) -> str:
    return "never there" if bits == math.inf else f"{bits / ours:,.0f}"


def training_claims(found: Found) -> Iterator[Claim]:
    """Ours: workers in step, each with its memory, through the switch."""
    curves, source = found.curves, "ours: n workers"
    for name, sent in (("top", "1 % of the elements"), ("random", "10 %")):
        without = loss_ratio(curves[f"{name}, no memory"], curves[name])
        yield Claim(
            source=source,
            basis=Basis.DERIVED,
            says=f"with a memory each, {name} elements train, summed as int8 by the "
            f"switch ({sent}); without, they lose",
            measured=f"test accuracy {accuracy(curves[name])}, SGD "
            f"{accuracy(curves['SGD'])}; without memory the training loss is "
            f"{without} times as high (judged: at most "
            f"{100 * NEAR:g} points less than SGD; above 1)",
            holds=without.low > 1
            and mean_score(curves[name]) > mean_score(curves["SGD"]) - NEAR,
        )
    ours, messages = curves["top"], curves["top, by messages"]
    ratio = loss_ratio(ours, messages)
    down = [fmean(each.bytes_down for each in many) for many in (ours, messages)]
    yield Claim(
        source=source,
        basis=Basis.DERIVED,
        says="on the union of the supports, in the network, it trains as well as by "
        "messages of indices and values, and less comes down",
        measured=f"training loss {ratio} of that by messages; down {down[0]:,.0f} "
        f"bytes a step, by messages {down[1]:,.0f} (judged: below {AS_SMALL}; fewer)",
        holds=ratio.high < AS_SMALL and down[0] < down[1],
    )


def accuracy(curves: Sequence[Curve]) -> str:
    return f"{mean_score(curves):.1%}"


CLAIMS: Sequence[Callable[[Found], Iterator[Claim]]] = (
    contraction_claims,
    bound_claims,
    figure2_claims,
    figure3_claims,
    training_claims,
)
