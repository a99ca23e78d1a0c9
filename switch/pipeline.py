"""One batch of packets through the switch: parse, decide, aggregate, replicate,
deparse. No clock, no socket.

`run` is the data path, compiled; with NUMBA_DISABLE_JIT=1 the same function can be
stepped through. `Pipeline` keeps its arrays, and is what the control plane programs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch import lanes, slots
from switch.compiled import kernel
from switch.config import Address, JobConfig, SwitchConfig
from switch.parser import (
    element_type_of,
    parse,
    reduction_of,
    result_type_of,
    well_formed,
)
from switch.protocol import (
    ELEMENT_BYTES,
    EVERY_WORKER,
    HEADER_BYTES,
    MAX_WORKERS,
    DropReason,
    Flag,
    Header,
    Opcode,
)
from switch.replicate import Copies, answer, multicast, replay
from switch.slots import Registers, new_registers

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
OVERFLOW = int(Flag.OVERFLOW)
KEPT_FLAGS = int(Flag.OVERFLOW | Flag.CLIPPED)

MAX_JOBS = 255  # at once
MAX_ROWS = 2048  # packets of a batch

# Counters: one for each verdict, then the multicasts and the packets out.
RESULTS = slots.NUM_VERDICTS
COPIES = RESULTS + 1
NUM_COUNTERS = COPIES + 1
COUNTERS = {
    "accepted": (slots.TAKE_OVER, slots.START_AGAIN, slots.REDUCE),
    "replays": (slots.REPLAY,),
    "statuses": (slots.ANSWER,),
    **{reason.name.lower(): (slots.FIRST_DROP + reason,) for reason in DropReason},
    "results": (RESULTS,),
    "copies": (COPIES,),
}


class Batch(NamedTuple):
    """Packets in, as rows of one buffer; segments of a GRO datagram are rows too."""

    buffer: Bytes
    offset: Integers
    length: Integers
    source: Integers
    """Number of the sender's address, or -1: no worker has it."""


class Jobs(NamedTuple):
    """The match-action tables, one row a job."""

    row_of: Integers
    """[65536]: job id -> row, or -1."""
    first_slot: Integers
    num_slots: Integers
    slot_bytes: Integers
    num_workers: Integers
    overflow: Integers
    group: Integers
    """[rows, MAX_WORKERS]: worker -> number of its address."""


class State(NamedTuple):
    """All that a packet can touch."""

    jobs: Jobs
    registers: Registers
    scratch: Bytes
    """One payload in host byte order."""
    counters: Integers
    """[1 + rows, NUM_COUNTERS]; row 0: packets of no known job."""


@kernel
def bound(header: Header, source: int, jobs: Jobs, row: int) -> bool:
    """Whether the packet comes from the address of the worker that it names."""
    is_worker = header.worker < jobs.num_workers[row]
    return is_worker and source >= 0 and jobs.group[row, header.worker] == source


@kernel
def fits(header: Header, jobs: Jobs, row: int) -> bool:
    """The malformed checks that need the job."""
    reduced = header.element_count * ELEMENT_BYTES[result_type_of(header.kind)]
    to_everyone = header.recipient == EVERY_WORKER
    to_somebody = to_everyone or header.recipient < jobs.num_workers[row]
    return to_somebody and reduced <= jobs.slot_bytes[row]


@kernel
def admit(header: Header, length: int, source: int, jobs: Jobs, row: int) -> int:
    """The checks that need no slot, in their order: a verdict that drops, or 0."""
    if not well_formed(header, length):
        return slots.MALFORMED
    if row < 0:
        return slots.UNKNOWN_JOB
    if not fits(header, jobs, row):
        return slots.MALFORMED
    if not bound(header, source, jobs, row):
        return slots.UNKNOWN_SOURCE
    if header.opcode == RESULT or header.opcode == STATUS:
        return slots.WRONG_OPCODE
    return 0


@kernel
def reduce_payload(
    state: State, index: int, header: Header, payload: Bytes, overflow: int
) -> None:
    """Aggregate the payload of a contribution into the values of its slot."""
    registers = state.registers
    is_first = registers.element_count[index] == 0
    element_type = element_type_of(header.kind)
    result_type = result_type_of(header.kind)
    reduction = reduction_of(header.kind)
    width = header.element_count * ELEMENT_BYTES[result_type]
    values = registers.values[index][:width]
    scratch = state.scratch[:width]
    if result_type == lanes.INT8:
        left_range = lanes.absorb(
            values.view(np.int8), scratch.view(np.int8), payload,
            element_type, reduction, overflow, is_first,
        )  # fmt: skip
    elif result_type == lanes.INT16:
        left_range = lanes.absorb(
            values.view(np.int16), scratch.view(np.int16), payload,
            element_type, reduction, overflow, is_first,
        )  # fmt: skip
    else:
        left_range = lanes.absorb(
            values.view(np.int32), scratch.view(np.int32), payload,
            element_type, reduction, overflow, is_first,
        )  # fmt: skip
    registers.element_count[index] = header.element_count
    if left_range:
        registers.flags[index] |= OVERFLOW


