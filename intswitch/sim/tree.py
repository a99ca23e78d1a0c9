"""The nodes of a tree, numbered: what the kernels know of who is connected to whom."""

from collections.abc import Mapping, Sequence
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
    """A tree, its nodes, and each switch's part of every job."""

    nodes: Nodes
    jobs: list[dict[int, JobConfig]]
    """By the switch's number: those that pass through it, by their rows."""
    members: list[tuple[int, ...]]
    """By row of the job: its workers' numbers in the tree, by their rank in the job."""
    paths: list[Path]
    """By node; a worker's is that of its place below its switch."""

    def ports_of(self, number: int) -> list[Address]:
        """Addresses of a switch's children, in their order, then of its parent."""
        nodes = self.nodes
        first, count = int(nodes.first_child[number]), int(nodes.num_children[number])
        path = self.paths[nodes.at_switch[number]]
        above = [self.paths.index(path[:-1])] if path else []
        return [address_of(node) for node in [*range(first, first + count), *above]]


def lay_out(
    tree: Tree, jobs: Sequence[JobConfig], members: Sequence[tuple[int, ...]]
) -> Layout:
    """Number the nodes of `tree`, whose workers belong to several jobs.

    `members`: see `Layout`. The addresses of `workers` are not looked at. Every job
    passes through the root. Raises ValueError for a switch with more children than a
    bitmap has bits.
    """
    nodes, paths = number(tree, MAX_WORKERS)
    at = {path: node for node, path in enumerate(paths)}
    passing: list[dict[int, JobConfig]] = [{} for _ in nodes.at_switch]
    for row, (job, own) in enumerate(zip(jobs, members, strict=True)):
        here = replace(
            job, workers=tuple(address_of(int(nodes.at_rank[each])) for each in own)
        )
        part, whole = part_of(tree, {each: rank for rank, each in enumerate(own)})
        addresses = {path: address_of(at[whole[path]]) for path in whole}
        if len(whole) == 1 and part == tuple(range(len(part))):
            passing[0][row] = here
            continue
        for path, config in jobs_of(part, here, addresses).items():
            passing[nodes.switch[at[whole[path]]]][row] = config
    return Layout(nodes, passing, list(members), paths)


def part_of(tree: Tree, rank_of: Mapping[int, int]) -> tuple[Tree, dict[Path, Path]]:
    """What of a tree leads to some workers, which have other ranks there; and where
    each of its switches is in the whole tree. The root stays, whatever it leads to."""
    children: list[Tree | int] = []
    whole: dict[Path, Path] = {(): ()}
    for place, child in enumerate(tree):
        if isinstance(child, int):
            children += [rank_of[child]] if child in rank_of else []
            continue
        below, paths = part_of(child, rank_of)
        if below:
            for own, there in paths.items():
                whole[(len(children), *own)] = (place, *there)
            children.append(below)
    return tuple(children), whole


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
