"""A switch's ports: their packets in the order in which they arrive."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.air import Air
from switch.compiled import kernel
from switch.protocol import MAX_WORKERS

MOST_PORTS = MAX_WORKERS + 2


class Ports(NamedTuple):
    """Those where a packet waits: a heap, by when it arrives; ties go by number."""

    time: NDArray[np.float64]
    number: NDArray[np.int64]
    """Of the child, or how many there are: the parent."""
    link: NDArray[np.int64]
    size: NDArray[np.int64]
    """[1]"""


def new_ports() -> Ports:
    number, link = np.zeros((2, MOST_PORTS), np.int64)
    return Ports(np.zeros(MOST_PORTS), number, link, np.zeros(1, np.int64))


@kernel
def open_ports(
    ports: Ports, air: Air, node: int, first: int, children: int, until: float
) -> None:
    """The ports of a switch with packets before `until`. `first`: its first child."""
    nodes = air.due.size // 2
    ports.size[0] = 0
    for number in range(children + 1):
        link = first + number if number < children else nodes + node
        if air.due[link] < until:
            ports.size[0] += 1
            sift_up(ports, ports.size[0] - 1, air.due[link], number, link)


@kernel
def next_packet(ports: Ports, air: Air, until: float) -> None:
    """The first port's packet has been taken; go on to the next one."""
    link = ports.link[0]
    if air.due[link] < until:
        sift_down(ports, air.due[link], ports.number[0], link)
        return
    ports.size[0] -= 1
    last = ports.size[0]
    if last > 0:
        sift_down(ports, ports.time[last], ports.number[last], ports.link[last])


@kernel
def comes_before(time: float, number: int, ports: Ports, at: int) -> bool:
    if time == ports.time[at]:
        return bool(number < ports.number[at])
    return bool(time < ports.time[at])


@kernel
def put(ports: Ports, at: int, time: float, number: int, link: int) -> None:
    ports.time[at] = time
    ports.number[at] = number
    ports.link[at] = link


@kernel
def move(ports: Ports, source: int, to: int) -> None:
    put(ports, to, ports.time[source], ports.number[source], ports.link[source])


@kernel
def sift_up(ports: Ports, at: int, time: float, number: int, link: int) -> None:
    """Put an element that comes last into its place."""
    while at > 0:
        above = (at - 1) // 2
        if not comes_before(time, number, ports, above):
            break
        move(ports, above, at)
        at = above
    put(ports, at, time, number, link)


@kernel
def sift_down(ports: Ports, time: float, number: int, link: int) -> None:
    """Put an element that comes first into its place."""
    at = 0
    while 2 * at + 1 < ports.size[0]:
        child = 2 * at + 1
        other = child + 1
        if other < ports.size[0] and comes_before(
            ports.time[other], ports.number[other], ports, child
        ):
            child = other
        if comes_before(time, number, ports, child):
            break
        move(ports, child, at)
        at = child
    put(ports, at, time, number, link)
