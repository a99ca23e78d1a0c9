"""What the papers claim, measured again: `intswitch reproduce PAPER`.

A paper is one module here, with one function:

    def reproduce(options: Options, progress: Progress) -> Evidence

`options` is the command's: the seed of everything that is random, `quick` (a quick
look, whose claims must hold all the same), and `data`, a LIBSVM file that stands in
for the synthetic data, in papers that take one. `progress.over(items, text)` goes
through `items` and shows how far it is. What comes back is data alone: the claims,
each with what the paper says and what was measured; the numbers of the figure; a
function that draws it on a matplotlib figure; notes that go below the table. See
`claims.py`. The command prints the table, writes the files, and ends with status 1
where a claim does not hold.

To build a reproduction on:

    claims.py      Claim, Basis, Evidence, Options, Progress; from outcomes to evidence
    estimates.py   means with confidence intervals; moments of many draws, and whether
                   they are unbiased
    lockstep.py    workers as threads, and the emulated switch between them without
                   sockets: the real compressors, the real packets
    datasets.py    LIBSVM files; synthetic twins of epsilon and RCV1
    logistic.py    l2 logistic regression on them: loss, gradients, optimum
    training.py    trainings of a network in lockstep, and what several seeds came to

A claim is decided by a comparison that can fail: a bound outside of the confidence
interval, an ordering that the interval of the difference does not reach. Where it has
a tolerance, the table says so: (judged: ...). Nothing is drawn or claimed that was not
measured in the same run.

Modules are imported when they are asked for; the command line reads this one alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from intswitch.reproduce.claims import Evidence, Options, Progress


@dataclass(frozen=True, slots=True)
class Paper:
    """What the command line knows of one without importing its module."""

    citation: str
    takes_data: bool = False
    """Whether --data means anything to it."""


PAPERS = {
    "intsgd": Paper(
        "Mishchenko, Wang, Kovalev, Richtarik: IntSGD: Adaptive Floatless Compression "
        "of Stochastic Gradients (ICLR 2022, arXiv 2102.08374)",
        takes_data=True,
    ),
    "nuqsgd": Paper(
        "Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy: NUQSGD: Provably "
        "Communication-efficient Data-parallel SGD via Nonuniform Quantization "
        "(JMLR 22, 2021, arXiv 1908.06077)",
    ),
    "fastsgd": Paper(
        "Yang, Chen, Zeng, Gao: FastSGD: A Fast Compressed SGD Framework for "
        "Distributed Machine Learning (arXiv 2112.04291)",
        takes_data=True,
    ),
    "memsgd": Paper(
        "Stich, Cordonnier, Jaggi: Sparsified SGD with Memory (NeurIPS 2018, "
        "arXiv 1809.07599)",
        takes_data=True,
    ),
}


def load(paper: str) -> Callable[[Options, Progress], Evidence]:
    """The function of a paper's module. Raises ValueError for an unknown paper."""
    if paper not in PAPERS:
        raise ValueError(f"paper {paper!r}: must be one of {', '.join(PAPERS)}")
    found: Callable[[Options, Progress], Evidence] = import_module(
        f"intswitch.reproduce.{paper}"
    ).reproduce
    return found
