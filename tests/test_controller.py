"""The worker's side of the control plane, against a real service on loopback."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fake_dataplane import FakeDataplane
from ports import free_port

from host.channel import SwitchRefused
from host.controller import JoinRefused, Membership, counters, join_job, ping, reset
from switch.config import JobConfig, SwitchConfig
from switch.control import Control
from switch.service import ControlService

FIXED = JobConfig(job=2, workers=(("127.0.0.1", 6001),), num_slots=8, slot_bytes=256)
WAIT = 10.0  # seconds after which a test fails instead of hanging


@contextmanager
def serve(
    multicast: bool = False, **changes: Any
) -> Iterator[tuple[ControlService, FakeDataplane]]:
    dataplane = FakeDataplane(FIXED)
    config = SwitchConfig(jobs=(FIXED,), **changes)
    control = Control(config, dataplane, multicast=multicast)
    service = ControlService(control, threading.Lock(), "127.0.0.1", 0)
    service.start()
    try:
        yield service, dataplane
    finally:
        service.stop()


@pytest.fixture
def served() -> Iterator[tuple[str, FakeDataplane]]:
    with serve() as (service, dataplane):
        yield f"127.0.0.1:{service.port}", dataplane


def join(address: str, rank: int = 0, **changes: Any) -> Membership:
    fields: dict[str, Any] = {
        "job": "demo",
        "rank": rank,
        "num_workers": 2,
        "data_address": ("127.0.0.1", 5000 + rank),
        "num_slots": 4,
        "slot_bytes": 64,
        "timeout": WAIT,
    }
    return join_job(address, **fields | changes)


def join_all(address: str, num_workers: int = 2) -> list[Membership]:
    with ThreadPoolExecutor(num_workers) as pool:
        futures = [
            pool.submit(join, address, rank, num_workers=num_workers)
            for rank in range(num_workers)
        ]
        return [future.result(WAIT) for future in futures]


@contextmanager
def joined(address: str, num_workers: int = 2) -> Iterator[list[Membership]]:
    members = join_all(address, num_workers)
    try:
        yield members
    finally:
        for member in members:
            member.close()


def await_news(member: Membership) -> None:
    """Block as an agent does, until the membership has something to say."""
    assert select.select([member.fileno()], [], [], WAIT)[0]
    member.acknowledge()
    assert not select.select([member.fileno()], [], [], 0)[0]


def test_join(served: tuple[str, FakeDataplane]) -> None:
    address, dataplane = served
    with joined(address) as members:
        for rank, member in enumerate(members):
            assert member.rank == rank
            assert member.job == 1
            assert member.num_workers == 2
            assert (member.num_slots, member.slot_bytes, member.window) == (4, 64, 4)
            assert member.switch == ("127.0.0.1", 48864)
            assert member.workers == (("127.0.0.1", 5000), ("127.0.0.1", 5001))
            assert member.failure() is None
            assert (member.dead, member.left) == ((), ())
        assert list(dataplane.jobs) == [2, 1]


@pytest.mark.parametrize("table", [None, tuple(range(-8, 8))])
def test_code_tables_reach_the_switch(
    table: tuple[int, ...] | None, served: tuple[str, FakeDataplane]
) -> None:
    address, dataplane = served
    wide = (-(2**31) + 1, 2**31 - 1, *range(254))
    member = join(address, num_workers=1, code4=table, code8=wide)
    job = dataplane.jobs[member.job]
    assert (job.code4, job.code8) == (member.code4, member.code8) == (table, wide)
    member.leave()


@pytest.mark.parametrize("able", [True, False])
def test_the_multicast_group_of_a_job(able: bool) -> None:
    with serve(multicast=True) as (service, _):
        address = f"127.0.0.1:{service.port}"
        member = join(address, num_workers=1, multicast=able)
        assert member.group == (("239.255.0.1", 48864) if able else None)
        member.leave()


def test_a_switch_that_listens_everywhere_is_found_where_it_was_called() -> None:
    with serve(address="0.0.0.0", port=7777) as (service, _):
        member = join(f"localhost:{service.port}", num_workers=1)
        assert member.switch == ("127.0.0.1", 7777)
        member.leave()


def test_leave_frees_the_job(served: tuple[str, FakeDataplane]) -> None:
    address, dataplane = served
    with joined(address) as (first, second):
        first.leave()
        await_news(second)
        assert second.left == (0,)
        assert second.failure() is None
        second.leave()
        assert dataplane.calls[-1] == ("remove", 1)
        second.leave()  # twice does no harm


def test_close_without_leave_is_a_death(served: tuple[str, FakeDataplane]) -> None:
    address, _ = served
    with joined(address, num_workers=3) as members:
        members[1].close()
        for member in (members[0], members[2]):
            await_news(member)
            assert member.dead == (1,)
            assert member.failure() == "worker 1 of job 'demo' died: connection lost"


CHILD = """
import sys
from host.controller import join_job
member = join_job(
    sys.argv[1], job="demo", rank=1, num_workers=2, data_address=("127.0.0.1", 5001),
    num_slots=4, slot_bytes=64,
)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", ["SIGKILL", "end of the script"])
def test_the_others_hear_of_a_process_that_ends(
    served: tuple[str, FakeDataplane], ending: str
) -> None:
    address, _ = served
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, address], stdin=subprocess.PIPE
    )
    try:
        member = join(address)
        started = time.monotonic()
        if ending == "SIGKILL":
            child.send_signal(signal.SIGKILL)
        else:
            assert child.stdin is not None
            child.stdin.close()
        await_news(member)
        assert time.monotonic() - started < 2.0
        assert member.failure() == "worker 1 of job 'demo' died: connection lost"
        expected = -signal.SIGKILL if ending == "SIGKILL" else 0
        assert child.wait(WAIT) == expected
        member.close()
    finally:
        child.kill()
        child.communicate()


