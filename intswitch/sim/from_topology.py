"""A topology as a simulation has it: the tree of its switches, and their cables."""

from __future__ import annotations

import numpy as np

from intswitch.sim.cables import Cable
from intswitch.topology import JobPart, LinkPart, Topology
from switch.tree import Path, Tree

RATE = 100e9
"""bit/s of a link that says nothing of its rate."""


def tree_of_job(topology: Topology, job: JobPart) -> tuple[Tree, dict[Path, Cable]]:
    """The switches that lead to a job's workers, and what is above each node.

    Raises ValueError for links that make no tree.
    """
    above = topology.tree()
    at: dict[str, list[int | str]] = {switch: [] for switch in above}
    for rank, host in enumerate(job.workers):
        at[topology.switch_of(host)].append(rank)
    for switch, parent in reversed(above.items()):
        if parent is not None and at[switch]:
            at[parent].append(switch)
    links = {frozenset(link.between): link for link in topology.links}
    cables: dict[Path, Cable] = {}

    def build(switch: str, path: Path) -> Tree:
        children = []
        for place, child in enumerate(at[switch]):
            here = (*path, place)
            name = child if isinstance(child, str) else job.workers[child]
            link = links[frozenset((switch, name))]
            cables[here] = cable_of(link, name, switch)
            children.append(build(child, here) if isinstance(child, str) else child)
        return tuple(children)

    return build(next(iter(above)), ()), cables


def cable_of(link: LinkPart, below: str, above: str) -> Cable:
    return Cable(
        rate=RATE if link.rate is None else link.rate,
        delay=0.0,
        queue=np.inf if link.queue is None else link.queue,
        up=link.to(above).faults(),
        down=link.to(below).faults(),
    )
