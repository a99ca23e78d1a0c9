"""All-reduce without a switch that adds: a ring, a parameter server."""

from __future__ import annotations

from typing import Any

import numpy as np

from intswitch.sim import ring, server
from intswitch.sim.air import new_air
from intswitch.sim.cables import Cable, links_of, shortest
from intswitch.sim.hosts import Hosts, Outcome, play
from intswitch.sim.ports import MOST_PORTS, new_ports
from intswitch.sim.tree import NOBODY, Nodes, number
from switch.config import PERFECT
from switch.protocol import HEADER_BYTES
from switch.tree import Tree, ranks_of

BLOCKS = 1  # packets lie in no block here


def ring_all_reduce(
    tree: Tree, cable: Cable, vector_bytes: int, payload: int, seed: int = 0
) -> Outcome:
    """Each worker of `tree` sends to the next by rank. `payload`: bytes of a packet."""
    num_workers = len(ranks_of(tree))
    plan = ring.new_ring(seed, num_workers, vector_bytes, payload)
    hosts = new_hosts(tree, cable, 4 * plan.sums.size)
    hosts.left[:] = plan.sums.size
    return play(hosts, plan, ring.begin, ring.take, plan.packets + 1)


def parameter_server(
    tree: Tree,
    cable: Cable,
    num_chunks: int,
    window: int,
    up: int,
    down: int,
    seed: int = 0,
) -> Outcome:
    """One more host at the root of `tree` adds up. `up`, `down`: payloads in bytes."""
    num_workers = len(ranks_of(tree))
    hosts = new_hosts((*tree, num_workers), cable, 4 * num_workers * window)
    plan = server.new_server(seed, num_workers, num_chunks, window, up, down)
    hosts.left[:num_workers] = num_chunks
    return play(hosts, plan, server.begin, server.take, max(window, num_workers) + 1)


def new_hosts(tree: Tree, cable: Cable, flights: int) -> Hosts:
    """Every node of a tree, nothing under way.

    Raises ValueError for a cable with faults: these protocols repair nothing.
    """
    if cable.up != PERFECT or cable.down != PERFECT:
        raise ValueError("cable: ring and parameter server need one without faults")
    nodes, paths = number(tree, MOST_PORTS - 1)
    links, lines = links_of(paths, nodes, {}, cable, 0)
    air = new_air(links, lines, HEADER_BYTES, flights, BLOCKS)
    words, wrong = np.zeros((2, 2), np.int64)
    times = np.array([0.0, shortest(links)])
    finished = np.zeros(nodes.at_rank.size)
    left = np.zeros(nodes.at_rank.size, np.int64)
    above = above_of(nodes, len(paths))
    return Hosts(nodes, above, air, new_ports(), times, words, finished, left, wrong)


def above_of(nodes: Nodes, count: int) -> Any:
    """[nodes] the node above each."""
    above = np.full(count, NOBODY)
    for at, first, children in zip(
        nodes.at_switch, nodes.first_child, nodes.num_children, strict=True
    ):
        above[first : first + children] = at
    return above
