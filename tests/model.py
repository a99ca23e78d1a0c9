"""The rules of docs/protocol.md in the plainest Python: an oracle for the switch.

One packet at a time, values as lists of integers, slots in a dict. It shares names and
codes with `switch.protocol`, and nothing else with the switch. Beside its answers it
says which rows of the decision tables a packet went through (`rows`), so that a test
can ask whether all of them were.
"""

import struct
from collections import Counter

from model_parts import (
    CODE4,
    CODE8,
    LANES,
    NAMES,
    Slot,
    behind,
    child_of,
    codes_of,
    is_complete,
    kind_in_slot,
    lanes_of,
    mismatch_of,
    parent_of,
    reason_of,
    table_of,
    unpack,
    wrapped,
)

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
TREE_ROWS = (
    "contribute upward again",
    "result of the parent",
    "another result of the parent",
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
        if header.recipient not in (*range(job.num_workers), EVERY_WORKER):
            return "malformed"
        if header.element_count << result > job.slot_bytes:
            return "malformed"
        if is_code:
            table = table_of(job, element)
            largest = (1 << (8 << result) - 1) - 1
            if not table or job.num_workers * max(map(abs, table)) > largest:
                return "malformed"
        if from_switch and source == parent_of(job):
            return None if header.opcode == Opcode.RESULT else "opcode"
        if child_of(header, source, job) is None:
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
        child = child_of(header, source, job)
        row = self.decide(header, slot, child, job)
        self.rows[row] += 1
        if row in ("first of an empty slot", "take over", "start again"):
            kept = slot.children if slot and self.rule == Rule.SWITCHML else set()
            slot = self.slots[header.job, index] = Slot(
                sequence=header.sequence,
                kind=kind_in_slot(header.kind, job),
                recipient=header.recipient,
                children=set(kept),
                received=0,
                final=0,
                exponent=NO_EXPONENT,
                flags=0,
                values=[],
            )
        elif row == "replay":
            assert slot
            assert child is not None
            return "replays", [(self.result(header, slot, child, 2), source)]
        elif row == "contribute upward again":
            assert slot
            return "replays", [self.contribution(header, slot, 2)]
        elif row == "result of the parent":
            assert slot
            slot.final, slot.values = header.worker, []
            slot.exponent, slot.flags = header.exponent, 0
        elif row != "reduce":
            return reason_of(row), []
        assert slot
        self.accept(header, slot, payload, child)
        return "accepted", self.copies(header, slot) if is_complete(slot, job) else []

    def copies(self, header: Header, slot: Slot) -> list[Datagram]:
        """What leaves because a slot is complete, or final."""
        job = self.jobs[header.job]
        self.rows["complete"] += 1
        if parent_of(job) and not slot.final:
            return [self.contribution(header, slot, 0)]
        slot.final = slot.final or slot.received
        self.count(header, "results")
        return [
            (self.result(header, slot, child, 0), address)
            for child, address in enumerate(job.workers)
        ]

    def decide(
        self, header: Header, slot: Slot | None, child: int | None, job: JobConfig
    ) -> str:
        """The row of a decision table."""
        if header.opcode == Opcode.RESULT:
            return self.decide_result(header, slot, job)
        assert child is not None
        if self.rule == Rule.SWITCHML:
            return self.decide_switchml(header, slot, child, job)
        return self.decide_safe(header, slot, child, job)

    def decide_result(self, header: Header, slot: Slot | None, job: JobConfig) -> str:
        if slot and is_complete(slot, job) and not slot.final and header.worker > 0:
            reduction, _, result = lanes_of(slot.kind)
            upward = (slot.sequence, (reduction, result, result), slot.recipient)
            came = (header.sequence, lanes_of(header.kind), header.recipient)
            if came == upward:
                return "result of the parent"
        return "another result of the parent"

    def decide_safe(
        self, header: Header, slot: Slot | None, child: int, job: JobConfig
    ) -> str:
        twice = 2 * job.num_slots
        if slot is None:
            in_first_round = header.sequence < twice
            return (
                "first of an empty slot"
                if in_first_round
                else "empty slot, other sequence"
            )
        if header.sequence == (slot.sequence + twice) % 2**32 and slot.final:
            return "take over"
        if 1 <= (slot.sequence - header.sequence) % 2**32 <= 2**31:
            return "behind"
        if header.sequence != slot.sequence:
            return "ahead"
        mismatch = mismatch_of(header, slot, job)
        if mismatch:
            return mismatch
        if child not in slot.children:
            return "reduce"
        if slot.final:
            return "replay"
        return "contribute upward again" if is_complete(slot, job) else "duplicate"

    def decide_switchml(
        self, header: Header, slot: Slot | None, child: int, job: JobConfig
    ) -> str:
        if slot is None:
            return "first of an empty slot"
        complete = is_complete(slot, job)
        if child in slot.children:
            return "replay" if complete else "duplicate"
        if complete:
            return "start again"
        return mismatch_of(header, slot, job) or "reduce"

    def accept(
        self, header: Header, slot: Slot, payload: bytes, child: int | None
    ) -> None:
        """A contribution of a child; None: the parent's result."""
        job = self.jobs[header.job]
        if child is not None:
            slot.children.add(child)
            slot.received += len(behind(job, child))
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
        if other and header.worker in other.children:
            self.rows["other version cleared"] += 1
            other.children.discard(header.worker)

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

    def contribution(self, cause: Header, slot: Slot, flags: int) -> Datagram:
        """What the slot holds, as the switch above gets it."""
        parent = parent_of(self.jobs[cause.job])
        assert parent
        lane = slot.kind & 7
        packet = emit(
            opcode=Opcode.CONTRIBUTE,
            kind=slot.kind & 0xC0 | lane << 3 | lane,
            job=cause.job,
            worker=slot.received,
            recipient=slot.recipient,
            sequence=slot.sequence,
            element_count=len(slot.values),
            exponent=slot.exponent,
            flags=slot.flags | flags,
            payload=struct.pack(f">{len(slot.values)}{LANES[lane]}", *slot.values),
        )
        return packet, parent

    def result(self, cause: Header, slot: Slot, child: int, flags: int) -> bytes:
        """The result as a child gets it; it carries the sequence of its cause."""
        leads_there = slot.recipient in behind(self.jobs[cause.job], child)
        wanted = slot.recipient == EVERY_WORKER or leads_there
        values = slot.values if wanted else []
        return emit(
            opcode=Opcode.RESULT,
            kind=slot.kind,
            job=cause.job,
            worker=slot.final,
            recipient=slot.recipient,
            sequence=cause.sequence,
            element_count=len(values),
            exponent=slot.exponent,
            flags=slot.flags | flags,
            payload=struct.pack(f">{len(values)}{LANES[slot.kind & 7]}", *values),
        )

    def status(self, cause: Header, slot: Slot | None) -> bytes:
        children = slot.children if slot else set()
        return emit(
            opcode=Opcode.STATUS,
            job=cause.job,
            worker=slot.received if slot else 0,
            sequence=slot.sequence if slot else cause.sequence,
            element_count=8,
            payload=sum(1 << child for child in children).to_bytes(8, "big"),
        )
