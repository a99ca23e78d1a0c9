"""What a worker may ask for: every objection, word for word."""

from functools import partial
from typing import Any

import pytest

from switch.admission import (
    JoinRequest,
    Refusal,
    check_alone,
    check_together,
    numeric,
    text_of,
)
from switch.config import SwitchConfig

CONFIG = SwitchConfig(num_slots=1024)


def request(**changes: Any) -> JoinRequest:
    fields: dict[str, Any] = {
        "job": "demo",
        "rank": 0,
        "num_workers": 2,
        "data": ("127.0.0.1", 5000),
    }
    return JoinRequest(**fields | changes)


def objections(asked: JoinRequest, *others: JoinRequest) -> str:
    check = partial(check_together, asked, others)
    with pytest.raises(Refusal) as raised:
        check() if others else check_alone(asked, CONFIG)
    return str(raised.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "wire format 2: this switch speaks format 1"),
        ({"job": ""}, "job name '': allowed are 1 to 255 characters"),
        ({"num_workers": 65}, "num_workers 65: allowed are 1 to 64"),
        ({"num_workers": 0}, "num_workers 0: allowed are 1 to 64"),
        ({"rank": 2}, "rank 2: allowed are 0 to 1 (num_workers 2)"),
        (
            {"num_slots": 12},
            "num_slots 12: allowed are powers of two up to 1024",
        ),
        (
            {"num_slots": 2048},
            "num_slots 2048: allowed are powers of two up to 1024",
        ),
        ({"num_slots": 0}, "num_slots 0: allowed are powers of two up to 1024"),
        (
            {"slot_bytes": 1412},
            "slot_bytes 1412: allowed are multiples of 4 up to 1408",
        ),
        (
            {"slot_bytes": 30},
            "slot_bytes 30: allowed are multiples of 4 up to 1408",
        ),
        ({"slot_bytes": 0}, "slot_bytes 0: allowed are multiples of 4 up to 1408"),
        ({"overflow": 3}, "overflow 3: allowed are 0 wrap, 1 saturate, 2 detect"),
        (
            {"timeout": float("nan")},
            "timeout nan s: allowed are 0 to 604800 s",
        ),
        (
            {"data": ("localhost", 5000)},
            "data address 'localhost': a numeric IPv4 or IPv6 address is needed",
        ),
        (
            {"data": ("0.0.0.0", 5000)},
            "data address 0.0.0.0: results cannot be sent to it; bind to one address",
        ),
        (
            {"data": ("::1", 5000)},
            "data address ::1: the switch's data path is IPv4 (127.0.0.1)",
        ),
        ({"code4": (1, 2)}, "code4 has 2 entries: expected 16"),
        (
            {"code8": (2**30, *range(255)), "num_workers": 2},
            "code8: 2 workers times the largest entry, 1073741824, is 2147483648, and"
            " an int32 sum holds 2147483647: this table allows num_workers up to 1",
        ),
        ({"data": ("127.0.0.1", 0)}, "data port 0: allowed are 1 to 65535"),
    ],
)
def test_names_the_value_and_what_is_allowed(
    changes: dict[str, Any], reason: str
) -> None:
    assert objections(request(**changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_workers": 4}, "num_workers 4, but worker 0 said 2"),
        ({"num_slots": 64}, "num_slots 64, but worker 0 said 512"),
        ({"slot_bytes": 64}, "slot_bytes 64, but worker 0 said 1024"),
        ({"overflow": 0}, "overflow wrap, but worker 0 said detect"),
        (
            {"data": ("127.0.0.1", 5000)},
            "data address 127.0.0.1:5000 is taken: worker 0 has it",
        ),
        (
            {"rank": 0},
            "rank 0 is taken: the worker at 127.0.0.1:5000 has it",
        ),
    ],
)
def test_names_both_values(changes: dict[str, Any], reason: str) -> None:
    asked = {"rank": 1, "data": ("127.0.0.1", 5001)} | changes
    assert objections(request(**asked), request()) == reason


TABLE = tuple(range(-8, 8))


@pytest.mark.parametrize(
    ("mine", "theirs", "reason"),
    [
        (None, TABLE, "code4: no table, but worker 0 said a table"),
        (TABLE, None, "code4: a table, but worker 0 said no table"),
        (
            (*TABLE[:3], 0, 0, *TABLE[5:]),
            TABLE,
            "code4: code 3 is 0, but worker 0 said -5",
        ),
    ],
)
def test_tables_that_differ(mine: Any, theirs: Any, reason: str) -> None:
    asked = request(rank=1, data=("127.0.0.1", 5001), code4=mine)
    assert objections(asked, request(code4=theirs)) == reason


def test_tables_that_agree() -> None:
    tables = {"code4": TABLE, "code8": (2**30 - 1,) * 256}
    asked = request(rank=1, data=("127.0.0.1", 5001), **tables)
    check_alone(asked, CONFIG)
    check_together(asked, [request(**tables)])


def test_all_objections_at_once() -> None:
    reason = objections(request(num_workers=100, num_slots=3))
    assert reason == (
        "num_workers 100: allowed are 1 to 64;"
        " num_slots 3: allowed are powers of two up to 1024"
    )


def test_every_worker_that_waits_is_looked_at() -> None:
    others = [request(rank=rank, data=("127.0.0.1", 6000 + rank)) for rank in (0, 1)]
    taken = "rank 1 is taken: the worker at 127.0.0.1:6001 has it"
    assert objections(request(rank=1), *others) == taken


def test_what_is_right_passes() -> None:
    check_alone(request(), CONFIG)
    check_alone(request(num_workers=64, rank=63, num_slots=1, slot_bytes=4), CONFIG)
    check_alone(request(data=("::1", 1)), SwitchConfig(address="::"))
    check_together(request(rank=1, data=("127.0.0.1", 5001)), [request()])
    check_together(request(), [])


def test_spellings() -> None:
    assert numeric(("0:0::0:1", 5000)) == ("::1", 5000)
    assert text_of(("::1", 5000)) == "[::1]:5000"
    assert text_of(("127.0.0.1", 5000)) == "127.0.0.1:5000"
