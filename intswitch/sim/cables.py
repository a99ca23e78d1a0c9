"""What connects the nodes of a tree, and the links that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intswitch.sim.air import LINK
from intswitch.sim.links import SMALLEST_FRAME
from intswitch.sim.tree import Nodes
from switch.config import PERFECT, LinkFaults
from switch.faults import IN, LINE, OUT, line_of
from switch.tree import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """What connects a node to its parent."""

    rate: float = 100e9
    """bit/s, each way."""
    delay: float = 1e-6
    """Seconds, one way."""
    queue: float = np.inf
    """Bytes that may wait at a switch's end; a host waits for its own end instead."""
    up: LinkFaults = PERFECT
    """What happens to packets on the way to the parent. A delay here is added."""
    down: LinkFaults = PERFECT
    """The same on the way from the parent."""

    def __post_init__(self) -> None:
        """Raises ValueError for what no cable is."""
        if not self.rate > 0:
            raise ValueError(f"rate {self.rate:g} bit/s: must be more than 0")
        if not 0 <= self.delay < np.inf:
            raise ValueError(f"delay {self.delay:g} s: must be 0 or more")
        if (
            self.delay == 0 == min(self.up.delay, self.down.delay)
            and self.rate == np.inf
        ):
            raise ValueError("a cable needs a rate or a delay, or time stands still")


def links_of(
    paths: list[Path],
    nodes: Nodes,
    cables: Mapping[Path, Cable],
    rest: Cable,
    seed: int,
) -> tuple[Any, Any]:
    """Records of LINK and of LINE: to the parent of each node, then from it.

    `cables`: by the path of the node below, where it is not `rest`.
    """
    links = np.zeros(2 * len(paths), LINK).view(np.recarray)
    lines = np.zeros(2 * len(paths), LINE).view(np.recarray)
    for node, path in enumerate(paths):
        cable = cables.get(path, rest)
        ends = ((node, IN, cable.up), (len(paths) + node, OUT, cable.down))
        for at, direction, faults in ends:
            lines[at] = line_of(faults, seed, direction, node)
            links[at].byte_time = 8 / cable.rate
            links[at].delay = cable.delay + faults.delay
            links[at].queue_bytes = cable.queue
            links[at].is_faulty = replace(faults, delay=0.0) != PERFECT
    links.queue_bytes[nodes.at_rank] = np.inf
    return links, lines


def shortest(links: Any) -> float:
    """Seconds: no packet takes less from one node to the next."""
    below = np.arange(links.size) % (links.size // 2) > 0  # the root has no link up
    times = links.delay + links.byte_time * SMALLEST_FRAME
    return float(np.min(times[below]))
