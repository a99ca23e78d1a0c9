"""The rules of docs/protocol.md in the plainest Python: an oracle for the switch.

One packet at a time, values as lists of integers, slots in a dict. It shares names and
codes with `switch.protocol`, and nothing else with the switch. Beside its answers it
says which rows of the decision tables a packet went through (`rows`), so that a test
can ask whether all of them were.
"""

import struct
from collections import Counter
from dataclasses import dataclass

from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    HEADER_BYTES,
    NO_EXPONENT,
    DropReason,
    Flag,
    Header,
    Opcode,
    Overflow,
    Reduction,
    Rule,
    emit,
)

Datagram = tuple[bytes, Address]

FIELDS = struct.Struct(">BBHHHIHbB")
LANES = "bhi"  # struct codes of int8, int16, int32
CODE4, CODE8 = 3, 4
NAMES = ("int8", "int16", "int32", "code4", "code8")
DROPS = [reason.name.lower() for reason in DropReason]
COUNTERS = ["accepted", "replays", "statuses", *DROPS, "results"]

# The rows of the decision tables, by their names in docs/protocol.md.
SAFE_ROWS = (
    "query",
    "first of an empty slot",
    "empty slot, other sequence",
    "take over",
    "behind",
    "ahead",
    "mismatch: kind",
    "mismatch: recipient",
    "mismatch: element_count",
    "reduce",
    "complete",
    "replay",
    "duplicate",
)
SWITCHML_ROWS = (
    "query",
    "first of an empty slot",
    "start again",
    "mismatch: kind",
    "mismatch: recipient",
    "mismatch: element_count",
    "reduce",
    "complete",
    "other version cleared",
    "replay",
    "duplicate",
)


@dataclass
class Slot:
    """What one version of a slot holds. A slot that holds nothing does not exist."""

    sequence: int
    kind: int
    recipient: int
    workers: set[int]
    received: int
    exponent: int
    flags: int
    values: list[int]
    """Empty until a payload has come."""


def unpack(packet: bytes) -> Header:
    """The header of at least HEADER_BYTES bytes."""
    first, *others = FIELDS.unpack_from(packet)
    return Header(first >> 4, first & 0xF, *others)


def lanes_of(kind: int) -> tuple[int, int, int]:
    """Reduction, element type, result type."""
    return kind >> 6, kind >> 3 & 7, kind & 7


def table_of(job: JobConfig, element: int) -> tuple[int, ...] | None:
    return job.code4 if element == CODE4 else job.code8


def codes_of(payload: bytes, element: int) -> list[int]:
    if element == CODE8:
        return list(payload)
    return [code for byte in payload for code in (byte >> 4, byte & 15)]


