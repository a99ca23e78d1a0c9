"""What is explored, and what parties are to the search: states, packets, steps."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from switch.config import Address, JobConfig
from switch.protocol import Rule
from switch.tree import Tree, jobs_of, switches_of

JOB = 1
SLOT_BYTES = 4  # one int32: a chunk is one number
FIRST_PORT = 5000
PATIENCE = 1.0  # seconds, of a switch for stragglers


class Packet(NamedTuple):
    """One that may be in the network. Source and destination are places among the
    parties: the switches in the order of `switch.tree.switches_of`, then the workers.
    """

    source: int
    destination: int
    data: bytes


class Step(NamedTuple):
    """What one packet did to one party."""

    state: bytes
    sent: tuple[Packet, ...]
    did: str
    """In words."""
    wrong: str | None = None
    """What must never happen, and did."""
    later: tuple[Packet, ...] = ()
    """What timers may have it send from now on."""


class Party(Protocol):
    name: str

    def start(self) -> Step: ...
    def take(self, state: bytes, packet: Packet) -> Step: ...
    def again(self, state: bytes) -> tuple[Packet, ...]:
        """What it goes on sending for as long as nothing comes."""

    def finished(self, state: bytes) -> bool: ...
    def claim(self, packet: Packet) -> tuple[Any, Any] | None:
        """What a packet to this party tells of what: no other may tell otherwise."""


class Shape(NamedTuple):
    """What is explored."""

    rule: Rule = Rule.SAFE
    num_workers: int = 2
    num_slots: int = 1
    aggregations: tuple[int, ...] = (4,)
    """Chunks of each, one after the other."""
    first: int = 0
    """Sequence of the first chunk: near 2^32 to see it wrap."""
    limit: int | None = None
    """Packets in flight; None: num_slots."""
    tree: Tree | None = None
    """None: all workers are at one switch."""
    stragglers: bool = False
    """A result may go out without those that are late, at any moment."""
    rejoin: bool = False
    """Who is left behind may go on with an aggregation that another has begun."""


def number(worker: int, chunk: int) -> int:
    """What a worker contributes to a chunk of the job: 3, 300, 30000 to chunk 2."""
    return int((chunk + 1) * 100**worker)


def address(place: int) -> Address:
    return "127.0.0.1", FIRST_PORT + place


def place_of(name: Address) -> int:
    return name[1] - FIRST_PORT


def jobs_of_places(shape: Shape) -> list[JobConfig]:
    """The job as each switch has it, by place."""
    tree = shape.tree or tuple(range(shape.num_workers))
    paths = [at for at, _ in switches_of(tree)]
    workers = range(len(paths), len(paths) + shape.num_workers)
    job = JobConfig(
        job=JOB,
        workers=tuple(address(place) for place in workers),
        num_slots=shape.num_slots,
        slot_bytes=SLOT_BYTES,
        straggler_timeout=PATIENCE if shape.stragglers else 0.0,
    )
    if shape.tree is None:
        return [job]
    switches = {at: address(place) for place, at in enumerate(paths)}
    return list(jobs_of(tree, job, switches).values())


def pack(arrays: Sequence[NDArray[Any]]) -> bytes:
    return b"".join(each.tobytes() for each in arrays)


def unpack(state: bytes, arrays: Sequence[NDArray[Any]]) -> None:
    """Put the bytes of `pack` back."""
    at = 0
    for each in arrays:
        each.reshape(-1).view(np.uint8)[:] = np.frombuffer(
            state, np.uint8, each.nbytes, at
        )
        at += each.nbytes
