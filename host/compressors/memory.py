"""What a compressor remembers of a gradient from one step to the next."""

from typing import Any

import numpy as np

from host.compressors.base import Gradient, Layout


class Memory:
    """A float32 vector, by block: blocks may come in another order, or some of them in
    another call, as when DDP rebuilds its buckets. Zero at first."""

    def __init__(self) -> None:
        self.blocks: dict[str, Gradient] = {}

    def of(self, name: str, size: int) -> Gradient:
        """[size] the block itself. Raises ValueError if it had another size before."""
        if name not in self.blocks:
            self.blocks[name] = np.zeros(size, np.float32)
        block = self.blocks[name]
        if len(block) != size:
            raise ValueError(
                f"blocks: {name} has {size} elements: must have {len(block)}, "
                "as in the steps before"
            )
        return block

    def vector(self, layout: Layout) -> Gradient:
        """[d] a copy of these blocks, one after the other."""
        vector = np.zeros(int(layout.ends[-1]), np.float32)
        self.add_to(vector, layout, 1)
        return vector

    def add_to(self, vector: Gradient, layout: Layout, sign: int) -> None:
        """vector += sign * memory."""
        for name, part in layout.split(vector):
            part += np.float32(sign) * self.of(name, len(part))

    def add(self, vector: Gradient, layout: Layout) -> None:
        """memory += vector."""
        for name, part in layout.split(vector):
            block = self.of(name, len(part))
            block += part

    def store(self, vector: Gradient, layout: Layout) -> None:
        """memory = vector."""
        for name, part in layout.split(vector):
            self.of(name, len(part))[:] = part

    def state_dict(self) -> dict[str, Any]:
        return {name: block.copy() for name, block in self.blocks.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.blocks = {name: block.copy() for name, block in state.items()}
