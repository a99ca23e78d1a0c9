"""NUQSGD: levels that halve towards zero, where most of a gradient's elements are.

Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy, "NUQSGD: Provably
Communication-efficient Data-parallel SGD via Nonuniform Quantization" (arXiv
1908.06077, JMLR 2021). With r = |v_i| / ||v||_2 of a block (their bucket) v, and
s = 2^(bits-1) - 2:

    Q(v_i) = ||v||_2 sign(v_i) h(r),    h(r) in {0, 2^-s, ..., 1/2, 1},    E h(r) = r

Its variance is at most eps ||v||_2^2 for d elements a block,

    eps = 1/8 + (2/9) 4^-s d    if 2^-s sqrt(d) <= 9/4,    else 2^-s sqrt(d) - 1

Proof: a coordinate between two levels l and 2l has variance (2l - r)(r - l) <= r^2 / 8,
one below 2^-s has 2^-s r - r^2. Let t be the share of the square in the small ones:
their r add up to sqrt(d t) at most (Cauchy and Schwarz), so that eps is at most
(1 - t) / 8 + 2^-s sqrt(d t) - t; take the worst t in [0, 1]. (The paper has a bound of
this form; its constants could not be read here.)

Differences from the paper: see `level_sum` for the norm that all workers share, which
may also be the largest element (`norm="linf"`), and `leveled` for the other options.
The authors' code has no level 0 (`levels="authors"`). The message (`path="gather"`) is
a reconstruction from QSGD's: the papers' text could not be read here.
"""

import math
from typing import Any

import numpy as np

from host.compressors.base import Gradient
from host.compressors.leveled import Leveled


class NUQSGD(Leveled):
    """See the module."""

    def __init__(self, *, norm: str = "l2", **options: Any) -> None:
        """See `Leveled`; bits 3, 4 or 5; norm: l2 or linf."""
        super().__init__("exponential", norm, **options)


def variance_bound(bits: int, elements: int) -> float:
    """eps above, of blocks of so many elements."""
    s = 2.0 ** (bits - 1) - 2
    spread = 2.0**-s * math.sqrt(elements)
    return float(1 / 8 + 2 / 9 * spread**2 if spread <= 9 / 4 else spread - 1)


def worst_vector(bits: int, elements: int) -> Gradient:
    """[elements] of norm 1, whose variance is about the bound: the worst share of its
    square in small elements, all alike, and the rest at 4/3 of a level."""
    smallest = 2.0 ** (2 - 2.0 ** (bits - 1))
    left = 1 - min(4 / 9 * smallest * math.sqrt(elements), 1) ** 2
    large: list[float] = []
    size = 2 / 3
    while size > smallest and len(large) < elements:
        if left >= size**2:
            large.append(size)
            left -= size**2
        else:
            size /= 2
    count = elements - len(large)
    rest = max(1 - sum(each**2 for each in large), 0.0)
    small = [math.sqrt(rest / count)] * count if count else []
    return np.array(large + small, np.float32)
