"""Datagrams and calls that nobody would send: noise, and right ones with mistakes."""

from __future__ import annotations

import random

from switch.protocol import HEADER_BYTES, ElementType, Opcode, Reduction, emit, kind_of

ABSURD = (0, 1, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1)


class Mutator:
    """Bytes drawn from a seed. `job` is one that runs, of so many workers."""

    def __init__(self, seed: int, job: int, workers: int = 2) -> None:
        self.random = random.Random(seed)
        self.job, self.workers = job, workers

    def datagram(self) -> bytes:
        """Noise, or a packet that is almost right."""
        if self.random.random() < 0.2:
            return self.random.randbytes(self.random.randrange(80))
        return self.mutated(self.right())

    def right(self) -> bytes:
        """A packet as a worker, or a switch, of some job could send it."""
        draw = self.random
        lane = draw.choice(list(ElementType)[:3])
        count = draw.choice([0, 1, 16, 64])
        return emit(
            opcode=draw.choice(list(Opcode)),
            job=draw.choice([self.job, self.job, self.job + 1, draw.randrange(65536)]),
            worker=draw.randrange(self.workers + 1),
            sequence=draw.choice([draw.randrange(4096), *ABSURD]),
            kind=kind_of(draw.choice(list(Reduction)), lane, lane),
            recipient=draw.choice([0, 1, 77, 0xFFFF]),
            element_count=count,
            exponent=draw.randrange(-128, 128),
            flags=draw.randrange(256),
            payload=draw.randbytes(count << lane),
        )

    def mutated(self, packet: bytes) -> bytes:
        """Bits flipped, bytes replaced, cut off, added, repeated; or left alone."""
        changed = bytearray(packet)
        for _ in range(self.random.randrange(4)):
            self._mistake(changed)
        return bytes(changed)

    def _mistake(self, data: bytearray) -> None:
        draw = self.random
        at = draw.randrange(len(data)) if data else 0
        what = draw.randrange(5)
        if what == 0 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif what == 1 and data:
            head = draw.randrange(min(len(data), HEADER_BYTES))
            data[head] = draw.choice([0, 1, 127, 128, 255])
        elif what == 2:
            del data[at:]
        elif what == 3:
            data[at:at] = draw.randbytes(draw.randrange(1, 9))
        else:
            data += data[: draw.randrange(64)]
