"""What a compressor remembers of a gradient from one step to the next."""

from typing import Any

import numpy as np

from host.compressors.base import Layout, copy_of, joined, moved, new_mean


class Memory:
    """A float32 vector, by block: blocks may come in another order, or some of them in
    another call, as when DDP rebuilds its buckets. Zero at first. A block lies where
    the last vector did that it had to do with: here, or on a device."""

    def __init__(self) -> None:
        self.blocks: dict[str, Any] = {}

    def of(self, name: str, part: Any) -> Any:
        """The block itself, where the part lies. Raises ValueError if it had another
        size before."""
        block = self.blocks.get(name)
        if block is None:
            block = new_mean(part)
            block[:] = 0
        elif len(block) != len(part):
            raise ValueError(
                f"blocks: {name} has {len(part)} elements: must have {len(block)}, "
                "as in the steps before"
            )
        self.blocks[name] = moved(block, part)
        return self.blocks[name]

    def vector(self, layout: Layout) -> Any:
        """[d] a copy of these blocks, one after the other. There must have been all."""
        return joined([self.blocks[name] for name in layout.names])

    def add_to(self, vector: Any, layout: Layout, sign: int) -> None:
        """vector += sign * memory."""
        for name, part in layout.split(vector):
            part += sign * self.of(name, part)

    def add(self, vector: Any, layout: Layout) -> None:
        """memory += vector."""
        for name, part in layout.split(vector):
            block = self.of(name, part)
            block += part

    def store(self, vector: Any, layout: Layout) -> None:
        """memory = vector."""
        for name, part in layout.split(vector):
            self.of(name, part)[:] = part

    def state_dict(self) -> dict[str, Any]:
        here = np.empty(0, np.float32)
        return {
            name: copy_of(moved(block, here)) for name, block in self.blocks.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.blocks = {name: block.copy() for name, block in state.items()}
