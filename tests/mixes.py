"""Job mixes for differential runs: which jobs share a switch, and their traffic."""

import random

from golden import STRANGER, Datagram
from traffic import KINDS, LARGE_JOB, SMALL_JOB, Traffic

from switch import protocol
from switch.codes import narrowest_result
from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import (
    ELEMENT_BYTES,
    EVERY_WORKER,
    ElementType,
    Opcode,
    Overflow,
    Rule,
)


def workers(place: int, count: int, port: int = 5000) -> tuple[Address, ...]:
    return tuple((f"10.2.{place}.{rank}", port) for rank in range(count))


# Two small jobs, as the property tests of the emulator have them.
SMALL = (SMALL_JOB, LARGE_JOB)
# One job for each width that a slot is usually given, and each overflow policy; code
# tables that fit from an int8, an int16 and an int32 on, and none.
BLOCKS = (
    JobConfig(
        job=1, workers=workers(0, 2), num_slots=1, slot_bytes=256,
        overflow=Overflow.DETECT, code4=(*range(-7, 7), 63, -63),
        code8=(*range(-120, 120), *[2**30 - 1, 1 - 2**30] * 8),
    ),
    JobConfig(
        job=2, workers=workers(1, 3), num_slots=2, slot_bytes=512,
        overflow=Overflow.WRAP, code4=(*range(-1000, -986), 10922, -10922),
        code8=(*range(-42, 42), *range(-42, 42), *range(-42, 42), 0, 0, 0, -42),
    ),
    JobConfig(
        job=0xFFFF, workers=workers(2, 1), num_slots=4, slot_bytes=1024,
        overflow=Overflow.SATURATE, code4=(-2**31 + 1, 2**31 - 1, *range(14)),
    ),
    JobConfig(
        job=0x0100, workers=workers(3, 4), num_slots=2, slot_bytes=1280,
        overflow=Overflow.DETECT, code8=(*range(-31, 31), *range(-31, 31), *[31] * 132),
    ),
)  # fmt: skip
# Widths between whole blocks, many workers, hosts that are in two jobs.
ODD = (
    JobConfig(
        job=7, workers=workers(0, 9), num_slots=1, slot_bytes=4,
        overflow=Overflow.WRAP,
    ),
    JobConfig(
        job=8, workers=workers(0, 2, port=5001), num_slots=8, slot_bytes=1276,
        overflow=Overflow.SATURATE, code4=(*range(8), *range(-8, 0)),
        code8=(*range(7000, 7250), *[16383, -16383] * 3),
    ),
    JobConfig(
        job=9, workers=workers(1, 3), num_slots=1, slot_bytes=300,
        overflow=Overflow.DETECT,
    ),
)  # fmt: skip
MIXES = {"small": SMALL, "blocks": BLOCKS, "odd": ODD}


def config_of(rule: Rule, jobs: tuple[JobConfig, ...]) -> SwitchConfig:
    return SwitchConfig(
        rule=rule,
        num_slots=sum(job.num_slots for job in jobs),
        slot_bytes=max(job.slot_bytes for job in jobs),
        jobs=jobs,
    )


def serves(job: JobConfig, kind: int) -> bool:
    """Whether the job can look up what there is to look up in packets of this kind."""
    element_type, result_type = kind >> 3 & 7, kind & 7
    if element_type < ElementType.CODE4:
        return True
    table = job.code4 if element_type == ElementType.CODE4 else job.code8
    return narrowest_result(table, len(job.workers)) <= result_type


class MixedTraffic(Traffic):
    """Traffic of the jobs of a mix, with payloads of any length that fits, or nearly.

    Workers agree about most chunks, and move on as results come; late, early and
    damaged packets are among theirs.
    """

    def __init__(self, rng: random.Random, jobs: tuple[JobConfig, ...]) -> None:
        self.jobs = jobs
        known = [address for job in jobs for address in job.workers]
        host, port = known[0]
        self.addresses = [*known, STRANGER, (host, port + 7)]
        super().__init__(rng)
        self.themes: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.num_slots = {job.job: job.num_slots for job in jobs}

    def receive(self, copies: list[Datagram]) -> None:
        """Results of the window's first chunk move it on."""
        for packet, _ in copies:
            job, sequence = int.from_bytes(packet[2:4], "big"), packet[8:12]
            if packet[0] & 0xF == Opcode.RESULT:
                behind = int.from_bytes(sequence, "big") - self.front[job]
                if 0 <= behind < self.num_slots[job]:
                    self.front[job] += behind + 1

    def restart(self, job: JobConfig) -> None:
        """The job has been reset."""
        self.front[job.job] = 0

    def likely_packet(self) -> Datagram:
        rng = self.rng
        job = rng.choice(self.jobs)
        worker = rng.randrange(len(job.workers))
        sequence = self.sequence(job)
        agreed = self.themes.setdefault((job.job, sequence), self.draw_theme(job))
        kind, count, recipient = (
            agreed if rng.random() < 0.985 else self.draw_theme(job)
        )
        opcode = Opcode(rng.choice([0] * 27 + [1, 2, 3]))
        from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
        lane = ElementType(kind & 7 if from_switch else kind >> 3 & 7)
        count *= rng.random() < 0.85
        packet = protocol.emit(
            opcode=opcode,
            kind=kind,
            job=job.job,
            worker=worker if rng.random() < 0.98 else rng.randrange(4),
            recipient=recipient,
            sequence=sequence,
            element_count=count,
            exponent=rng.choice([-128, -128, -1, 0, 127]),
            flags=rng.choice([0, 0, 0, 1, 2, 4, 255]),
            payload=self.payload(lane, count),
        )
        return packet, job.workers[worker]

    def sequence(self, job: JobConfig) -> int:
        rng, front = self.rng, self.front[job.job]
        if rng.random() < 0.02:
            return rng.choice([2**31, 2**32 - 2, 2**32 - 1])
        if rng.random() < 0.85:
            return front + rng.randrange(job.num_slots)
        return max(0, front + rng.randint(-3 * job.num_slots, 2 * job.num_slots))

    def draw_theme(self, job: JobConfig) -> tuple[int, int, int]:
        kind = self.rng.choice(KINDS)
        while not serves(job, kind) and self.rng.random() < 0.98:
            kind = self.rng.choice(KINDS)
        most = job.slot_bytes // ELEMENT_BYTES[kind & 7]
        count = self.rng.choice([1, 2, 3, most, most, self.rng.randint(0, most)])
        too_many = self.rng.random() < 0.05
        recipient = self.rng.choice([EVERY_WORKER, EVERY_WORKER, 0, 1])
        if kind >> 3 & 7 == ElementType.CODE4 and self.rng.random() < 0.95:
            count -= count % 2
        return kind, count + too_many, recipient

    def integers(self, width: int, count: int) -> bytes:
        """Extremes or noise, a pattern of up to seven elements repeated."""
        elements = [self.element(width) for _ in range(self.rng.randint(1, 7))]
        if self.rng.random() < 0.3:
            elements = [self.rng.randbytes(width) for _ in elements]
        pattern = b"".join(elements)
        return (pattern * (width * count // len(pattern) + 1))[: width * count]
