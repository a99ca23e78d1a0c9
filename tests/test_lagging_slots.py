"""Every row of the table of a switch whose parent may go on without it."""

import pytest
from slot_rows import (
    NARROW,
    S,
    header_of,
    nothing,
    result_of,
    slot_of,
    verdict,
)

from switch import slots
from switch.protocol import SEQUENCE_MASK, Opcode

# A switch whose parent waits for nobody: what it holds is open, has gone upward, is
# known to be past, or has its result.
GONE_UP = {"bitmap": 0b010, "closed": slots.CLOSED}
PASSED = {"bitmap": 0b010, "closed": slots.PASSED}
RELEASED = {**GONE_UP, "final": 2}


@pytest.mark.parametrize(
    ("held", "worker", "sequence", "expected"),
    [
        ({}, 0, 100, slots.REDUCE),
        ({}, 1, 100, slots.DUPLICATE),
        (GONE_UP, 0, 100, slots.SEND_UP),
        (GONE_UP, 1, 100, slots.SEND_UP),
        (PASSED, 0, 100, slots.SEND_UP),
        (PASSED, 1, 100, slots.SEND_UP),
        (RELEASED, 0, 100, slots.LATE),
        (RELEASED, 1, 100, slots.REPLAY),
        *((held, 1, 100 - 2 * S, slots.STALE) for held in ({}, GONE_UP, PASSED)),
        *((held, 1, 100 - 2 * S, slots.STALE) for held in (RELEASED,)),
        # whoever comes back after being left behind may be any number of turns ahead
        *(
            ({}, 1, sequence, slots.AHEAD)
            for sequence in (100 + 2 * S, 100 + 20 * S, 99 + 2**31)
        ),
        *((GONE_UP, 1, 100 + turns * S, slots.SEND_UP) for turns in (2, 20)),
        *((PASSED, 1, 100 + turns * S, slots.TAKE_OVER) for turns in (2, 20)),
        *((RELEASED, 1, 100 + turns * S, slots.TAKE_OVER) for turns in (2, 20)),
    ],
)
def test_a_slot_whose_parent_waits_for_nobody(
    held: dict[str, int], worker: int, sequence: int, expected: int
) -> None:
    header = header_of(worker, sequence)
    assert verdict(slot_of(**held), header, may_lag=True) == expected
    assert verdict(nothing(), header, may_lag=True) == slots.TAKE_OVER


def test_a_result_of_the_parent_that_was_not_waited_for() -> None:
    for held in ({}, GONE_UP, PASSED):
        slot = slot_of(**{**held, "kind": NARROW})
        assert verdict(slot, result_of(), may_lag=True) == slots.FINISH
        assert verdict(slot, result_of(100 + 2 * S), may_lag=True) == slots.STALE
    for slot in (nothing(), slot_of(**RELEASED)):
        assert verdict(slot, result_of(), may_lag=True) == slots.STALE


@pytest.mark.parametrize("held", [{}, GONE_UP, PASSED])
@pytest.mark.parametrize(
    ("distance", "worker", "expected"),
    [
        (2 * S, 1, slots.PASS_BY),
        (20 * S, 1, slots.PASS_BY),
        (2 * S, 0, slots.STALE),  # it holds nothing
        (0, 1, slots.STALE),
        (-2 * S, 1, slots.STALE),
        (2**31, 1, slots.STALE),
    ],
)
def test_a_status_of_the_parent(
    held: dict[str, int], distance: int, worker: int, expected: int
) -> None:
    sequence = (100 + distance) & SEQUENCE_MASK
    status = header_of(worker, sequence, opcode=int(Opcode.STATUS), kind=0)
    assert verdict(slot_of(**held), status, may_lag=True) == expected
    assert verdict(slot_of(**RELEASED), status, may_lag=True) == slots.STALE
    assert verdict(nothing(), status, may_lag=True) == slots.STALE
