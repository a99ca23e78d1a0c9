"""Job mixes for differential runs: which jobs share a switch, and their traffic."""

import random

from golden import STRANGER
from traffic import ELEMENT_BYTES, KINDS, LARGE_JOB, SMALL_JOB, Traffic

from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import EVERY_WORKER, Overflow, Rule


def workers(place: int, count: int, port: int = 5000) -> tuple[Address, ...]:
    return tuple((f"10.2.{place}.{rank}", port) for rank in range(count))


# Two small jobs, as the property tests of the emulator have them.
SMALL = (SMALL_JOB, LARGE_JOB)
# One job for each width that a slot is usually given, and each overflow policy.
BLOCKS = (
    JobConfig(
        job=1, workers=workers(0, 2), num_slots=1, slot_bytes=256,
        overflow=Overflow.DETECT,
    ),
    JobConfig(
        job=2, workers=workers(1, 3), num_slots=2, slot_bytes=512,
        overflow=Overflow.WRAP,
    ),
    JobConfig(
        job=0xFFFF, workers=workers(2, 1), num_slots=4, slot_bytes=1024,
        overflow=Overflow.SATURATE,
    ),
    JobConfig(
        job=0x0100, workers=workers(3, 4), num_slots=2, slot_bytes=1280,
        overflow=Overflow.DETECT,
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
        overflow=Overflow.SATURATE,
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


class MixedTraffic(Traffic):
    """Traffic of the jobs of a mix, with payloads of any length that fits, or nearly."""

    def __init__(self, rng: random.Random, jobs: tuple[JobConfig, ...]) -> None:
        self.jobs = jobs
        known = [address for job in jobs for address in job.workers]
        host, port = known[0]
        self.addresses = [*known, STRANGER, (host, port + 7)]
        super().__init__(rng)

    def draw_theme(self, job: JobConfig) -> tuple[int, int, int]:
        kind = self.rng.choice(KINDS)
        most = job.slot_bytes // ELEMENT_BYTES[kind & 7]
        count = self.rng.choice([1, 2, 3, most, most, self.rng.randint(0, most)])
        too_many = self.rng.random() < 0.05
        recipient = self.rng.choice([EVERY_WORKER, EVERY_WORKER, 0, 1])
        return kind, count + too_many, recipient

    def payload(self, width: int, count: int) -> bytes:
        """Extremes or noise, a pattern of up to seven elements repeated."""
        elements = [self.element(width) for _ in range(self.rng.randint(1, 7))]
        if self.rng.random() < 0.3:
            elements = [self.rng.randbytes(width) for _ in elements]
        pattern = b"".join(elements)
        return (pattern * (width * count // len(pattern) + 1))[: width * count]


