"""The golden packets, against BMv2 running our P4 program."""

from pathlib import Path

import golden
import pytest
from bmv2 import ENOUGH, PACKETS, Bmv2, by_receiver
from golden import Count, Packets, Script
from test_golden import SHORT_SCRIPTS, by_name, check_identities, num_packets, shown

from switch.config import JobConfig, SwitchConfig

SCRIPTS = golden.scripts(trees=True)


def replay(script: Script, switch: Bmv2) -> None:
    """As for the emulator, but copies to different workers come in no order."""
    for step in script.steps:
        where = f"{script.path.name}:{step.line}"
        if isinstance(step, Packets):
            copies = by_receiver(switch.process(step.sent))
            if step.expected is not None:
                assert shown(copies) == shown(by_receiver(step.expected)), where
        elif isinstance(step, Count):
            assert switch.counters(step.job)[step.name] == step.value, where
        else:
            switch.reset(step.job)


@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_switch(path: Path, either_bmv2: Bmv2) -> None:
    script = golden.read(path)
    if path not in SHORT_SCRIPTS and PACKETS < ENOUGH:
        pytest.skip(f"{num_packets(script)} packets; INTSWITCH_BMV2_PACKETS={ENOUGH}")
    either_bmv2.configure(script.config)
    replay(script, either_bmv2)
    check_identities(either_bmv2.counters(), num_packets(script))
    assert either_bmv2.counters()["damaged"] == 0


WRAP = """
job 7 workers=1 num_slots=1
packet 0 contribute sum int32 sequence=0 : 41
expect 0 result sum int32 sequence=0 : 41
packet 0 contribute sum int32 sequence=1 : 42
expect 0 result sum int32 sequence=1 : 42
"""
WRAPPED = """
job 7 workers=1 num_slots=1
packet 0 query sequence=0
expect 0 status sequence=4294967294 worker=1 : bitmap 0
packet 0 contribute sum int32 sequence=4294967292 : 1
packet 0 contribute sum int32 sequence=2 : 1
packet 0 contribute sum int32 sequence=0 : 42
expect 0 result sum int32 sequence=0 : 42
packet 0 contribute sum int32 sequence=4294967294 : 1
packet 0 contribute sum int32 sequence=0 : 42
expect 0 result sum int32 sequence=0 flags=repeated : 42
packet 0 contribute sum int32 sequence=2 : 43
expect 0 result sum int32 sequence=2 : 43
packet 0 contribute sum int32 sequence=1 : 44
expect 0 result sum int32 sequence=1 : 44
"""


def test_sequences_wrap(bmv2: Bmv2) -> None:
    """What golden/sequence_wrap.txt shows with trains of 131,072 packets; here the
    registers are set to the last sequences."""
    script = golden.parse(WRAP)
    bmv2.configure(script.config)
    replay(script, bmv2)
    for version in (0, 1):
        value = 2**32 - 2 + version
        register = "SwitchIngress.aggregate.reach_slot.sequences"
        bmv2.tables.run(f"register_write {register} {version} {value}")
    replay(golden.parse(WRAPPED), bmv2)
    counters = bmv2.counters()
    assert (counters["stale"], counters["ahead"]) == (2, 1)


def test_a_script_can_fail(bmv2: Bmv2) -> None:
    text = "job 7 workers=1\npacket 0 contribute sum int8 : 1\n"
    script = golden.parse(f"{text}expect 0 result sum int8 : 2\n")
    bmv2.configure(script.config)
    with pytest.raises(AssertionError):
        replay(script, bmv2)


def test_slots_are_found_empty_by_the_next_job(either_bmv2: Bmv2) -> None:
    """remove and install, with packets in between: counters, slots and table."""
    old, new = (
        JobConfig(
            job=job, workers=(("10.3.0.1", 1),), num_slots=1, slot_bytes=64,
            code8=(job,) * 256,
        )
        for job in (1, 2)
    )  # fmt: skip
    either_bmv2.configure(SwitchConfig(num_slots=1, jobs=(old,)))
    query = bytes.fromhex("12 00 0002 0000 ffff 00000000 0000 80 00")
    code, next_code = (
        bytes.fromhex(f"10 20 {job:04x} 0000 ffff 00000000 0001 80 00 05")
        for job in (1, 2)
    )
    (result, _), = either_bmv2.process([(code, old.workers[0])])  # fmt: skip
    assert result[-1] == 1
    either_bmv2.dataplane.remove(1)
    either_bmv2.dataplane.install(new)
    assert either_bmv2.process([(code, old.workers[0])]) == []
    (status, _), = either_bmv2.process([(query, new.workers[0])])  # fmt: skip
    assert status[4:6] == b"\0\0"
    assert either_bmv2.counters(2)["statuses"] == 1
    assert either_bmv2.counters(2)["accepted"] == 0
    assert either_bmv2.counters()["accepted"] == 1, "the old job's packets still count"
    assert either_bmv2.counters()["unknown_job"] == 1
    (result, _), = either_bmv2.process([(next_code, new.workers[0])])  # fmt: skip
    assert result[-1] == 2
