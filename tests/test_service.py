"""The gRPC shell over real TCP on loopback, beneath a fake data plane."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest
from fake_dataplane import FakeDataplane

from switch import server
from switch.config import JobConfig, SwitchConfig
from switch.control import Control
from switch.protocol import FORMAT
from switch.service import ControlService
from switch.stubs import control_pb2 as pb
from switch.stubs import control_pb2_grpc as pb_grpc

FIXED = JobConfig(job=2, workers=(("127.0.0.1", 6001),), num_slots=8, slot_bytes=256)
WAIT = 5.0  # seconds after which a test fails instead of hanging


@contextmanager
def serve(address: str = "127.0.0.1") -> Iterator[tuple[ControlService, FakeDataplane]]:
    dataplane = FakeDataplane(FIXED)
    config = SwitchConfig(address=address, jobs=(FIXED,))
    control = Control(config, dataplane)
    service = ControlService(control, threading.Lock(), address, 0)
    service.start()
    try:
        yield service, dataplane
    finally:
        service.stop()


@contextmanager
def stub_of(service: ControlService) -> Iterator[Any]:
    target = f"ipv4:{service.address}:{service.port}"
    if ":" in service.address:
        target = f"ipv6:[{service.address}]:{service.port}"
    with grpc.insecure_channel(target) as channel:
        yield pb_grpc.ControlStub(channel)


@pytest.fixture
def served() -> Iterator[tuple[Any, FakeDataplane]]:
    with serve() as (service, dataplane), stub_of(service) as stub:
        yield stub, dataplane


def request(rank: int = 0, **changes: Any) -> pb.JoinRequest:
    fields: dict[str, Any] = {
        "job": "demo",
        "rank": rank,
        "num_workers": 2,
        "data": pb.DataAddress(address="127.0.0.1", port=5000 + rank),
        "format": FORMAT,
        "num_slots": 4,
        "slot_bytes": 64,
        "overflow": pb.DETECT,
        "timeout": WAIT,
    }
    return pb.JoinRequest(**fields | changes)


def begin(stub: Any, num_workers: int = 2) -> tuple[list[Any], list[pb.Joined]]:
    """All workers of a job join: their streams and the answers."""
    streams = [
        stub.Join(request(rank, num_workers=num_workers), timeout=2 * WAIT)
        for rank in range(num_workers)
    ]
    return streams, [next(stream).joined for stream in streams]


def test_join_answers_every_worker(served: tuple[Any, FakeDataplane]) -> None:
    stub, dataplane = served
    _, (first, second) = begin(stub)
    assert first.job == second.job == 1
    assert first.member != second.member
    assert first.data == pb.DataAddress(address="127.0.0.1", port=48864)
    assert first.window == 4
    assert [worker.port for worker in first.workers] == [5000, 5001]
    assert dataplane.jobs[1].slot_bytes == 64


def test_a_refused_stream_ends(served: tuple[Any, FakeDataplane]) -> None:
    stub, _ = served
    [event] = stub.Join(request(rank=9), timeout=WAIT)
    assert event.refused.reason == "rank 9: allowed are 0 to 1 (num_workers 2)"
    assert not event.refused.timed_out


def test_the_timer_refuses_late_joins(served: tuple[Any, FakeDataplane]) -> None:
    stub, _ = served
    [event] = stub.Join(request(timeout=0.05), timeout=WAIT)
    assert event.refused.timed_out
    assert event.refused.reason.endswith("missing: rank 1")


def test_a_broken_stream_is_a_death(served: tuple[Any, FakeDataplane]) -> None:
    stub, _ = served
    streams, _ = begin(stub, num_workers=3)
    streams[1].cancel()
    for stream in (streams[0], streams[2]):
        event = next(stream)
        assert list(event.death.ranks) == [1]
        assert event.death.text == "worker 1 of job 'demo' died: connection lost"


def test_leave_is_no_death(served: tuple[Any, FakeDataplane]) -> None:
    stub, dataplane = served
    streams, answers = begin(stub)
    stub.Leave(pb.LeaveRequest(member=answers[0].member), timeout=WAIT)
    streams[0].cancel()
    assert list(next(streams[1]).left.ranks) == [0]
    stub.Leave(pb.LeaveRequest(member=answers[1].member), timeout=WAIT)
    assert ("remove", 1) in dataplane.calls


def test_a_waiting_join_that_is_cancelled_frees_its_rank(
    served: tuple[Any, FakeDataplane],
) -> None:
    stub, _ = served
    stub.Join(request(0), timeout=WAIT).cancel()
    # Until the switch hears of it, another num_workers contradicts the one that waits.
    answers = (
        next(stub.Join(request(0, num_workers=1), timeout=WAIT)) for _ in range(1000)
    )
    assert any(answer.HasField("joined") for answer in answers)


def test_reset_and_counters(served: tuple[Any, FakeDataplane]) -> None:
    stub, dataplane = served
    stub.Reset(pb.ResetRequest(job=2), timeout=WAIT)
    assert dataplane.calls[-1] == ("reset", 2)
    response = stub.Counters(pb.CountersRequest(job=2), timeout=WAIT)
    assert dict(response.counters) == {"accepted": 2}
    response = stub.Counters(pb.CountersRequest(), timeout=WAIT)
    assert dict(response.counters) == {"accepted": 0}


def test_refusals_of_calls_carry_their_text(served: tuple[Any, FakeDataplane]) -> None:
    stub, _ = served
    for call in (
        lambda: stub.Reset(pb.ResetRequest(job=9), timeout=WAIT),
        lambda: stub.Counters(pb.CountersRequest(job=9), timeout=WAIT),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call()
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert raised.value.details() == (
            "job 9 does not exist; jobs of this switch: 2"
        )


def test_ping(served: tuple[Any, FakeDataplane]) -> None:
    stub, _ = served
    assert stub.Ping(pb.PingRequest(), timeout=WAIT).format == FORMAT


def test_stop_tells_open_streams_and_ends_jobs() -> None:
    with serve() as (service, dataplane), stub_of(service) as stub:
        streams, _ = begin(stub)
        service.stop()
        for stream in streams:
            assert [event.WhichOneof("event") for event in stream] == ["closing"]
        assert list(dataplane.jobs) == [2]
        service.stop()  # twice does no harm


def test_calls_wait_for_the_lock() -> None:
    lock = threading.Lock()
    control = Control(SwitchConfig(jobs=(FIXED,)), FakeDataplane(FIXED))
    service = ControlService(control, lock, "127.0.0.1", 0)
    service.start()
    try:
        with stub_of(service) as stub:
            with lock:
                counters = stub.Counters.future(pb.CountersRequest(), timeout=WAIT)
                with pytest.raises(grpc.FutureTimeoutError):
                    counters.result(timeout=0.1)
            assert dict(counters.result().counters) == {"accepted": 0}
    finally:
        service.stop()


def test_the_lock_goes_to_who_waits_for_it() -> None:
    order = []

    def wait() -> None:
        with lock:
            order.append("who waited")

    with closing(server.DataLock()) as lock:
        with lock.held():
            waiting = threading.Thread(target=wait)
            waiting.start()
            assert select.select([lock.wanted], [], [], WAIT)[0]
            deadline = time.monotonic() + WAIT
            while not lock._next.locked() and time.monotonic() < deadline:
                time.sleep(0.001)
        with lock.held():
            order.append("the data path")
        waiting.join(WAIT)
        assert order == ["who waited", "the data path"]
        assert not select.select([lock.wanted], [], [], 0)[0]


def test_a_taken_port_is_a_clear_error() -> None:
    control = Control(SwitchConfig(), FakeDataplane())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = ControlService(control, threading.Lock(), "127.0.0.1", port)
        with pytest.raises(
            OSError, match=f"127.0.0.1:{port} .TCP.: Address already in use"
        ):
            service.start()
        service.stop()


def test_two_services_do_not_share_a_port() -> None:
    control = Control(SwitchConfig(), FakeDataplane())
    with serve() as (first, _):
        second = ControlService(control, threading.Lock(), "127.0.0.1", first.port)
        with pytest.raises(OSError, match="Address already in use"):
            second.start()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    with serve("::1") as (service, _), stub_of(service) as stub:
        assert stub.Ping(pb.PingRequest(), timeout=WAIT).format == FORMAT
