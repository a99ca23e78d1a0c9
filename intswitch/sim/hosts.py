"""Hosts that talk to each other through switches that only forward: what collectives
without in-network aggregation run on, over the same links in the same virtual time.

A packet has no bytes here: what it would carry stands in its header as two numbers,
where it goes and what for, and a value in place of the payload, which is summed as
payloads are and checked against the exact sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import write8
from intswitch.sim.air import NEVER, NONE, Air, enlarge, has_room, land
from intswitch.sim.links import transmit
from intswitch.sim.loop import CROWDED, DONE
from intswitch.sim.payloads import mixed
from intswitch.sim.ports import Ports, next_packet, open_ports
from intswitch.sim.tree import NOBODY, Nodes
from switch.compiled import kernel, specialize

Integers = NDArray[np.int64]
Times = NDArray[np.float64]

DESTINATION_BITS = 20
DESTINATION_MASK = (1 << DESTINATION_BITS) - 1


class Hosts(NamedTuple):
    """All that the kernels step."""

    nodes: Nodes
    above: Integers
    """[nodes] the node above, or NOBODY."""
    air: Air
    ports: Ports
    now: Times
    """[2] the end of the stretch of time at hand; how long a stretch can be."""
    words: Integers
    """[2] header of the packet at hand: destination and tag, value."""
    finished: Times
    """[workers] when each had its last result."""
    left: Integers
    """[workers] results that it still waits for."""
    wrong: Integers
    """[2] results that were not the exact sum; results checked."""


@kernel
def value_of(seed: int, rank: int, item: int) -> int:
    """What a worker contributes to an item of the sum, in place of a payload."""
    key = mixed(np.uint32(seed) ^ mixed(np.uint32(rank + 1)))
    return int(mixed(key ^ np.uint32(item)))


@kernel
def exact_sums(seed: int, num_workers: int, sums: Integers) -> None:
    for rank in range(num_workers):
        for item in range(sums.size):
            sums[item] += value_of(seed, rank, item)


@kernel
def post(
    hosts: Hosts, node: int, to: int, tag: int, value: int, length: int, now: float
) -> None:
    """Send a packet of so many bytes from the host at `node` to the one at `to`."""
    hosts.words[0] = tag << DESTINATION_BITS | to
    hosts.words[1] = value
    header = hosts.words.view(np.uint8)
    transmit(hosts.air, node, NONE, header, length, now)


@kernel
def has_result(hosts: Hosts, rank: int, value: int, expected: int, now: float) -> None:
    """A worker has the sum of one more item."""
    hosts.wrong[0] += value != expected
    hosts.wrong[1] += 1
    hosts.left[rank] -= 1
    if hosts.left[rank] == 0:
        hosts.finished[rank] = now


@kernel
def link_toward(hosts: Hosts, node: int, to: int) -> int:
    """The link on which a switch passes on what goes to a host."""
    at = to
    while at != NOBODY:
        if hosts.above[at] == node:
            return int(hosts.above.size + at)
        at = hosts.above[at]
    return node


@kernel
def forward(hosts: Hosts, node: int, until: float) -> bool:
    """Pass on what reaches a switch before `until`; False: there is no room."""
    air, ports = hosts.air, hosts.ports
    number = hosts.nodes.switch[node]
    first, children = hosts.nodes.first_child[number], hosts.nodes.num_children[number]
    open_ports(ports, air, node, first, children, until)
    while ports.size[0] > 0:
        if not has_room(air, 2, 0):
            return False
        now = ports.time[0]
        flight = air.flights[land(air, ports.link[0])]
        length = flight.length
        header = hosts.words.view(np.uint8)
        write8(header, flight.header)
        link = link_toward(hosts, node, hosts.words[0] & DESTINATION_MASK)
        transmit(air, link, NONE, header, length, now)
        next_packet(ports, air, until)
    return True


def begin(hosts: Hosts, plan: Any, node: int) -> None:
    """Stands for a protocol's kernel: what a host sends at the beginning."""
    raise NotImplementedError


def take(hosts: Hosts, plan: Any, node: int, tag: int, value: int, now: float) -> None:
    """Stands for a protocol's kernel: what a packet causes at a host."""
    raise NotImplementedError


def listen(hosts: Hosts, plan: Any, node: int, until: float, most: int) -> bool:
    """What reaches a host before `until`; False: there is no room for what one packet
    can cause, `most` others."""
    air, link = hosts.air, hosts.above.size + node
    while air.due[link] < until:
        if not has_room(air, most, 0):
            return False
        flight = air.flights[land(air, link)]
        now = flight.arrives
        write8(hosts.words.view(np.uint8), flight.header)
        take(hosts, plan, node, hosts.words[0] >> DESTINATION_BITS, hosts.words[1], now)
    return True


def run(hosts: Hosts, plan: Any, most: int) -> int:
    """Until nothing is under way any more; DONE, or CROWDED: there is no room."""
    nodes = hosts.above.size
    while True:
        until = hosts.now[0]
        for node in range(nodes):
            if hosts.nodes.switch[node] < 0:
                done = listen(hosts, plan, node, until, most)
            else:
                done = forward(hosts, node, until)
            if not done:
                return CROWDED
        earliest = NEVER
        for at in range(hosts.air.due.size):
            earliest = min(earliest, hosts.air.due[at])
        if earliest == NEVER:
            return DONE
        hosts.now[0] = earliest + hosts.now[1]


@cache
def loop_of(take: Callable[..., None]) -> Any:
    return specialize(run, listen=specialize(listen, take=take))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A collective among hosts. Virtual seconds."""

    seconds: float
    packet_hops: int
    hop_bytes: int
    wrong: int
    checked: int


def play(
    hosts: Hosts, plan: Any, begin: Callable[..., None], take: Callable[..., None],
    most: int,
) -> Outcome:  # fmt: skip
    """Run a protocol. `most`: packets that one packet, or the beginning of one host,
    can cause."""
    for node in hosts.nodes.at_rank:
        while not has_room(hosts.air, most, 0):
            hosts = hosts._replace(air=enlarge(hosts.air))
        begin(hosts, plan, node)
    loop = loop_of(take)
    while loop(hosts, plan, most) == CROWDED:
        hosts = hosts._replace(air=enlarge(hosts.air))
    if hosts.left.any():
        raise RuntimeError(f"{hosts.left.sum()} results are missing in the end")
    return Outcome(
        seconds=float(hosts.finished.max()),
        packet_hops=int(hosts.air.links["packets"].sum()),
        hop_bytes=int(hosts.air.links["bytes"].sum()),
        wrong=int(hosts.wrong[0]),
        checked=int(hosts.wrong[1]),
    )
