"""Trees with BMv2 in them: beside emulated switches and other BMv2s, over lossy links,
and against the emulated switch on random packets.
"""

import random
from dataclasses import replace

import pytest
from bmv2 import PACKETS, Bmv2, by_receiver
from test_bmv2_differential import compare_counters
from test_golden import shown
from test_tree import INNER_JOB, LINKS, TREES, InnerTraffic, sums
from traffic import config_of
from world import SWITCH, World

from switch.pipeline import Pipeline
from switch.protocol import Rule
from switch.tree import Path, ranks_of

BATCH = 20  # between two resets: many packets stop the traffic

# Which switches of which tree are BMv2: programmed over Thrift, and over P4Runtime.
CHAINS: dict[str, tuple[str, dict[Path, str]]] = {
    "leaf under an emulated root": ("two leaves", {(0,): "bmv2"}),
    "emulated leaves under a root": ("uneven", {(): "bmv2"}),
    "leaf and root": ("two leaves", {(0,): "bmv2", (): "bmv2_grpc"}),
    "inner switch and leaf": ("deep", {(0,): "bmv2", (0, 0): "bmv2_grpc"}),
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("chain", CHAINS)
def test_sums_are_exact(chain: str, link: str, request: pytest.FixtureRequest) -> None:
    """As those of emulated switches are, whose place some of BMv2 take."""
    name, real = CHAINS[chain]
    tree = TREES[name]
    world = World(len(ranks_of(tree)), num_slots=4, link=LINKS[link], tree=tree)
    for number, at in enumerate(world.switches):
        if at in real:
            switch: Bmv2 = request.getfixturevalue(real[at])
            switch.configure(world.switches[at].config)
            world.of_name[SWITCH[0], SWITCH[1] + number] = switch  # type: ignore[assignment]
    sizes = (1, 100) if link == "everything" else (1, 40)
    for size in sizes:
        sums(world, size)
    chunks = 1 + -(-sizes[1] // 16)
    for number, at in enumerate(world.switches):
        if at not in real:
            continue
        counters = world.of_name[SWITCH[0], SWITCH[1] + number].counters()
        children = len(world.switches[at].config.jobs[0].workers)
        assert counters["results"] == chunks
        # below the root, also every result
        assert counters["accepted"] == (children + bool(at)) * chunks


@pytest.mark.parametrize("name", ["bmv2", "bmv2_grpc"])
def test_emulator_and_bmv2_agree(name: str, request: pytest.FixtureRequest) -> None:
    """On packets of a worker, of a switch below and of the parent, not all honest."""
    bmv2: Bmv2 = request.getfixturevalue(name)
    config = config_of(Rule.SAFE, replace(INNER_JOB, code8=(*range(-16, 16),) * 8))
    emulated = Pipeline(config)
    bmv2.configure(config)
    rng = random.Random(77)
    for _ in range(0, PACKETS, BATCH):
        for switch in (emulated, bmv2):
            switch.reset(INNER_JOB.job)
        traffic = InnerTraffic(rng)
        batch = [traffic.packet() for _ in range(BATCH)]
        expected = emulated.process(batch)
        assert shown(by_receiver(bmv2.process(batch))) == shown(by_receiver(expected))
    compare_counters(emulated, bmv2, config)
    assert emulated.counters()["results"] > 15
