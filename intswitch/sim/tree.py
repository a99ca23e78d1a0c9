"""The nodes of a tree, numbered: what the kernels know of who is connected to whom."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.config import Address, JobConfig
from switch.protocol import MAX_WORKERS
from switch.tree import Path, Tree, jobs_of

Integers = NDArray[np.int64]

NOBODY = -1
PORT = 1  # UDP; a node has an address of its own


class Nodes(NamedTuple):
    """Node 0 is the root; the children of a switch follow each other."""

    switch: Integers
    """[nodes] number of the switch, or NOBODY: a worker."""
    rank: Integers
    """[nodes] of the worker, or NOBODY."""
    first_child: Integers
    """[switches] node."""
    num_children: Integers
    """[switches]"""
    at_switch: Integers
    """[switches] its node."""
    at_rank: Integers
    """[workers] its node."""


@dataclass(frozen=True)
class Layout:
    """A tree, its nodes, and each switch's part of a job."""

    nodes: Nodes
    jobs: list[JobConfig]
    """By the switch's number."""
    paths: list[Path]
    """By node; a worker's is that of its place below its switch."""


def lay_out(tree: Tree, job: JobConfig) -> Layout:
    """Number the nodes of `tree`. The addresses of `job.workers` are not looked at.

    Raises ValueError for a switch with more children than a bitmap has bits.
    """
    nodes, paths = number(tree, MAX_WORKERS)
    return Layout(nodes, _jobs(tree, job, paths, nodes), paths)


def number(tree: Tree, most_children: int) -> tuple[Nodes, list[Path]]:
    """The nodes of a tree, and the path of each. Raises ValueError for too many
    children of a switch."""
    everything: list[tuple[Path, Tree | int]] = [((), tree)]
    first_child, num_children = [], []
    for at, below in everything:
        if isinstance(below, int):
            continue
        if not 1 <= len(below) <= most_children:
            raise ValueError(
                f"switch {at or 'root'} has {len(below)} children: allowed are 1 to "
                f"{most_children}; take a tree of more switches"
            )
        first_child.append(len(everything))
        num_children.append(len(below))
        everything += [((*at, place), child) for place, child in enumerate(below)]
    is_rank = [isinstance(below, int) for _, below in everything]
    rank = np.array([below if isinstance(below, int) else NOBODY
                     for _, below in everything])  # fmt: skip
    switch = np.where(is_rank, NOBODY, np.cumsum(np.logical_not(is_rank)) - 1)
    at_rank = np.flatnonzero(rank != NOBODY)
    nodes = Nodes(
        switch, rank, np.array(first_child), np.array(num_children),
        np.flatnonzero(switch != NOBODY), at_rank[np.argsort(rank[at_rank])],
    )  # fmt: skip
    paths = [path for path, _ in everything]
    return nodes, paths


def _jobs(
    tree: Tree, job: JobConfig, paths: list[Path], nodes: Nodes
) -> list[JobConfig]:
    workers = tuple(address_of(node) for node in nodes.at_rank.tolist())
    switches = {paths[node]: address_of(node) for node in nodes.at_switch.tolist()}
    if len(switches) == 1 and tree == tuple(range(len(tree))):
        return [replace(job, workers=workers)]
    jobs = jobs_of(tree, replace(job, workers=workers), switches)
    return [jobs[paths[node]] for node in nodes.at_switch.tolist()]


def address_of(node: int) -> Address:
    return f"10.{node >> 16}.{node >> 8 & 0xFF}.{node & 0xFF}", PORT


def tree_of(fanouts: tuple[int, ...]) -> Tree:
    """A tree whose switches have equally many children on each level, those above
    first: (2, 4) are two switches with four workers each, below a root."""

    def build(level: int, first: int) -> Tree:
        if level == len(fanouts) - 1:
            return tuple(range(first, first + fanouts[level]))
        below = int(np.prod(fanouts[level + 1 :]))
        return tuple(
            build(level + 1, first + each * below) for each in range(fanouts[level])
        )

    return build(0, 0)
