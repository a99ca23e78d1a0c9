"""Seeded faults at the switch's ports: a packet in, or one copy out, is lost.

Whether the n-th packet of a direction is lost depends on the seed and n alone, so that
a run repeats. (Delay, duplication and reordering come with the simulator.)
"""

from typing import Any

import numpy as np

from switch.compiled import kernel
from switch.config import FaultConfig
from switch.udp import Rows

IN, OUT = 0, 1


@kernel
def uniform(seed: int, direction: int, number: int) -> float:
    """A number in [0, 1) for packet `number` of a direction (SplitMix64)."""
    z = np.uint64(seed) + np.uint64(direction) * np.uint64(0xD1342543DE82EF95)
    z += np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return float(z >> np.uint64(11)) * 2.0**-53


@kernel
def lose_rows(rows: Rows, count: int, loss: float, seed: int, first: int) -> int:
    """Remove lost packets; how many are left. `first`: number of the first packet."""
    kept = 0
    for row in range(count):
        if uniform(seed, IN, first + row) >= loss:
            rows.offset[kept] = rows.offset[row]
            rows.length[kept] = rows.length[row]
            rows.source[kept] = rows.source[row]
            kept += 1
    return kept


@kernel
def lose_copies(copies: Any, count: int, loss: float, seed: int, first: int) -> int:
    """The same for records of `switch.udp.PACKET`."""
    kept = 0
    for row in range(count):
        if uniform(seed, OUT, first + row) >= loss:
            copies[kept].offset = copies[row].offset
            copies[kept].length = copies[row].length
            copies[kept].destination = copies[row].destination
            kept += 1
    return kept


class Faults:
    """What is lost on the way in and out, and how much it was."""

    def __init__(self, config: FaultConfig) -> None:
        self.config = config
        self.seen = [0, 0]
        self.lost = [0, 0]

    def on_receive(self, rows: Rows, count: int) -> int:
        """Remove from `rows` what is lost on its way in; the number left."""
        if self.config.loss_in <= 0:
            return count
        first, loss = self.seen[IN], self.config.loss_in
        return self._count(
            IN, count, lose_rows(rows, count, loss, self.config.seed, first)
        )

    def on_send(self, copies: Any, count: int) -> int:
        """Remove from `copies` what is lost on its way out; the number left."""
        if self.config.loss_out <= 0:
            return count
        first, loss = self.seen[OUT], self.config.loss_out
        return self._count(
            OUT, count, lose_copies(copies, count, loss, self.config.seed, first)
        )

    def _count(self, direction: int, count: int, kept: int) -> int:
        self.seen[direction] += int(count)
        self.lost[direction] += int(count) - kept
        return kept
