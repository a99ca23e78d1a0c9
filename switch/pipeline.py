"""One batch of packets through the switch: parse, decide, aggregate, replicate,
deparse. No clock, no socket.

`run` is the data path, compiled; with NUMBA_DISABLE_JIT=1 the same function can be
stepped through. `Pipeline` keeps its arrays, and is what the control plane programs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch import slots
from switch.addresses import Addresses
from switch.aggregate import COPIES, COUNTERS, NUM_COUNTERS, State, reach_slot
from switch.compiled import kernel, plain
from switch.config import Address, JobConfig, SwitchConfig
from switch.faults import Faults, new_faults, on_receive, on_send
from switch.parser import parse, well_formed
from switch.protocol import HEADER_BYTES, MAX_WORKERS, Rule
from switch.replicate import Copies
from switch.slots import new_registers
from switch.tables import (
    JOB,
    NOBODY,
    admit,
    child_of,
    write_children,
    write_codes,
)
from switch.tap import Tap
from switch.udp import MAX_ROWS, PACKET, Rows

Bytes = NDArray[np.uint8]

MAX_JOBS = 255  # at once


@kernel
def step(state: State, packet: Bytes, source: int, rule: int, out: Copies) -> None:
    """What one packet does; it is counted once."""
    if packet.size < HEADER_BYTES:
        state.counters[0, slots.MALFORMED] += 1
        return
    header = parse(packet)
    row = state.row_of[header.job]
    counts = state.counters[row + 1]
    copies_before = out.used[2]
    if not well_formed(header, packet.size):
        verdict = slots.MALFORMED
    elif row < 0:
        verdict = slots.UNKNOWN_JOB
    else:
        job = state.jobs[row]
        child = child_of(header, source, job)
        verdict = admit(header, source, child, job)
        if verdict == 0:
            verdict = reach_slot(
                state.registers, state.scratch, packet, header, source, child, rule,
                job, counts, out,
            )  # fmt: skip
    counts[verdict] += 1
    counts[COPIES] += out.used[2] - copies_before


@kernel
def run(state: State, batch: Rows, count: int, rule: int, out: Copies) -> None:
    """The data path: the first `count` packets of a batch, one after the other."""
    out.used[:] = 0
    for row in range(count):
        start = batch.offset[row]
        packet = batch.buffer[start : start + batch.length[row]]
        step(state, packet, batch.source[row], rule, out)


class Plane(NamedTuple):
    """The data plane of one switch: what packets pass through, faults included."""

    state: State
    faults: Faults
    rule: int
    out: Copies


@kernel
def pass_through(plane: Plane, batch: Rows, count: int) -> int:
    """`count` packets in; how many copies are in `plane.out`."""
    count = on_receive(plane.faults, batch, count)
    run(plane.state, batch, count, plane.rule, plane.out)
    plane.out.used[0] = on_send(plane.faults, plane.out.rows, plane.out.used[0])
    return int(plane.out.used[0])


class Pipeline:
    """An emulated switch without sockets: its tables, registers and counters."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self.known = Addresses()
        """Of all workers that any job has had."""
        self.faults = new_faults(config.faults)
        self.tap: Tap | None = None
        self._jobs: dict[int, JobConfig] = {}
        self.state = State(
            np.full(1 << 16, -1, np.int64),
            np.zeros(MAX_JOBS, JOB).view(np.recarray),
            new_registers(config.num_slots, config.slot_bytes),
            np.zeros(config.slot_bytes, np.uint8),
            np.zeros((1 + MAX_JOBS, NUM_COUNTERS), np.int64),
        )
        # every packet of a batch may be the last one of its slot
        self.out = Copies(
            np.empty(2 * MAX_ROWS * (HEADER_BYTES + config.slot_bytes), np.uint8),
            np.empty(MAX_ROWS * MAX_WORKERS, PACKET).view(np.recarray),
            np.zeros(3, np.int64),
        )
        # the same memory, as kernels like it
        registers = self.state.registers
        self.plane = Plane(
            self.state._replace(
                jobs=plain(self.state.jobs),
                registers=registers._replace(slots=plain(registers.slots)),
            ),
            self.faults,
            int(config.rule),
            self.out._replace(rows=plain(self.out.rows)),
        )
        for job in config.jobs:
            self.install(job)

    def install(self, job: JobConfig) -> None:
        """Give a job its slots and bind its workers.

        Raises ValueError when the job exists, no slots or rows are left for it, its
        code tables are too large for so many workers, or its tree is none.
        """
        if job.job in self._jobs:
            raise ValueError(f"job {job.job} exists already")
        if job.slot_bytes > self.config.slot_bytes:
            raise ValueError(
                f"job {job.job}: slot_bytes {job.slot_bytes} is more than the switch's "
                f"{self.config.slot_bytes}"
            )
        if job.tree is not None and self.config.rule != Rule.SAFE:
            raise ValueError(f"job {job.job}: trees of switches take the rule safe")
        first_slot = self._free_slots(job.num_slots)
        row = self._free_row()
        table = self.state.jobs[row]
        write_codes(table, job)
        write_children(table, job)
        table.first_slot = first_slot
        table.num_slots = job.num_slots
        table.slot_bytes = job.slot_bytes
        table.overflow = job.overflow
        table.group[: len(job.workers)] = [self.known.number(a) for a in job.workers]
        table.shared = self._number(job.group)
        table.parent = self._number(job.tree.parent if job.tree else None)
        slots.clear(self.state.registers, 2 * first_slot, 2 * job.num_slots)
        self._jobs[job.job] = job
        self.state.row_of[job.job] = row

    def remove(self, job: int) -> None:
        """Free the job's slots; its packets are of an unknown job from now on.

        What it counted is kept in the totals of the switch.
        """
        row = self._row(job)
        self.state.counters[0] += self.state.counters[row + 1]
        self.state.counters[row + 1, :] = 0
        self.state.row_of[job] = -1
        del self._jobs[job]

    def reset(self, job: int) -> None:
        """Forget what the job's slots hold: its sequences begin at 0 again."""
        row = self._row(job)
        table = self.state.jobs[row]
        slots.clear(
            self.state.registers, 2 * int(table.first_slot), 2 * int(table.num_slots)
        )

    def counters(self, job: int | None = None) -> dict[str, int]:
        """Packets counted by what became of them: of one job, or of all."""
        rows = self.state.counters
        total = rows.sum(axis=0) if job is None else rows[self._row(job) + 1]
        counts = {
            name: int(total[list(which)].sum()) for name, which in COUNTERS.items()
        }
        if job is None:
            counts["lost_in"], counts["lost_out"] = self.faults.lost.tolist()
        return counts

    def run(self, batch: Rows, count: int) -> Copies:
        """Process `count` <= MAX_ROWS packets; the copies are valid until the next."""
        if self.tap is not None:
            self.tap.on_receive(batch, count, self.known.known)
        pass_through(self.plane, batch, count)
        if self.tap is not None:
            self.tap.on_send(self.out, self.known.known)
        return self.out

    def process(
        self, datagrams: list[tuple[bytes, Address]]
    ) -> list[tuple[bytes, Address]]:
        """The same for packets as Python objects: for tests and tools."""
        copies: list[tuple[bytes, Address]] = []
        for start in range(0, len(datagrams), MAX_ROWS):
            some = datagrams[start : start + MAX_ROWS]
            length = np.array([len(packet) for packet, _ in some], np.int64)
            source = [self.known.number_of.get(address, -1) for _, address in some]
            joined = np.frombuffer(b"".join(packet for packet, _ in some), np.uint8)
            offset = length.cumsum() - length
            batch = Rows(joined.copy(), offset, length, np.array(source))
            copies += self._as_datagrams(self.run(batch, len(some)))
        return copies

    def _as_datagrams(self, out: Copies) -> list[tuple[bytes, Address]]:
        data, known = out.buffer, self.known.known
        return [
            (data[row.offset :][: row.length].tobytes(), known[row.destination])
            for row in out.rows[: out.used[0]]
        ]

    def _number(self, address: Address | None) -> int:
        return NOBODY if address is None else self.known.number(address)

    def _row(self, job: int) -> int:
        row = int(self.state.row_of[job]) if 0 <= job < 1 << 16 else -1
        if row < 0:
            known = ", ".join(str(job) for job in self._jobs) or "none"
            raise ValueError(f"job {job} does not exist; the switch's jobs: {known}")
        return row

    def _free_row(self) -> int:
        taken = {self._row(job) for job in self._jobs}
        if len(taken) == MAX_JOBS:
            raise ValueError(f"the switch serves at most {MAX_JOBS} jobs at once")
        return min(set(range(MAX_JOBS)) - taken)

    def _free_slots(self, wanted: int) -> int:
        """First fit between the slot ranges of the jobs."""
        tables = [self.state.jobs[self._row(job)] for job in self._jobs]
        ranges = sorted((int(job.first_slot), int(job.num_slots)) for job in tables)
        start = 0
        for first, count in ranges:
            if first - start >= wanted:
                break
            start = first + count
        if start + wanted > self.config.num_slots:
            used = sum(count for _, count in ranges)
            raise ValueError(
                f"{wanted} slots asked for, but of the switch's "
                f"{self.config.num_slots} slots {used} are in use"
            )
        return start
