"""Who is in a result, where results go out without workers that are late.

A result says how many are in it, and not who. What each switch has taken from whom
tells: a child's contribution to a chunk stays as it is until the chunk's result is out,
so the tree can be walked down when the root sends that.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.tree import NOBODY, Nodes
from switch.compiled import kernel
from switch.parser import read32
from switch.protocol import AT_SEQUENCE, SEQUENCE_MASK
from switch.replicate import Copies

Bytes = NDArray[np.uint8]


class Roll(NamedTuple):
    """Of one aggregation."""

    children: NDArray[np.uint64]
    """[switches, versions of slots] whose contributions are in it, a bit each."""
    is_in: NDArray[np.bool_]
    """[nodes] scratch."""
    present: NDArray[np.bool_]
    """[chunks, workers] who is in the result; no chunks where all always are."""


def new_roll(nodes: Nodes, num_slots: int, num_chunks: int) -> Roll:
    """`num_chunks`: 0 where switches wait for everybody."""
    return Roll(
        np.zeros((nodes.at_switch.size, 2 * num_slots), np.uint64),
        np.zeros(nodes.switch.size, np.bool_),
        np.zeros((num_chunks, nodes.at_rank.size), np.bool_),
    )


@kernel
def enter(roll: Roll, number: int, slots: NDArray[Any], packet: Bytes) -> None:
    """A switch has taken a contribution. (Bits that a slot gets later, of those that
    are late, are in nothing that goes out.)"""
    if roll.present.shape[0] > 0:
        index = read32(packet, AT_SEQUENCE) & (roll.children.shape[1] - 1)
        roll.children[number, index] = slots[index].bitmap


@kernel
def call(roll: Roll, nodes: Nodes, out: Copies, first: int) -> None:
    """The root sends a result, the first packet of `out`.

    `first`: sequence of chunk 0.
    """
    sequence = read32(out.buffer[out.rows[0].offset :], AT_SEQUENCE)
    chunk = (sequence - first) & SEQUENCE_MASK
    if chunk >= roll.present.shape[0]:  # damaged on its way
        return
    index = sequence & (roll.children.shape[1] - 1)
    roll.is_in[0] = True
    for number in range(nodes.at_switch.size):  # those above come first
        above = roll.is_in[nodes.at_switch[number]]
        bitmap = roll.children[number, index]
        for place in range(nodes.num_children[number]):
            node = nodes.first_child[number] + place
            bit = bitmap >> np.uint64(place) & np.uint64(1)
            is_in = above and bit != np.uint64(0)
            roll.is_in[node] = is_in
            if nodes.rank[node] != NOBODY:
                roll.present[chunk, nodes.rank[node]] = is_in
