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
from switch.aggregate import (
    COPIES,
    COUNTERS,
    NUM_COUNTERS,
    State,
    look_for_stragglers,
    reach_slot,
)
from switch.compiled import kernel, plain
from switch.config import Address, JobConfig, SwitchConfig
from switch.faults import IN, OUT
from switch.parser import parse, well_formed
from switch.ports import (
    Port,
    counts_of,
    cross,
    is_perfect,
    new_port,
    plain_port,
    write_line,
)
from switch.protocol import HEADER_BYTES, MAX_WORKERS, Rule
from switch.replicate import Copies, clear, new_copies
from switch.slots import NEXT_LOOK, NOW, new_registers
from switch.stragglers import Lateness, lateness_of
from switch.tables import (
    JOB,
    NOBODY,
    admit,
    child_of,
    write_children,
    write_codes,
)
from switch.tap import Tap
from switch.tree import ranks_behind
from switch.udp import MAX_ROWS, SPARE_BYTES, Rows

Bytes = NDArray[np.uint8]

MAX_JOBS = 255  # at once
MAX_ADDRESSES = MAX_JOBS * (MAX_WORKERS + 2)  # with a group and a parent each


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
    clear(out)
    for row in range(count):
        start = batch.offset[row]
        packet = batch.buffer[start : start + batch.length[row]]
        step(state, packet, batch.source[row], rule, out)


class Plane(NamedTuple):
    """The data plane of one switch: what packets pass through, faults included."""

    state: State
    inward: Port
    outward: Port
    rule: int
    out: Copies


@kernel
def pass_through(plane: Plane, batch: Rows, count: int, now: float) -> int:
    """`count` packets in; how many copies are in `plane.out`. At the latest at
    `next_due` it is to be called again, with no packet if there is none."""
    inward = plane.inward
    plane.state.registers.clock[NOW] = now
    if is_perfect(inward):
        run(plane.state, batch, count, plane.rule, plane.out)
    else:
        kept = cross(inward, batch, count, batch.buffer.size - SPARE_BYTES, now)
        rows = Rows(batch.buffer, inward.offset, inward.length, inward.address)
        run(plane.state, rows, kept, plane.rule, plane.out)
    look_for_stragglers(plane.state, plane.out)
    if not is_perfect(plane.outward):
        send_through(plane.outward, plane.out, now)
    return int(plane.out.used[0])


@kernel
def send_through(port: Port, out: Copies, now: float) -> None:
    """Replace the copies by what the links make of them."""
    rows = out.rows
    batch = Rows(out.buffer, rows["offset"], rows["length"], rows["destination"])
    kept = cross(port, batch, out.used[0], out.used[1], now)
    for row in range(kept):
        copy = rows[row]
        copy.offset = port.offset[row]
        copy.length = port.length[row]
        copy.destination = port.address[row]
    out.used[0] = kept


@kernel
def next_due(plane: Plane) -> float:
    """When the first packet must go on that faults hold back, or a result without
    stragglers."""
    held = min(plane.inward.next_due[0], plane.outward.next_due[0])
    return float(min(held, plane.state.registers.clock[NEXT_LOOK]))


