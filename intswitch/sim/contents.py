"""What is in contributions and results: made from a seed, or by workers. The loop knows
both, so that it is compiled once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Contributions, Results
from intswitch.sim import payloads, stored
from intswitch.sim.loop import Payloads
from intswitch.sim.payloads import SeedPlan, new_plan, vector
from intswitch.sim.stored import Stored, new_store
from switch.compiled import kernel
from switch.protocol import ElementType

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Contents(NamedTuple):
    """One of both; the other is not looked at."""

    seeded: SeedPlan
    stored: Stored
    is_stored: bool


def from_seed(plan: SeedPlan) -> Contents:
    return Contents(plan, new_store(1, 1, 1, 1), False)


def from_store(plan: Stored) -> Contents:
    int8 = ElementType.INT8
    vectors = [vector(1, 1, int8, int8, 1)]
    job_of = np.zeros(1, np.int64)
    nothing = new_plan(0, vectors, job_of, 1, np.zeros((0, 1), np.bool_))
    return Contents(nothing, plan, True)


@kernel
def make(plan: Contents, worker: int, chunk: int, payload: Bytes) -> None:
    if plan.is_stored:
        stored.make(plan.stored, worker, chunk, payload)
    else:
        payloads.make(plan.seeded, worker, chunk, payload)


@kernel
def is_made(plan: Contents, worker: int, chunks: Integers) -> bool:
    return not plan.is_stored or stored.is_made(plan.stored, worker, chunks)


@kernel
def write_fields(
    plan: Contents, worker: int, chunks: Integers, contributions: Contributions
) -> None:
    """Those made from a seed are full, as they are to begin with."""
    if plan.is_stored:
        stored.write_fields(plan.stored, worker, chunks, contributions)


@kernel
def drain(plan: Contents, worker: int, chunks: Integers, results: Results) -> None:
    if plan.is_stored:
        stored.drain(plan.stored, worker, chunks, results)
    else:
        payloads.drain(plan.seeded, worker, chunks, results)


CONTENTS = Payloads(make, is_made, write_fields, drain)
