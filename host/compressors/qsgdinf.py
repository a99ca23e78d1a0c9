"""QSGDinf: QSGD's levels, of the largest element instead of the Euclidean norm.

As in Alistarh et al.'s experiments (NeurIPS 2017), and NUQSGD's (Ramezani-Kebrya et
al., arXiv 1908.06077), which name it. The largest element of a block is far below its
Euclidean norm, and so are the levels: much less noise, but no longer few elements that
are not zero. See `qsgd`.
"""

from typing import Any

from host.compressors.leveled import Leveled


class QSGDinf(Leveled):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        """See `Leveled`; bits 2 to 8."""
        super().__init__("uniform", "linf", **options)
