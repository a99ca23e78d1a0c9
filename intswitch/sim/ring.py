"""Ring all-reduce: reduce-scatter, then all-gather, each worker to the next by rank.

Patarasu and Yuan, Bandwidth optimal all-reduce algorithms (2009), section 4; the vector
is cut into as many segments as there are workers, and a segment into packets that go on
as soon as they are there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.hosts import Hosts, exact_sums, has_result, post, value_of
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES

STEP_BITS = 16
STEP_MASK = (1 << STEP_BITS) - 1


class Ring(NamedTuple):
    """What the kernels need."""

    seed: int
    num_workers: int
    packets: int
    """Of a segment."""
    length: int
    """Bytes of a packet."""
    sums: NDArray[np.int64]
    """[segments * packets] exact."""


def new_ring(seed: int, num_workers: int, vector_bytes: int, payload: int) -> Ring:
    """`payload`: bytes that a packet carries at most."""
    segment = -(-vector_bytes // num_workers)
    packets = -(-segment // payload)
    sums = np.zeros(num_workers * packets, np.int64)
    exact_sums(seed, num_workers, sums)
    length = HEADER_BYTES + -(-segment // packets)
    return Ring(seed, num_workers, packets, length, sums)


@kernel
def pass_on(
    hosts: Hosts, plan: Ring, rank: int, item: int, step: int, value: int, now: float
) -> None:
    """Send an item to the next worker, which is its `step`-th way."""
    to = hosts.nodes.at_rank[(rank + 1) % plan.num_workers]
    tag = item << STEP_BITS | step
    post(hosts, hosts.nodes.at_rank[rank], to, tag, value, plan.length, now)


@kernel
def begin(hosts: Hosts, plan: Ring, node: int) -> None:
    """Each worker begins with the segment of its own rank."""
    rank = hosts.nodes.rank[node]
    for item in range(rank * plan.packets, (rank + 1) * plan.packets):
        pass_on(hosts, plan, rank, item, 0, value_of(plan.seed, rank, item), 0.0)


@kernel
def take(hosts: Hosts, plan: Ring, node: int, tag: int, value: int, now: float) -> None:
    """Add one's own, while a segment goes around for the first time; then keep it."""
    rank = hosts.nodes.rank[node]
    item, step = tag >> STEP_BITS, tag & STEP_MASK
    whole = plan.num_workers - 2  # the step with which a sum is complete
    if step <= whole:
        value += value_of(plan.seed, rank, item)
    if step >= whole:
        has_result(hosts, rank, value, plan.sums[item], now)
    if step < 2 * whole + 1:
        pass_on(hosts, plan, rank, item, step + 1, value, now)