class Pipeline:
    """An emulated switch without sockets: its tables, registers and counters."""

    def __init__(self, config: SwitchConfig) -> None:
        self.config = config
        self.known = Addresses()
        """Of all workers that any job has had."""
        self.tap: Tap | None = None
        self._jobs: dict[int, JobConfig] = {}
        self.state = State(
            np.full(1 << 16, -1, np.int64),
            np.zeros(MAX_JOBS, JOB).view(np.recarray),
            new_registers(config.num_slots, config.slot_bytes),
            np.zeros(config.slot_bytes, np.uint8),
            np.zeros((1 + MAX_JOBS, NUM_COUNTERS), np.int64),
        )
        self.out, self.inward, self.outward = self._new_ports()
        # the same memory, as kernels like it
        registers = self.state.registers
        self.plane = Plane(
            self.state._replace(
                jobs=plain(self.state.jobs),
                registers=registers._replace(slots=plain(registers.slots)),
            ),
            plain_port(self.inward),
            plain_port(self.outward),
            int(config.rule),
            self.out._replace(rows=plain(self.out.rows)),
        )
        self._write_lines(-1, ("", 0))
        self._spare = b"" if is_perfect(self.inward) else bytes(SPARE_BYTES)
        for job in config.jobs:
            self.install(job)

    def _new_ports(self) -> tuple[Copies, Port, Port]:
        faults, packet_bytes = self.config.faults, HEADER_BYTES + self.config.slot_bytes
        is_faulty = faults.any("inward"), faults.any("outward")
        # every packet may have a twin, and may be the last one of its slot
        rows = 2 * MAX_ROWS if is_faulty[0] else MAX_ROWS
        out = new_copies(rows * MAX_WORKERS, rows, packet_bytes, SPARE_BYTES)
        inward = new_port(is_faulty[0], MAX_ADDRESSES, rows, packet_bytes)
        outward = new_port(is_faulty[1], MAX_ADDRESSES, out.rows.size, packet_bytes)
        return out, inward, outward

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
        is_special = job.tree is not None or job.straggler_timeout > 0
        if is_special and self.config.rule != Rule.SAFE:
            raise ValueError(
                f"job {job.job}: trees of switches, and results without stragglers,"
                " take the rule safe"
            )
        first_slot = self._free_slots(job.num_slots)
        row = self._free_row()
        table = self.state.jobs[row]
        write_codes(table, job)
        write_children(table, job)
        table.first_slot = first_slot
        table.num_slots = job.num_slots
        table.slot_bytes = job.slot_bytes
        table.overflow = job.overflow
        table.id, table.patience = job.job, job.straggler_timeout
        table.last[:], table.late[:], table.missed[:] = 0, 0, 0
        table.group[: len(job.workers)] = [self._number(a) for a in job.workers]
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
        self.state.jobs[row].patience = 0
        for address in addresses_of(self._jobs.pop(job)):
            self.known.release(address)

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
            counts |= counts_of(self.inward, "in") | counts_of(self.outward, "out")
        return counts

    def lateness(self, job: int) -> list[Lateness]:
        """Of each of the job's workers, or switches below."""
        table = self.state.jobs[self._row(job)]
        return lateness_of(table, ranks_behind(self._jobs[job]))

    def run(self, batch: Rows, count: int, now: float = 0.0) -> Copies:
        """Process `count` <= MAX_ROWS packets; the copies are valid until the next.

        `now`, in seconds, matters to links alone that delay packets or hold them back.
        """
        if self.tap is not None:
            self.tap.on_receive(batch, count, self.known.known)
        pass_through(self.plane, batch, count, now)
        if self.tap is not None:
            self.tap.on_send(self.out, self.known.known)
        return self.out

    def process(
        self, datagrams: list[tuple[bytes, Address]], now: float = 0.0
    ) -> list[tuple[bytes, Address]]:
        """The same for packets as Python objects: for tests and tools."""
        copies: list[tuple[bytes, Address]] = []
        # none: what faults have held back may be due
        for start in range(0, max(1, len(datagrams)), MAX_ROWS):
            some = datagrams[start : start + MAX_ROWS]
            length = np.array([len(packet) for packet, _ in some], np.int64)
            source = [self.known.number_of.get(address, -1) for _, address in some]
            joined = b"".join(packet for packet, _ in some) + self._spare
            offset = length.cumsum() - length
            buffer = np.frombuffer(joined, np.uint8).copy()
            batch = Rows(buffer, offset, length, np.array(source, np.int64))
            copies += self._as_datagrams(self.run(batch, len(some), now))
        return copies

    def _as_datagrams(self, out: Copies) -> list[tuple[bytes, Address]]:
        data, known = out.buffer, self.known.known
        return [
            (data[row.offset :][: row.length].tobytes(), known[row.destination])
            for row in out.rows[: out.used[0]]
        ]

    def _number(self, address: Address | None) -> int:
        if address is None:
            return NOBODY
        is_new = address not in self.known.number_of
        number = self.known.number(address)
        if is_new:
            self._write_lines(number, address)
        return number

    def _write_lines(self, number: int, address: Address) -> None:
        """The faults of the links to an address; NOBODY's are of all unknown ones."""
        write_line(self.inward, self.config.faults, IN, number, address)
        write_line(self.outward, self.config.faults, OUT, number, address)

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


def addresses_of(job: JobConfig) -> list[Address]:
    """All that a job has numbers of, one a use."""
    parent = job.tree.parent if job.tree else None
    return [*job.workers, *(each for each in (job.group, parent) if each)]