@kernel
def aggregate(
    state: State, index: int, other: int, header: Header, verdict: int
) -> None:
    """Update the registers of an accepted contribution, but for its payload."""
    registers = state.registers
    if verdict == slots.REDUCE:
        slots.join_slot(registers, index, header)
    elif verdict == slots.TAKE_OVER:
        slots.take_over(registers, index, header)
    else:
        slots.start_again(registers, index, header)
    if other >= 0:
        slots.forget_worker(registers, other, header.worker)
    registers.flags[index] |= header.flags & KEPT_FLAGS


@kernel
def reach_slot(
    state: State, packet: Bytes, header: Header, source: int, rule: int, row: int,
    out: Copies,
) -> int:  # fmt: skip
    """What an admitted packet does to its slot, and the packets that follow."""
    jobs = state.jobs
    registers = state.registers
    num_slots = jobs.num_slots[row]
    num_workers = jobs.num_workers[row]
    first = 2 * jobs.first_slot[row]
    index = first + (header.sequence & (2 * num_slots - 1))
    verdict = slots.decide(registers, index, header, rule, num_slots, num_workers)
    if verdict >= slots.FIRST_DROP:
        return verdict
    if verdict == slots.ANSWER:
        answer(registers, index, header, source, out)
        return verdict
    if verdict == slots.REPLAY:
        replay(registers, index, header, source, out)
        return verdict
    other = -1
    if rule != slots.SAFE:
        other = first + ((header.sequence + num_slots) & (2 * num_slots - 1))
    aggregate(state, index, other, header, verdict)
    if header.element_count > 0:
        payload = packet[HEADER_BYTES:]
        reduce_payload(state, index, header, payload, jobs.overflow[row])
    if registers.received[index] == num_workers:
        state.counters[row + 1, RESULTS] += 1
        multicast(registers, index, header, jobs.group[row][:num_workers], out)
    return verdict


@kernel
def step(state: State, packet: Bytes, source: int, rule: int, out: Copies) -> None:
    """What one packet does; it is counted once."""
    if packet.size < HEADER_BYTES:
        state.counters[0, slots.MALFORMED] += 1
        return
    header = parse(packet)
    row = state.jobs.row_of[header.job]
    verdict = admit(header, packet.size, source, state.jobs, row)
    if verdict == 0:
        verdict = reach_slot(state, packet, header, source, rule, row, out)
    state.counters[row + 1, verdict] += 1


@kernel
def run(state: State, batch: Batch, count: int, rule: int, out: Copies) -> None:
    """The data path: the first `count` packets of a batch, one after the other."""
    out.used[:] = 0
    for row in range(count):
        start = batch.offset[row]
        packet = batch.buffer[start : start + batch.length[row]]
        step(state, packet, batch.source[row], rule, out)
    state.counters[0, COPIES] += out.used[0]


