"""Equal parts of one aggregation, one a worker: each begins with a chunk of its own."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Integers


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
    def width(self) -> int:
        """Elements of a part and what pads it to whole chunks."""
        return self.chunks * self.elements_per_chunk

    def range_of(self, rank: int) -> tuple[int, int]:
        """A part's chunks."""
        return rank * self.chunks, (rank + 1) * self.chunks

    def owners(self) -> Integers:
        """[chunks of all parts] the rank of each."""
        return np.repeat(np.arange(self.workers), self.chunks)

    def aligned(self, parts: NDArray[Any]) -> NDArray[Any]:
        """[workers, ...] -> [workers * width], each part padded with zeros. Not copied
        where there is nothing to pad."""
        flat = parts.reshape(self.workers, self.elements)
        if self.width != self.elements:
            flat = np.pad(flat, ((0, 0), (0, self.width - self.elements)))
        return flat.reshape(-1)

    def parts(self, aligned: NDArray[Any]) -> NDArray[Any]:
        """[workers * width] -> [workers, elements], contiguous."""
        rows = aligned.reshape(self.workers, self.width)[:, : self.elements]
        return np.ascontiguousarray(rows)
