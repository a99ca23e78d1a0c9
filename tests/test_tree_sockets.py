"""Trees of real switches on loopback, from their files: exact sums over real UDP, with
packets lost at every switch's ports."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports import free_ports
from real_switch import NEVER, WAIT, RealSwitch, array_of, running, total

from host.agent import AggregationError, Network, attach
from host.fixed_job import FixedPlace
from intswitch.configuration import read_switch
from switch.config import SwitchConfig
from switch.tree import ranks_behind

ROOT, LEFT, RIGHT = range(3)


def files(folder: Path, loss: float) -> tuple[list[SwitchConfig], list[str]]:
    """The switches of two leaves with two workers each, by their files; and the
    workers' addresses."""
    ports = free_ports(7)
    names = [f"127.0.0.1:{port}" for port in ports]
    root, left, right, *workers = names
    jobs = [
        f"workers: [{left}, {right}],"
        " tree: {num_workers: 4, ranks: [[0, 1], [2, 3]]}",
        f"workers: [{workers[0]}, {workers[1]}],"
        f" tree: {{num_workers: 4, ranks: [0, 1], parent: {root}}}",
        f"workers: [{workers[2]}, {workers[3]}],"
        f" tree: {{num_workers: 4, ranks: [2, 3], parent: {root}}}",
    ]
    configs = []
    for number, job in enumerate(jobs):
        path = folder / f"{number}.yaml"
        path.write_text(
            f"switch: {{port: {ports[number]}}}\n"
            f"faults: {{inward: {{loss: {loss}}}, outward: {{loss: {loss}}},"
            f" seed: {number}}}\n"
            f"jobs: [{{job: 7, num_slots: 64, slot_bytes: 256, {job}}}]\n"
        )
        configs.append(read_switch(path))
    return configs, workers


@contextmanager
def tree(
    folder: Path, loss: float = 0.0
) -> Iterator[tuple[list[RealSwitch], list[Network]]]:
    configs, workers = files(folder, loss)
    with ExitStack() as stack:
        switches = [
            stack.enter_context(
                running(**{name: getattr(config, name) for name in config.__slots__})
            )
            for config in configs
        ]
        networks = []
        for rank, data in enumerate(workers):
            leaf = LEFT if rank < 2 else RIGHT
            place = FixedPlace(
                switch=switches[leaf].endpoint, job=7, rank=rank, num_workers=4,
                num_slots=64, slot_bytes=256,
                behind=ranks_behind(configs[leaf].jobs[0]),
            )  # fmt: skip
            networks.append(stack.enter_context(attach(place, data)))
        yield switches, networks


def together(networks: list[Network], work: Any) -> list[Any]:
    """What `work(network)` returns or raises, on every worker at once."""
    found: list[Any] = [None] * len(networks)

    def act(rank: int) -> None:
        try:
            found[rank] = work(networks[rank])
        except Exception as error:
            found[rank] = error

    threads = [
        threading.Thread(target=act, args=(rank,)) for rank in range(len(networks))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    for each in found:
        if isinstance(each, Exception):
            raise each
    return found


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_sums_over_real_switches(loss: float, tmp_path: Path) -> None:
    size = 20_000

    def work(network: Network) -> int:
        for turn in range(3):
            own = array_of(network.rank, size + turn, np.int32, 4)
            expected = total(4, size + turn, np.int32)
            np.testing.assert_array_equal(network.sum(own), expected)
        messages = [bytes([rank]) * 1000 for rank in range(4)]
        assert network.gather(messages[network.rank]) == messages
        small = np.full(5, network.rank, np.int8)
        assert network.max(small).tolist() == [3] * 5
        assert network.broadcast(small, 2).tolist() == [2] * 5
        network.barrier()
        return network.chunks

    with tree(tmp_path, loss) as (switches, networks):
        chunks = set(together(networks, work))
        counters = [switch.settle() for switch in switches]
    (chunks_of_job,) = chunks
    assert chunks_of_job > 3 * size // 64
    for place, counted in enumerate(counters):
        children_and_parent = 2 if place == ROOT else 3
        assert counted["accepted"] == children_and_parent * chunks_of_job
        assert counted["results"] == chunks_of_job
        assert not any(counted[name] for name in NEVER), counted
        assert (counted["lost_in"] > 0, counted["lost_out"] > 0) == (loss > 0,) * 2
    if loss:
        assert sum(networks[rank].statistics.retransmissions for rank in range(4)) > 0


def test_who_is_missing_at_the_own_switch_is_named(tmp_path: Path) -> None:
    with tree(tmp_path) as (_, networks):
        networks[2].timeout = 2.5
        with pytest.raises(
            AggregationError, match=r"timeout after .* s: workers \[3\] are missing"
        ):
            networks[2].sum(np.ones(5, np.int32))
        networks[0].timeout = networks[1].timeout = 2.5
        # all are in at this switch: it waits for the one above
        with pytest.raises(AggregationError, match="s: it takes too long"):
            together(networks[:2], lambda network: network.sum(np.ones(5, np.int32)))


def test_counters_of_a_fixed_job(tmp_path: Path) -> None:
    with tree(tmp_path) as (_, networks):
        together(networks, lambda network: network.barrier())
        assert [each.counters()["results"] for each in networks] == [1] * 4