class Pipeline:
    """An emulated switch without sockets: its tables, registers and counters."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self.addresses: list[Address] = []
        self.number_of: dict[Address, int] = {}
        self._jobs: dict[int, JobConfig] = {}
        rows = MAX_JOBS
        self.state = State(
            Jobs(
                np.full(1 << 16, -1, np.int64),
                *(np.zeros(rows, np.int64) for _ in range(5)),
                np.full((rows, MAX_WORKERS), -1, np.int64),
            ),
            new_registers(config.num_slots, config.slot_bytes),
            np.zeros(config.slot_bytes, np.uint8),
            np.zeros((1 + rows, NUM_COUNTERS), np.int64),
        )
        # every packet of a batch may be the last one of its slot
        copies = MAX_ROWS * MAX_WORKERS
        self.out = Copies(
            np.empty(2 * MAX_ROWS * (HEADER_BYTES + config.slot_bytes), np.uint8),
            *(np.empty(copies, np.int64) for _ in range(3)),
            np.zeros(2, np.int64),
        )
        for job in config.jobs:
            self.install(job)

    def install(self, job: JobConfig) -> None:
        """Give a job its slots and bind its workers.

        Raises ValueError when the job exists, or no slots or rows are left for it.
        """
        tables = self.state.jobs
        if tables.row_of[job.job] >= 0:
            raise ValueError(f"job {job.job} exists already")
        first_slot = self._free_slots(job.num_slots)
        taken = {int(tables.row_of[other]) for other in self._jobs}
        row = next((row for row in range(MAX_JOBS) if row not in taken), -1)
        if row < 0:
            raise ValueError(f"the switch serves at most {MAX_JOBS} jobs at once")
        tables.first_slot[row] = first_slot
        tables.num_slots[row] = job.num_slots
        tables.slot_bytes[row] = job.slot_bytes
        tables.num_workers[row] = len(job.workers)
        tables.overflow[row] = job.overflow
        tables.group[row, :] = -1
        for worker, address in enumerate(job.workers):
            tables.group[row, worker] = self._number(address)
        self._jobs[job.job] = job
        self.state.counters[row + 1, :] = 0
        slots.clear(self.state.registers, 2 * first_slot, 2 * job.num_slots)
        tables.row_of[job.job] = row

    def remove(self, job: int) -> None:
        """Free the job's slots; its packets are of an unknown job from now on.

        What it counted is kept in the totals of the switch.
        """
        row = self._row(job)
        self.state.counters[0] += self.state.counters[row + 1]
        self.state.counters[row + 1, :] = 0
        self.state.jobs.row_of[job] = -1
        del self._jobs[job]

    def reset(self, job: int) -> None:
        """Forget what the job's slots hold: its sequences begin at 0 again."""
        row = self._row(job)
        first_slot = int(self.state.jobs.first_slot[row])
        num_slots = self._jobs[job].num_slots
        slots.clear(self.state.registers, 2 * first_slot, 2 * num_slots)

    def counters(self, job: int | None = None) -> dict[str, int]:
        """Packets counted by what became of them: of one job, or of all."""
        rows = self.state.counters
        total = rows.sum(axis=0) if job is None else rows[self._row(job) + 1]
        return {name: int(total[list(which)].sum()) for name, which in COUNTERS.items()}

    def run(self, batch: Batch, count: int) -> Copies:
        """Process `count` <= MAX_ROWS packets; the copies are valid until the next."""
        run(self.state, batch, count, int(self.config.rule), self.out)
        return self.out

    def process(
        self, datagrams: list[tuple[bytes, Address]]
    ) -> list[tuple[bytes, Address]]:
        """The same for packets as Python objects: for tests and tools."""
        copies: list[tuple[bytes, Address]] = []
        for start in range(0, len(datagrams), MAX_ROWS):
            some = datagrams[start : start + MAX_ROWS]
            length = np.array([len(packet) for packet, _ in some], np.int64)
            source = [self.number_of.get(address, -1) for _, address in some]
            joined = np.frombuffer(b"".join(packet for packet, _ in some), np.uint8)
            batch = Batch(
                joined.copy(), length.cumsum() - length, length, np.array(source)
            )
            copies += self._as_datagrams(self.run(batch, len(some)))
        return copies

    def _as_datagrams(self, out: Copies) -> list[tuple[bytes, Address]]:
        return [
            (
                out.buffer[out.offset[i] : out.offset[i] + out.length[i]].tobytes(),
                self.addresses[out.destination[i]],
            )
            for i in range(out.used[0])
        ]

    def _row(self, job: int) -> int:
        row = int(self.state.jobs.row_of[job])
        if row < 0:
            known = ", ".join(str(job) for job in self._jobs) or "none"
            raise ValueError(f"job {job} does not exist; the switch's jobs: {known}")
        return row

    def _number(self, address: Address) -> int:
        if address not in self.number_of:
            self.number_of[address] = len(self.addresses)
            self.addresses.append(address)
        return self.number_of[address]

    def _free_slots(self, wanted: int) -> int:
        """First fit between the slot ranges of the jobs."""
        tables = self.state.jobs
        rows = [int(tables.row_of[job]) for job in self._jobs]
        ranges = sorted(
            (int(tables.first_slot[row]), int(tables.num_slots[row])) for row in rows
        )
        start = 0
        for first, count in ranges:
            if first - start >= wanted:
                return start
            start = first + count
        if start + wanted > self.config.num_slots:
            used = sum(count for _, count in ranges)
            raise ValueError(
                f"{wanted} slots asked for, but of the switch's "
                f"{self.config.num_slots} slots {used} are in use"
            )
        return start
