"""Every row of the decision tables, and what each verdict writes, slot by slot.

(test_slots.py explores what follows from the rules; here they are held to the page.)
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slot_rows import (
    EVERYBODY,
    LAST,
    NARROW,
    OTHER_KIND,
    WORKERS,
    S,
    header_of,
    nothing,
    result_of,
    slot_of,
    verdict,
)

from switch import slots
from switch.protocol import NO_EXPONENT, SEQUENCE_MASK, Opcode, Rule


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("sequence", [0, 99, 100, 101, 108, LAST])
@pytest.mark.parametrize("bitmap", [0, 0b010, EVERYBODY])
def test_a_query_is_answered_whatever_is_held(
    rule: Rule, sequence: int, bitmap: int
) -> None:
    query = header_of(sequence=sequence, opcode=int(Opcode.QUERY), kind=OTHER_KIND)
    assert verdict(slot_of(bitmap=bitmap), query, rule) == slots.ANSWER


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (0, slots.TAKE_OVER),
        (S, slots.TAKE_OVER),
        (2 * S - 1, slots.TAKE_OVER),
        (2 * S, slots.AHEAD),
        (100, slots.AHEAD),
        (LAST, slots.AHEAD),
    ],
)
def test_nothing_held(sequence: int, expected: int) -> None:
    assert verdict(nothing(), header_of(sequence=sequence)) == expected


@pytest.mark.parametrize("held", [0, 100, LAST, LAST - S, 2**31, 2**31 - 2 * S])
def test_the_next_of_a_complete_slot_takes_over(held: int) -> None:
    following = (held + 2 * S) & SEQUENCE_MASK
    complete, waiting = slot_of(held, EVERYBODY), slot_of(held, 0b011)
    assert verdict(complete, header_of(2, following)) == slots.TAKE_OVER
    assert verdict(waiting, header_of(2, following)) == slots.AHEAD
    # the slot compares no kind or count with what it held before
    other = header_of(2, following, kind=OTHER_KIND, recipient=1, element_count=4)
    assert verdict(complete, other) == slots.TAKE_OVER


@pytest.mark.parametrize("held", [0, 1, 100, 2**31, LAST])
@pytest.mark.parametrize("bitmap", [0b010, EVERYBODY])
@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (-1, slots.STALE),
        (-2 * S, slots.STALE),
        (-(2**31) + 1, slots.STALE),
        (-(2**31), slots.STALE),
        (2**31 - 1, slots.AHEAD),
        (4 * S, slots.AHEAD),
        (2 * S + 1, slots.AHEAD),
        (2 * S - 1, slots.AHEAD),
        (1, slots.AHEAD),
    ],
)
def test_sequences_other_than_held(
    held: int, bitmap: int, distance: int, expected: int
) -> None:
    header = header_of(sequence=(held + distance) & SEQUENCE_MASK)
    assert verdict(slot_of(held, bitmap), header) == expected


MISMATCHES: list[tuple[dict[str, int], dict[str, int], bool]] = [
    # held, packet, whether they match
    ({}, {}, True),
    ({}, {"kind": OTHER_KIND}, False),
    ({}, {"recipient": 0}, False),
    ({"recipient": 1}, {"recipient": 1}, True),
    ({}, {"element_count": 4}, False),
    ({}, {"element_count": 0}, True),
    ({"element_count": 0}, {}, True),
    ({"element_count": 0}, {"element_count": 0}, True),
    ({"element_count": 0}, {"element_count": 0, "kind": OTHER_KIND}, False),
    ({}, {"exponent": 3, "flags": 4}, True),
]


@pytest.mark.parametrize(("held", "packet", "match"), MISMATCHES)
def test_contributions_that_do_not_match(
    held: dict[str, int], packet: dict[str, int], match: bool
) -> None:
    """The mismatch is told before the worker's bit is looked at."""
    for bitmap, otherwise in (
        (0b010, slots.REDUCE),
        (0b011, slots.DUPLICATE),
        (EVERYBODY, slots.REPLAY),
    ):
        slot, header = slot_of(bitmap=bitmap, **held), header_of(0, **packet)
        assert verdict(slot, header) == (otherwise if match else slots.MISMATCH)