def wrapped(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


class Model:
    """A switch with the interface of switch.pipeline.Pipeline."""

    def __init__(self, config: SwitchConfig) -> None:
        self.rule = config.rule
        self.jobs: dict[int, JobConfig] = {job.job: job for job in config.jobs}
        self.slots: dict[tuple[int, int], Slot] = {}
        self.counts: Counter[tuple[int | None, str]] = Counter()
        self.rows: Counter[str] = Counter()
        self.lanes: Counter[tuple[str, ...]] = Counter()

    def counters(self, job: int | None = None) -> dict[str, int]:
        return {
            name: sum(
                count
                for (counted_job, counted), count in self.counts.items()
                if counted == name and job in (None, counted_job)
            )
            for name in COUNTERS
        }

    def reset(self, job: int) -> None:
        self.slots = {key: slot for key, slot in self.slots.items() if key[0] != job}

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        return [copy for packet in datagrams for copy in self.receive(*packet)]

    def receive(self, packet: bytes, source: Address) -> list[Datagram]:
        if len(packet) < HEADER_BYTES:
            self.counts[None, "malformed"] += 1
            return []
        header = unpack(packet)
        reason = self.objection(packet, header, source)
        if reason:
            self.count(header, reason)
            return []
        outcome, copies = self.reach_slot(header, packet[HEADER_BYTES:], source)
        self.count(header, outcome)
        return copies

    def count(self, header: Header, outcome: str) -> None:
        job = header.job if header.job in self.jobs else None
        self.counts[job, outcome] += 1

    def objection(self, packet: bytes, header: Header, source: Address) -> str | None:
        """The checks before the slot, in their order: a drop reason, or None."""
        reduction, element, result = lanes_of(header.kind)
        if header.format != FORMAT or header.opcode > 3 or reduction > 2:
            return "malformed"
        is_code = element in (CODE4, CODE8)
        if result > 2 or (element > result and not is_code) or element > CODE8:
            return "malformed"
        if is_code and reduction != Reduction.SUM:
            return "malformed"
        if element == CODE4 and header.element_count % 2:
            return "malformed"
        from_switch = header.opcode in (Opcode.RESULT, Opcode.STATUS)
        bits = 8 << result if from_switch else (8, 16, 32, 4, 8)[element]
        if 8 * (len(packet) - HEADER_BYTES) != header.element_count * bits:
            return "malformed"
        if header.job not in self.jobs:
            return "unknown_job"
        job = self.jobs[header.job]
        if header.recipient not in (*range(len(job.workers)), EVERY_WORKER):
            return "malformed"
        if header.element_count << result > job.slot_bytes:
            return "malformed"
        if is_code:
            table = table_of(job, element)
            largest = (1 << (8 << result) - 1) - 1
            if not table or len(job.workers) * max(map(abs, table)) > largest:
                return "malformed"
        if job.workers[header.worker : header.worker + 1] != (source,):
            return "unknown_source"
        return "opcode" if from_switch else None

    def reach_slot(
        self, header: Header, payload: bytes, source: Address
    ) -> tuple[str, list[Datagram]]:
        """What the packet is counted as, and the packets that follow."""
        job = self.jobs[header.job]
        index = header.sequence % (2 * job.num_slots)
        slot = self.slots.get((header.job, index))
        if header.opcode == Opcode.QUERY:
            self.rows["query"] += 1
            return "statuses", [(self.status(header, slot), source)]
        decide = self.decide_safe if self.rule == Rule.SAFE else self.decide_switchml
        row = decide(header, slot, job)
        self.rows[row] += 1
        if row in ("first of an empty slot", "take over", "start again"):
            kept = slot.workers if slot and self.rule == Rule.SWITCHML else set()
            slot = self.slots[header.job, index] = Slot(
                sequence=header.sequence,
                kind=header.kind,
                recipient=header.recipient,
                workers=set(kept),
                received=0,
                exponent=NO_EXPONENT,
                flags=0,
                values=[],
            )
        elif row == "replay":
            assert slot
            return "replays", [(self.result(header, slot, header.worker, 2), source)]
        elif row != "reduce":
            return reason_of(row), []
        assert slot
        self.accept(header, slot, payload, job)
        if slot.received < len(job.workers):
            return "accepted", []
        self.rows["complete"] += 1
        self.count(header, "results")
        return "accepted", [
            (self.result(header, slot, worker, 0), address)
            for worker, address in enumerate(job.workers)
        ]

    def decide_safe(self, header: Header, slot: Slot | None, job: JobConfig) -> str:
        twice = 2 * job.num_slots
        if slot is None:
            in_first_round = header.sequence < twice
            return (
                "first of an empty slot"
                if in_first_round
                else "empty slot, other sequence"
            )
        complete = slot.received == len(job.workers)
        if header.sequence == (slot.sequence + twice) % 2**32 and complete:
            return "take over"
        if 1 <= (slot.sequence - header.sequence) % 2**32 <= 2**31:
            return "behind"
        if header.sequence != slot.sequence:
            return "ahead"
        mismatch = mismatch_of(header, slot)
        if mismatch:
            return mismatch
        if header.worker not in slot.workers:
            return "reduce"
        return "replay" if complete else "duplicate"

    def decide_switchml(self, header: Header, slot: Slot | None, job: JobConfig) -> str:
        if slot is None:
            return "first of an empty slot"
        complete = slot.received == len(job.workers)
        if header.worker in slot.workers:
            return "replay" if complete else "duplicate"
        if complete:
            return "start again"
        return mismatch_of(header, slot) or "reduce"

    def accept(
        self, header: Header, slot: Slot, payload: bytes, job: JobConfig
    ) -> None:
        slot.workers.add(header.worker)
        slot.received += 1
        slot.exponent = max(slot.exponent, header.exponent)
        slot.flags |= header.flags & (Flag.OVERFLOW | Flag.CLIPPED)
        if self.rule == Rule.SWITCHML:
            self.clear_other_version(header, job)
        if not header.element_count:
            return
        elements = self.elements(header, payload, job)
        if slot.values:
            self.reduce(header.kind, slot, elements, job.overflow)
        else:
            slot.values = elements

    def elements(self, header: Header, payload: bytes, job: JobConfig) -> list[int]:
        element = lanes_of(header.kind)[1]
        if element not in (CODE4, CODE8):
            lane = LANES[element]
            return list(struct.unpack(f">{header.element_count}{lane}", payload))
        table = table_of(job, element)
        assert table
        return [table[code] for code in codes_of(payload, element)]

    def clear_other_version(self, header: Header, job: JobConfig) -> None:
        index = (header.sequence + job.num_slots) % (2 * job.num_slots)
        other = self.slots.get((header.job, index))
        if other and header.worker in other.workers:
            self.rows["other version cleared"] += 1
            other.workers.discard(header.worker)

    def reduce(
        self, kind: int, slot: Slot, elements: list[int], overflow: Overflow
    ) -> None:
        reduction, element, result = lanes_of(kind)
        bits = 8 << result
        name = Reduction(reduction).name.lower()
        self.lanes[name, NAMES[element], f"int{bits}"] += 1
        for i, (old, new) in enumerate(zip(slot.values, elements, strict=True)):
            if reduction == Reduction.MAX:
                slot.values[i] = max(old, new)
            elif reduction == Reduction.OR:
                slot.values[i] = old | new
            else:
                slot.values[i] = self.add(old + new, bits, overflow, slot)

    def add(self, total: int, bits: int, overflow: Overflow, slot: Slot) -> int:
        least, largest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if least <= total <= largest:
            return total
        edge = "below" if total < least else "above"
        self.lanes[overflow.name.lower(), edge, f"int{bits}"] += 1
        if overflow == Overflow.SATURATE:
            return least if total < least else largest
        if overflow == Overflow.DETECT:
            slot.flags |= Flag.OVERFLOW
        return wrapped(total, bits)

    def result(self, cause: Header, slot: Slot, worker: int, flags: int) -> bytes:
        """The result as `worker` gets it; it carries the sequence of its cause."""
        wanted = slot.recipient in (EVERY_WORKER, worker)
        values = slot.values if wanted else []
        return emit(
            opcode=Opcode.RESULT,
            kind=slot.kind,
            job=cause.job,
            worker=slot.received,
            recipient=slot.recipient,
            sequence=cause.sequence,
            element_count=len(values),
            exponent=slot.exponent,
            flags=slot.flags | flags,
            payload=struct.pack(f">{len(values)}{LANES[slot.kind & 7]}", *values),
        )

    def status(self, cause: Header, slot: Slot | None) -> bytes:
        workers = slot.workers if slot else set()
        return emit(
            opcode=Opcode.STATUS,
            job=cause.job,
            worker=slot.received if slot else 0,
            sequence=slot.sequence if slot else cause.sequence,
            element_count=8,
            payload=sum(1 << worker for worker in workers).to_bytes(8, "big"),
        )


def mismatch_of(header: Header, slot: Slot) -> str | None:
    """Why a contribution cannot be reduced into what the slot holds, or None."""
    if header.kind != slot.kind:
        return "mismatch: kind"
    if header.recipient != slot.recipient:
        return "mismatch: recipient"
    held, new = len(slot.values), header.element_count
    return "mismatch: element_count" if held and new and held != new else None


def reason_of(row: str) -> str:
    """The drop reason of a row that drops."""
    if row == "empty slot, other sequence":
        return "ahead"
    return {"behind": "stale"}.get(row, row.split(":")[0])
