"""Slots and packets for the rows of the decision tables, and what is decided."""

from typing import Any

from switch import slots
from switch.parser import reduced_kind
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    NO_EXPONENT,
    SEQUENCE_MASK,
    Header,
    Opcode,
    Rule,
)

S = 4  # slots of the job
WORKERS = 3
KIND, OTHER_KIND = 0b00_010_010, 0b01_010_010
NARROW = 0b00_000_010  # int8 into int32
LAST = SEQUENCE_MASK
EVERYBODY = 0b111


def header_of(worker: int = 0, sequence: int = 100, **fields: Any) -> Header:
    values = {
        "format": FORMAT,
        "opcode": int(Opcode.CONTRIBUTE),
        "kind": KIND,
        "job": 7,
        "worker": worker,
        "recipient": EVERY_WORKER,
        "sequence": sequence,
        "element_count": 5,
        "exponent": NO_EXPONENT,
        "flags": 0,
    }
    return Header(**{**values, **fields})


def slot_of(sequence: int = 100, bitmap: int = 0b010, **fields: Any) -> Any:
    """One slot that holds what the workers of `bitmap` contributed."""
    registers = slots.new_registers(1, 8)
    slot = registers.slots[0]
    slot.sequence, slot.bitmap, slot.received = sequence, bitmap, bitmap.bit_count()
    slot.final = WORKERS if bitmap == EVERYBODY else 0
    slot.closed = slots.CLOSED if bitmap == EVERYBODY else slots.OPEN
    slot.kind, slot.recipient, slot.element_count = KIND, EVERY_WORKER, 5
    slot.exponent, slot.flag_bits = NO_EXPONENT, 0
    for name, value in fields.items():
        slot[name] = value
    return slot


def nothing() -> Any:
    return slots.new_registers(1, 8).slots[0]


def verdict(
    slot: Any, header: Header, rule: Rule = Rule.SAFE, may_lag: bool = False
) -> int:
    before, child = slot.copy(), header.worker
    found = int(
        slots.decide(slot, header, child, int(rule), S, WORKERS, may_lag, False)
    )
    assert slot == before, "deciding writes nothing"
    return found


def result_of(sequence: int = 100, **fields: Any) -> Header:
    """A result of the parent, of nine workers."""
    kind = reduced_kind(NARROW)
    return header_of(
        9, sequence, **{"opcode": int(Opcode.RESULT), "kind": kind, **fields}
    )