@pytest.mark.parametrize(
    ("bitmap", "worker", "expected"),
    [
        (0b010, 0, slots.REDUCE),
        (0b010, 1, slots.DUPLICATE),
        (0b011, 2, slots.REDUCE),
        (EVERYBODY, 2, slots.REPLAY),
    ],
)
def test_the_sequence_held(bitmap: int, worker: int, expected: int) -> None:
    assert verdict(slot_of(bitmap=bitmap), header_of(worker)) == expected


@pytest.mark.parametrize("sequence", [100, 0, 108, LAST])
@pytest.mark.parametrize(
    ("bitmap", "received", "worker", "expected"),
    [
        (0, 0, 0, slots.START_AGAIN),
        (0b100, 0, 0, slots.START_AGAIN),  # a bit of the time before
        (0b001, 1, 0, slots.DUPLICATE),
        (0b001, 1, 1, slots.REDUCE),
        (0b011, 2, 2, slots.REDUCE),
        (0b111, 3, 2, slots.REPLAY),
        (0b110, 3, 0, slots.START_AGAIN),  # complete, and worker 0 has moved on
    ],
)
def test_switchml_compares_no_sequence(
    sequence: int, bitmap: int, received: int, worker: int, expected: int
) -> None:
    slot = slot_of(bitmap=bitmap, received=received)
    assert verdict(slot, header_of(worker, sequence), Rule.SWITCHML) == expected


@pytest.mark.parametrize(("held", "packet", "match"), MISMATCHES)
def test_switchml_compares_only_what_it_reduces(
    held: dict[str, int], packet: dict[str, int], match: bool
) -> None:
    header = header_of(0, **packet)
    reduced = verdict(slot_of(bitmap=0b010, **held), header, Rule.SWITCHML)
    assert reduced == (slots.REDUCE if match else slots.MISMATCH)
    for bitmap, received, expected in (
        (0b011, 2, slots.DUPLICATE),
        (0b111, 3, slots.REPLAY),
        (0b110, 3, slots.START_AGAIN),
    ):
        slot = slot_of(bitmap=bitmap, received=received, **held)
        assert verdict(slot, header, Rule.SWITCHML) == expected


# A switch with a parent: its children have all contributed, or the result is there too.
WAITING = {"bitmap": EVERYBODY, "final": 0, "kind": NARROW}
FINAL = {"bitmap": EVERYBODY, "final": 9, "kind": NARROW}


def test_a_slot_that_waits_for_its_parent() -> None:
    waiting = slot_of(**WAITING)
    assert verdict(waiting, header_of(1, kind=NARROW)) == slots.SEND_UP
    assert verdict(waiting, header_of(1, kind=OTHER_KIND)) == slots.MISMATCH
    assert verdict(waiting, header_of(1, 100 - 2 * S)) == slots.STALE
    assert verdict(waiting, header_of(1, 100 + 2 * S)) == slots.AHEAD, "not final"
    assert verdict(slot_of(**FINAL), header_of(1, kind=NARROW)) == slots.REPLAY
    assert verdict(slot_of(**FINAL), header_of(1, 100 + 2 * S)) == slots.TAKE_OVER


@pytest.mark.parametrize(
    ("held", "packet", "expected"),
    [
        (WAITING, {}, slots.FINISH),
        (WAITING, {"element_count": 0}, slots.FINISH),
        (WAITING, {"flags": 2}, slots.FINISH),
        (FINAL, {}, slots.STALE),
        ({**WAITING, "bitmap": 0b011}, {}, slots.STALE),
        (WAITING, {"sequence": 100 - 2 * S}, slots.STALE),
        (WAITING, {"sequence": 100 + 2 * S}, slots.STALE),
        (WAITING, {"kind": NARROW}, slots.STALE),
        (WAITING, {"recipient": 2}, slots.STALE),
        (WAITING, {"worker": 0}, slots.STALE),
    ],
)
def test_a_result_of_the_parent(
    held: dict[str, int], packet: dict[str, int], expected: int
) -> None:
    header = result_of()._replace(**packet)
    assert verdict(slot_of(**held), header) == expected
    assert verdict(nothing(), header) == slots.STALE


