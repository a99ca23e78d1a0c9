"""Equal parts of what is aggregated: each begins with a chunk of its own."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel

Integers = NDArray[np.int64]


class Segments(NamedTuple):
    """How the parts lie in an aggregation."""

    number: int
    elements: int
    """Of a part."""
    elements_per_chunk: int

    @property
    def chunks(self) -> int:
        """Of a part."""
        return -(-self.elements // self.elements_per_chunk)

    @property
    def all_chunks(self) -> int:
        return self.number * self.chunks

    def range_of(self, part: int) -> tuple[int, int]:
        """A part's chunks."""
        return part * self.chunks, (part + 1) * self.chunks

    def starts(self) -> Integers:
        """[chunks of all parts] index of each one's first element."""
        within = np.arange(self.chunks) * self.elements_per_chunk
        return np.add.outer(np.arange(self.number) * self.elements, within).reshape(-1)

    def ends(self) -> Integers:
        """[chunks of all parts] index after each one's last element."""
        after = np.arange(1, self.chunks + 1) * self.elements_per_chunk
        within = np.minimum(after, self.elements)
        return np.add.outer(np.arange(self.number) * self.elements, within).reshape(-1)


@kernel
def elements_of(segments: Segments, chunk: int) -> tuple[int, int]:
    """Which are a chunk's: from, and up to."""
    chunks = -(-segments.elements // segments.elements_per_chunk)
    part = chunk // chunks
    start = part * segments.elements
    end = start + segments.elements
    start += (chunk - part * chunks) * segments.elements_per_chunk
    return start, min(start + segments.elements_per_chunk, end)


def whole_of(elements: int, elements_per_chunk: int) -> Segments:
    """One part."""
    return Segments(1, elements, elements_per_chunk)


class Parts(NamedTuple):
    """Parts that go to one worker each."""

    segments: Segments
    owners: Integers
    """[parts] rank of each part's worker; ascending."""

    @property
    def recipients(self) -> Integers:
        """[chunks of all parts]"""
        return np.repeat(self.owners, self.segments.chunks)


def one_each(segments: Segments) -> Parts:
    """Every worker has one."""
    return Parts(segments, np.arange(segments.number))
