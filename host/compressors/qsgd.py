"""QSGD: uniform levels of the Euclidean norm.

Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding" (NeurIPS 2017). With r = |v_i| / ||v||_2 of a block (their
bucket) v, and s = 2^(bits-1) - 1:

    Q(v_i) = ||v||_2 sign(v_i) h(r),    h(r) in {0, 1/s, 2/s, ..., 1},    E h(r) = r

Its variance is at most min(d / s^2, sqrt(d) / s) ||v||_2^2 for d elements a block.

Differences from the paper: see `level_sum` for the norm that all workers share, and
`leveled` for the options.
"""

import math
from typing import Any

from host.compressors.leveled import Leveled


class QSGD(Leveled):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        """See `Leveled`; bits 2 to 8."""
        super().__init__("uniform", "l2", **options)


def variance_bound(bits: int, elements: int) -> float:
    """min(d / s^2, sqrt(d) / s), of blocks of so many elements."""
    share = math.sqrt(elements) / (2.0 ** (bits - 1) - 1)
    return float(min(share**2, share))
