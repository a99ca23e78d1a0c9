"""Equal parts of one aggregation, one a worker: each begins with a chunk of its own."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Segments(NamedTuple):
    """How the parts lie in an aggregation."""

    workers: int
    elements: int
    """Of a part."""
    elements_per_chunk: int

    @property
    def chunks(self) -> int:
        """Of a part."""
        return -(-self.elements // self.elements_per_chunk)

    @property
    def all_chunks(self) -> int:
        return self.workers * self.chunks

    def range_of(self, rank: int) -> tuple[int, int]:
        """A part's chunks."""
        return rank * self.chunks, (rank + 1) * self.chunks

    def owners(self) -> NDArray[np.int64]:
        """[chunks of all parts] the rank of each."""
        return np.repeat(np.arange(self.workers), self.chunks)
