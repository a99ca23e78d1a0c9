"""A parameter server: one host adds up what all workers send, and sends each the sum.

Li et al., Scaling distributed machine learning with the parameter server (OSDI 2014),
with one server and synchronous steps. Workers keep a window of chunks outstanding, as
with a switch.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.hosts import Hosts, exact_sums, has_result, post, value_of
from switch.compiled import kernel
from switch.protocol import HEADER_BYTES

Integers = NDArray[np.int64]


class Server(NamedTuple):
    """What the kernels need. The server is the host of the last rank."""

    seed: int
    num_workers: int
    num_chunks: int
    window: int
    up: int
    """Bytes of a contribution."""
    down: int
    """Bytes of a result."""
    sums: Integers
    """[chunks] exact."""
    totals: Integers
    """[chunks] what the server has added up."""
    received: Integers
    """[chunks] contributions in it."""
    sent: Integers
    """[workers] chunks that each has sent."""


def new_server(
    seed: int, num_workers: int, num_chunks: int, window: int, up: int, down: int
) -> Server:
    """`up`, `down`: bytes of payload of a contribution, and of a result."""
    sums, totals, received = np.zeros((3, num_chunks), np.int64)
    exact_sums(seed, num_workers, sums)
    return Server(
        seed, num_workers, num_chunks, window, HEADER_BYTES + up, HEADER_BYTES + down,
        sums, totals, received, np.zeros(num_workers, np.int64),
    )  # fmt: skip


@kernel
def send_next(hosts: Hosts, plan: Server, rank: int, now: float) -> None:
    """A worker's next chunk, if there is one."""
    chunk = plan.sent[rank]
    if chunk < plan.num_chunks:
        plan.sent[rank] += 1
        server = hosts.nodes.at_rank[plan.num_workers]
        value = value_of(plan.seed, rank, chunk)
        node = hosts.nodes.at_rank[rank]
        post(hosts, node, server, chunk, value, plan.up, now)


@kernel
def begin(hosts: Hosts, plan: Server, node: int) -> None:
    rank = hosts.nodes.rank[node]
    if rank < plan.num_workers:
        for _ in range(plan.window):
            send_next(hosts, plan, rank, 0.0)


@kernel
def take(
    hosts: Hosts, plan: Server, node: int, tag: int, value: int, now: float
) -> None:
    rank = hosts.nodes.rank[node]
    if rank < plan.num_workers:
        has_result(hosts, rank, value, plan.sums[tag], now)
        send_next(hosts, plan, rank, now)
        return
    plan.totals[tag] += value
    plan.received[tag] += 1
    if plan.received[tag] == plan.num_workers:
        for worker in range(plan.num_workers):
            to = hosts.nodes.at_rank[worker]
            post(hosts, node, to, tag, plan.totals[tag], plan.down, now)
