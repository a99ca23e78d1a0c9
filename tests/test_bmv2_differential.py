"""The same stream of packets into the emulated switch and into BMv2: the same packets
out, to every receiver in the same order, and the same counters.

INTSWITCH_BMV2_PACKETS=10000 makes every stream that long; `-s` shows figures.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator

import golden
import pytest
from bmv2 import ENOUGH, PACKETS, Bmv2, by_receiver
from golden import Datagram
from mixes import MIXES, MixedTraffic, config_of
from model import SAFE_ROWS, SWITCHML_ROWS, Model
from test_golden import SHORT_SCRIPTS, shown
from test_golden import replay as replay_script

from switch.codes import TABLE_SIZES
from switch.config import SwitchConfig
from switch.p4_tables import COUNTERS
from switch.pipeline import Pipeline
from switch.protocol import Rule

BATCH = 40
FEW = 200  # packets: how tables were filled does not change what a program does
SEED = 20_001
STREAMS = [(mix, rule) for mix in MIXES for rule in Rule]


def compare_counters(emulated: Pipeline, bmv2: Bmv2, config: SwitchConfig) -> None:
    # faults are the emulator's alone
    totals = {name: n for name, n in emulated.counters().items() if name in COUNTERS}
    assert bmv2.counters() == {**totals, "damaged": 0}
    for job in config.jobs:
        of_job = emulated.counters(job.job)
        assert bmv2.counters(job.job) == {**of_job, "damaged": 0}


def stream(
    mix: str, rule: Rule, packets: int = PACKETS
) -> Iterator[tuple[MixedTraffic, list[Datagram] | int]]:
    """Batches of packets, and now and then a job (its number) to be reset."""
    rng = random.Random(f"{SEED} {mix} {rule}")
    traffic = MixedTraffic(rng, MIXES[mix])
    for start in range(0, packets, BATCH):
        count = min(BATCH, packets - start)
        yield traffic, [traffic.packet() for _ in range(count)]
        if rng.random() < 0.25:
            job = rng.choice(MIXES[mix])
            traffic.restart(job)
            yield traffic, job.job


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mix", "rule"), STREAMS)
def test_emulator_and_bmv2_agree(mix: str, rule: Rule, bmv2: Bmv2) -> None:
    compare(mix, rule, bmv2, PACKETS)


@pytest.mark.parametrize(("mix", "rule"), STREAMS)
def test_p4runtime_makes_the_same_switch(mix: str, rule: Rule, bmv2_grpc: Bmv2) -> None:
    compare(mix, rule, bmv2_grpc, FEW)


def compare(mix: str, rule: Rule, bmv2: Bmv2, packets: int) -> None:
    config = config_of(rule, MIXES[mix])
    emulated = Pipeline(config)
    bmv2.configure(config)
    copies_out, seconds = 0, 0.0
    for traffic, step in stream(mix, rule, packets):
        if isinstance(step, int):
            emulated.reset(step)
            bmv2.reset(step)
            continue
        expected = emulated.process(step)
        start = time.perf_counter()
        copies = bmv2.process(step)
        seconds += time.perf_counter() - start
        assert shown(by_receiver(copies)) == shown(by_receiver(expected))
        traffic.receive(expected)
        copies_out += len(copies)
    compare_counters(emulated, bmv2, config)
    print(
        f"\n{mix} {rule.name.lower()}: {packets} packets, {copies_out} copies agree;"
        f" {packets / seconds:.0f} packets/s\n{emulated.counters()}"
    )


# What golden and random streams reach, told by the model.


def modelled(mix: str, rule: Rule) -> Model:
    model = Model(config_of(rule, MIXES[mix]))
    for traffic, step in stream(mix, rule):
        if isinstance(step, int):
            model.reset(step)
        else:
            traffic.receive(model.process(step))
    return model


@pytest.fixture(scope="module")
def reached() -> dict[str, Counter[tuple[str, ...]]]:
    """By source: how often each row, and each kind of reduction."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for path in set(SHORT_SCRIPTS) & set(golden.scripts()):
        script = golden.read(path)
        model = Model(script.config)
        replay_script(script, model)
        count(found.setdefault("golden", Counter()), model)
    for mix, rule in STREAMS:
        count(found.setdefault(mix, Counter()), modelled(mix, rule))
    return found


def count(into: Counter[tuple[str, ...]], model: Model) -> None:
    for row, times in model.rows.items():
        into[model.rule.name.lower(), row] += times
    for lanes, times in model.lanes.items():
        into[lanes] += times


def test_coverage(reached: dict[str, Counter[tuple[str, ...]]]) -> None:
    """Every row of both rules; every reduction of every pair of types, codes included;
    each overflow policy at both ends of each type. Golden packets reach all, and random
    ones do when there are enough of them."""
    widths = ("int8", "int16", "int32")
    wanted = {("safe", row) for row in SAFE_ROWS}
    wanted |= {("switchml", row) for row in SWITCHML_ROWS}
    wanted |= {
        (reduction, element, result)
        for reduction in ("sum", "max", "or")
        for element in widths
        for result in widths[widths.index(element) :]
    }
    wanted |= {
        (policy, edge, width)
        for policy in ("wrap", "saturate", "detect")
        for edge in ("below", "above")
        for width in widths
    }
    wanted |= {("sum", code, result) for code in TABLE_SIZES for result in widths}
    print(report(wanted, reached))
    assert set(reached["golden"]) == wanted
    if PACKETS >= ENOUGH:
        assert wanted - set().union(*(reached[mix] for mix in MIXES)) == set()


def report(
    wanted: set[tuple[str, ...]], reached: dict[str, Counter[tuple[str, ...]]]
) -> str:
    lines = ["", f"{'':36}" + "".join(f"{source:>9}" for source in reached)]
    for what in sorted(wanted):
        times = "".join(f"{counter[what]:9}" for counter in reached.values())
        lines.append(f"{' '.join(what):36}{times}")
    return "\n".join(lines)
