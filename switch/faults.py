"""Seeded faults at the switch's ports: a packet in, or one copy out, is lost.

Whether the n-th packet of a direction is lost depends on the seed and n alone, so that
a run repeats. (Delay, duplication and reordering come with the simulator.)
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import FaultConfig
from switch.udp import Rows

Integers = NDArray[np.int64]

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


class Faults(NamedTuple):
    """What is lost on the way in and out, and how much it was."""

    loss_in: float
    loss_out: float
    seed: int
    seen: Integers
    """[2] packets in, copies out."""
    lost: Integers
    """[2] of these."""


def new_faults(config: FaultConfig) -> Faults:
    """Nothing seen yet."""
    counts = np.zeros((2, 2), np.int64)
    return Faults(config.loss_in, config.loss_out, config.seed, counts[0], counts[1])


@kernel
def tally(faults: Faults, direction: int, count: int, kept: int) -> int:
    faults.seen[direction] += count
    faults.lost[direction] += count - kept
    return kept


@kernel
def on_receive(faults: Faults, rows: Rows, count: int) -> int:
    """Remove from `rows` what is lost on its way in; the number left."""
    if faults.loss_in <= 0:
        return count
    kept = lose_rows(rows, count, faults.loss_in, faults.seed, faults.seen[IN])
    return tally(faults, IN, count, kept)


@kernel
def on_send(faults: Faults, copies: Any, count: int) -> int:
    """Remove from `copies` what is lost on its way out; the number left."""
    if faults.loss_out <= 0:
        return count
    kept = lose_copies(copies, count, faults.loss_out, faults.seed, faults.seen[OUT])
    return tally(faults, OUT, count, kept)