def test_finishing_leaves_what_the_children_are_known_by() -> None:
    slot = slot_of(exponent=3, flag_bits=5, **WAITING)
    before = fields_of(slot)
    slots.finish(slot, result_of(exponent=4))
    # the payload of the result is the first of what follows
    after = {
        "closed": slots.CLOSED,
        "final": 9,
        "element_count": 0,
        "exponent": 4,
        "flag_bits": 0,
    }
    assert fields_of(slot) == before | after


@settings(deadline=None)
@given(
    st.integers(0, LAST),
    st.integers(0, LAST),
    st.integers(0, EVERYBODY),
    st.integers(0, WORKERS - 1),
)
def test_safe_depends_on_the_distance_alone(
    held: int, distance: int, bitmap: int, worker: int
) -> None:
    """Adding to both sequences changes no verdict, but where nothing is held."""
    bitmap = bitmap or 1
    here = verdict(slot_of(0, bitmap), header_of(worker, distance))
    there = header_of(worker, (held + distance) & SEQUENCE_MASK)
    assert verdict(slot_of(held, bitmap), there) == here


def fields_of(slot: Any) -> dict[str, int]:
    return {name: int(slot[name]) for name in slots.SLOT.names or ()}


def test_taking_over_writes_every_register() -> None:
    slot = slot_of(92, EVERYBODY, exponent=9, flag_bits=5)
    header = header_of(5, recipient=1, exponent=-3, kind=OTHER_KIND)
    slots.take_over(slot, header, header.kind, 2, 5, 3)
    assert fields_of(slot) == {
        "sequence": 100,
        "bitmap": 0b100,
        "received": 5,
        "left_out": 3,
        "closed": slots.OPEN,
        "final": 0,
        "kind": OTHER_KIND,
        "recipient": 1,
        "element_count": 0,
        "exponent": -3,
        "flag_bits": 0,
        "began": 0,  # `stragglers.note_time` keeps these
        "heard": 0,
    }


@pytest.mark.parametrize(
    ("held", "packet", "exponent"),
    [(NO_EXPONENT, 4, 4), (4, NO_EXPONENT, 4), (-9, -4, -4), (127, -128, 127)],
)
def test_joining_adds_a_bit_and_keeps_the_largest_exponent(
    held: int, packet: int, exponent: int
) -> None:
    slot = slot_of(bitmap=0b010, exponent=held, flag_bits=1, left_out=1)
    before = fields_of(slot)
    slots.join_slot(slot, header_of(7, exponent=packet), 2, 7, 2)
    after = {"bitmap": 0b110, "received": 8, "left_out": 3, "exponent": exponent}
    assert fields_of(slot) == before | after


def test_starting_again_keeps_the_bits_of_the_others() -> None:
    slot = slot_of(92, 0b110, received=3)
    slots.start_again(slot, header_of(0), header_of(0).kind, 0, 1)
    assert (int(slot.bitmap), int(slot.received)) == (0b111, 1)
    assert int(slot.sequence) == 100


@pytest.mark.parametrize("worker", [0, 31, 32, 63])
def test_forgetting_a_child_clears_its_bit_alone(worker: int) -> None:
    slot = nothing()
    slot.bitmap = 2**64 - 1
    slots.forget_child(slot, worker)
    assert int(slot.bitmap) == 2**64 - 1 - (1 << worker)
    assert not slots.has_contributed(slot, worker)
    assert slots.has_contributed(slot, worker ^ 1)


def test_clearing_forgets_a_range_of_slots_alone() -> None:
    registers = slots.new_registers(4, 8)
    registers.slots.view(np.uint8)[:] = 0xA5
    slots.clear(registers, 2, 4)
    empty = [not any(fields_of(slot).values()) for slot in registers.slots]
    assert empty == [False] * 2 + [True] * 4 + [False] * 2
