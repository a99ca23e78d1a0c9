"""Packets for tests of the switch: two small jobs, honest and dishonest traffic."""

from typing import Any

import numpy as np
from golden import STRANGER, Datagram
from hypothesis import strategies as st

from switch import protocol
from switch.config import JobConfig, SwitchConfig
from switch.protocol import (
    ELEMENT_BYTES,
    EVERY_WORKER,
    HEADER_BYTES,
    DropReason,
    ElementType,
    Opcode,
    Overflow,
    Reduction,
    Rule,
)

# every packet is counted in exactly one of them
ONCE = ("accepted", "replays", "statuses", *(r.name.lower() for r in DropReason))
KINDS = [
    protocol.kind_of(reduction, element_type, result_type)
    for reduction in Reduction
    for element_type in (ElementType.INT8, ElementType.INT16, ElementType.INT32)
    for result_type in (ElementType.INT8, ElementType.INT16, ElementType.INT32)
    if element_type <= result_type
]
SMALL_JOB = JobConfig(
    job=7, workers=(("10.0.0.0", 1), ("10.0.0.1", 1)), num_slots=1, slot_bytes=8
)
LARGE_JOB = JobConfig(
    job=260,
    workers=(("10.0.1.0", 1), ("10.0.1.1", 1), ("10.0.1.2", 1)),
    num_slots=2,
    slot_bytes=12,
    overflow=Overflow.SATURATE,
)
ADDRESSES = [*SMALL_JOB.workers, *LARGE_JOB.workers, STRANGER]


def config_of(rule: Rule, *jobs: JobConfig) -> SwitchConfig:
    slots = sum(job.num_slots for job in jobs)
    return SwitchConfig(rule=rule, num_slots=slots, slot_bytes=16, jobs=jobs)


def contribution(
    job: JobConfig, worker: int, sequence: int, values: list[int], **fields: Any
) -> Datagram:
    """A sum of int32, from the worker's own address."""
    packet = protocol.emit(
        opcode=Opcode.CONTRIBUTE,
        kind=protocol.kind_of(Reduction.SUM, ElementType.INT32, ElementType.INT32),
        job=job.job,
        worker=worker,
        sequence=sequence,
        element_count=len(values),
        payload=np.array(values, ">i4").tobytes(),
        **fields,
    )
    return packet, job.workers[worker]


def values_of(packet: bytes) -> list[int]:
    return np.frombuffer(packet[HEADER_BYTES:], ">i4").tolist()


@st.composite
def likely_packets(draw: st.DrawFn) -> Datagram:
    """Packets of the two jobs: often in turn, now and then with a field that is off."""
    job = draw(st.sampled_from([SMALL_JOB, SMALL_JOB, LARGE_JOB]))
    worker = draw(st.integers(0, len(job.workers) - 1))
    kind = draw(st.sampled_from([*KINDS[:3], *KINDS]))
    # contributions three times as often as all others together
    opcode = Opcode(draw(st.sampled_from([0] * 9 + [1, 2, 3])))
    from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
    width = ELEMENT_BYTES[kind & 7 if from_switch else kind >> 3 & 7]
    count = draw(st.sampled_from([0, 1, 1, 2, 3]))
    edge = 1 << (8 * width - 1)
    elements = st.sampled_from([0, 1, -1, edge - 1, -edge, 100, -100])
    payload = b"".join(
        draw(elements).to_bytes(width, "big", signed=True) for _ in range(count)
    )
    packet = protocol.emit(
        opcode=opcode,
        kind=kind,
        job=job.job,
        worker=worker,
        recipient=draw(st.sampled_from([EVERY_WORKER] * 4 + [0, worker, 3])),
        sequence=draw(st.sampled_from([*range(8), 2**31, 2**32 - 2, 2**32 - 1])),
        element_count=count,
        exponent=draw(st.sampled_from([-128, -128, -1, 0, 127])),
        flags=draw(st.sampled_from([0, 0, 1, 2, 4, 255])),
        payload=payload,
    )
    return packet, job.workers[worker]


@st.composite
def damaged_packets(draw: st.DrawFn) -> Datagram:
    packet, address = draw(likely_packets())
    bit = draw(st.integers(0, 8 * len(packet) - 1))
    flipped = bytearray(packet)
    flipped[bit // 8] ^= 1 << bit % 8
    length = draw(st.integers(0, len(packet)))
    tail = draw(st.binary(max_size=3))
    damaged = draw(st.sampled_from([bytes(flipped), packet[:length], packet + tail]))
    return damaged, draw(st.sampled_from([address, *ADDRESSES]))


random_bytes = st.tuples(st.binary(max_size=40), st.sampled_from(ADDRESSES))
packets = st.one_of(
    likely_packets(),
    likely_packets(),
    likely_packets(),
    damaged_packets(),
    random_bytes,
)