def test_the_end_of_the_switch() -> None:
    with serve() as (service, _):
        address = f"127.0.0.1:{service.port}"
        with joined(address) as (first, second):
            started = time.monotonic()
            service.stop()
            assert time.monotonic() - started < 1.0
            for member in (first, second):
                await_news(member)
                assert member.failure() == f"the switch at {address} has stopped"
            first.leave()


def test_missing_workers_are_named(served: tuple[str, FakeDataplane]) -> None:
    address, _ = served
    with pytest.raises(TimeoutError, match="missing: ranks 0, 2"):
        join(address, rank=1, num_workers=3, timeout=0.2)


def test_refused(served: tuple[str, FakeDataplane]) -> None:
    address, _ = served
    with pytest.raises(JoinRefused, match="num_workers 65: allowed are 1 to 64"):
        join(address, num_workers=65)


def test_no_switch() -> None:
    address = f"127.0.0.1:{free_port()}"
    text = f"no switch answers at {address} .TCP.: start one with `intswitch switch`"
    with pytest.raises(ConnectionError, match=text):
        join(address, timeout=0.2)


def test_waits_for_a_switch_that_starts() -> None:
    port = free_port()
    control = Control(SwitchConfig(), FakeDataplane())
    service = ControlService(control, threading.Lock(), "127.0.0.1", port)
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(join, f"127.0.0.1:{port}", num_workers=1)
        while not joining.running():
            pass
        service.start()
        joining.result(WAIT).leave()
    service.stop()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rank": -1}, "rank -1: expected an integer of 0 or more"),
        ({"num_slots": 2.5}, "num_slots 2.5: expected an integer of 0 or more"),
        ({"overflow": "clip"}, "overflow 'clip': expected wrap, saturate, detect"),
        ({"code4": ()}, "code4 has 0 entries: expected 16"),
        ({"code4": [2**31] * 16}, "allows not even one worker"),
        ({"code8": [2**30] * 256}, "allows num_workers up to 1"),
    ],
)
def test_arguments_that_no_switch_takes(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        join("127.0.0.1:1", **changes)


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000"])
def test_an_address_without_a_port(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        ping(address)


def test_reset_counters_and_ping(served: tuple[str, FakeDataplane]) -> None:
    address, dataplane = served
    reset(address, 2)
    assert dataplane.calls[-1] == ("reset", 2)
    assert counters(address) == {"accepted": 0}
    assert counters(address, 2) == {"accepted": 2}
    assert 0 < ping(address) < WAIT
    with pytest.raises(SwitchRefused, match="job 9 does not exist"):
        reset(address, 9)
    with pytest.raises(SwitchRefused, match="job 9 does not exist"):
        counters(address, 9)


def test_nothing_is_left_open(served: tuple[str, FakeDataplane]) -> None:
    address, _ = served
    join(address, num_workers=1).leave()  # gRPC opens what it keeps
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        join(address, num_workers=1).leave()
        with pytest.raises(JoinRefused):
            join(address, num_workers=65)
    assert not [each for each in threading.enumerate() if each.name == "join stream"]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
