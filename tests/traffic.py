"""Packets for tests of the switch: two small jobs, honest and dishonest traffic."""

import random
from typing import Any

import numpy as np
from golden import STRANGER, Datagram

from switch import protocol
from switch.config import JobConfig, SwitchConfig
from switch.parser import bytes_of
from switch.protocol import (
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
CODE_KINDS = [
    protocol.kind_of(Reduction.SUM, code, result_type)
    for code in (ElementType.CODE4, ElementType.CODE8)
    for result_type in (ElementType.INT8, ElementType.INT16, ElementType.INT32)
]
KINDS += CODE_KINDS
# What the largest entries of a table may be for sums of two to fit an int8, and of
# three an int16 and an int32.
SMALL_JOB = JobConfig(
    job=7,
    workers=(("10.0.0.0", 1), ("10.0.0.1", 1)),
    num_slots=1,
    slot_bytes=8,
    code4=(*range(-7, 7), 63, -63),
)
LARGE_JOB = JobConfig(
    job=260,
    workers=(("10.0.1.0", 1), ("10.0.1.1", 1), ("10.0.1.2", 1)),
    num_slots=2,
    slot_bytes=12,
    overflow=Overflow.SATURATE,
    code4=(*range(1000, 1014), 10922, -10922),
    code8=(*range(254), 715827882, -715827882),
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


class Traffic:
    """Packets of some jobs, drawn from `rng`: what the rules get their teeth into.

    Most agree on what a job reduces and are about chunks around its front, which moves
    on; now and then a field is off, a packet is damaged on its way, or is only noise.
    """

    jobs = (SMALL_JOB, SMALL_JOB, LARGE_JOB)  # as often as they are drawn
    addresses = ADDRESSES

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.front = {job.job: 0 for job in self.jobs}
        self.theme = {job.job: self.draw_theme(job) for job in self.jobs}

    def draw_theme(self, job: JobConfig) -> tuple[int, int, int]:
        """Kind, element_count, recipient."""
        return (
            self.rng.choice(KINDS),
            self.rng.choice([1, 2, 3]),
            self.rng.choice([EVERY_WORKER, EVERY_WORKER, 0, 1]),
        )

    def packet(self) -> Datagram:
        chance = self.rng.random()
        if chance < 0.05:
            length = self.rng.randrange(40)
            noise = bytes(self.rng.randrange(256) for _ in range(length))
            return noise, self.rng.choice(self.addresses)
        packet, address = self.likely_packet()
        if chance < 0.15:
            packet = self.damaged(packet)
        if chance > 0.97:
            address = self.rng.choice(self.addresses)
        return packet, address

    def likely_packet(self) -> Datagram:
        rng = self.rng
        job = rng.choice(self.jobs)
        worker = rng.randrange(len(job.workers))
        theme = self.theme[job.job] if rng.random() < 0.85 else self.draw_theme(job)
        kind, count, recipient = theme
        opcode = Opcode(rng.choice([0] * 17 + [1, 2, 3]))
        from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
        lane = ElementType(kind & 7 if from_switch else kind >> 3 & 7)
        count *= rng.random() < 0.85
        packet = protocol.emit(
            opcode=opcode,
            kind=kind,
            job=job.job,
            worker=worker if rng.random() < 0.97 else rng.randrange(4),
            recipient=recipient,
            sequence=self.sequence(job),
            element_count=count,
            exponent=rng.choice([-128, -128, -1, 0, 127]),
            flags=rng.choice([0, 0, 0, 1, 2, 4, 255]),
            payload=self.payload(lane, count),
        )
        return packet, job.workers[worker]

    def sequence(self, job: JobConfig) -> int:
        if self.rng.random() < 0.1:
            self.front[job.job] += 1
            self.theme[job.job] = self.draw_theme(job)
        if self.rng.random() < 0.03:
            return self.rng.choice([2**31, 2**32 - 2, 2**32 - 1])
        offset = self.rng.choice([0, 0, 0, 0, 1, -1, job.num_slots, -2 * job.num_slots])
        return max(0, self.front[job.job] + offset)

    def payload(self, lane: ElementType, count: int) -> bytes:
        if lane in (ElementType.CODE4, ElementType.CODE8):
            return self.rng.randbytes(bytes_of(count, int(lane)))
        return self.integers(1 << lane, count)

    def integers(self, width: int, count: int) -> bytes:
        return b"".join(self.element(width) for _ in range(count))

    def element(self, width: int) -> bytes:
        edge = 1 << (8 * width - 1)
        value = self.rng.choice([0, 1, -1, edge - 1, -edge, 100, -100])
        return value.to_bytes(width, "big", signed=True)

    def damaged(self, packet: bytes) -> bytes:
        kind = self.rng.randrange(3)
        if kind == 0:
            return packet[: self.rng.randrange(len(packet))]
        if kind == 1:
            return packet + bytes(self.rng.randrange(1, 4))
        bit = self.rng.randrange(8 * len(packet))
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        return bytes(flipped)
