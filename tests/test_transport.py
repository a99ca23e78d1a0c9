"""Aggregations over real UDP: loss, lateness, death, and what is counted."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lossy import losing
from real_switch import (
    WAIT,
    Outcome,
    RealSwitch,
    array_of,
    attempt,
    check_identities,
    needs_ipv6,
    run_workers,
    running,
    total,
)

from host import transport
from host.agent import AggregationError, AggregationOverflow, Network, join
from switch.replicate import Copies

SOON = 2.0  # seconds within which a death must be known
FULL = 256  # int32 elements of a full packet of 1024 bytes


@pytest.fixture(scope="module")
def switch() -> Iterator[RealSwitch]:
    with running() as switch:
        yield switch


def test_several_jobs_at_once() -> None:
    sizes = [4000, 2500, 1, 700]
    options: list[dict[str, Any]] = [
        {"num_slots": 1, "slot_bytes": 64, "overflow": "wrap"},
        {"num_slots": 512, "slot_bytes": 1408, "overflow": "saturate"},
        {"num_slots": 4, "slot_bytes": 256, "overflow": "detect"},
        {"num_slots": 64, "slot_bytes": 1024, "overflow": "wrap"},
    ]
    expected = {"wrap": -56, "saturate": 127}
    outcomes: list[Any] = [None] * len(sizes)

    def run(job: int, switch: RealSwitch) -> None:
        def work(network: Network) -> None:
            for _ in range(10):
                found = network.sum(np.full(sizes[job], job + 1, np.int32))
                assert np.all(found == 2 * (job + 1))
            full = np.full(9, 100, np.int8)
            if options[job]["overflow"] == "detect":
                with pytest.raises(AggregationOverflow):
                    network.sum(full)
            else:
                assert np.all(network.sum(full) == expected[options[job]["overflow"]])

        outcomes[job] = attempt(switch, 2, work, job=f"several {job}", **options[job])

    with running() as switch:
        threads = [
            threading.Thread(target=run, args=(job, switch))
            for job in range(len(sizes))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in outcomes:
            outcome.check()
        check_identities(switch.settle(), outcomes)


# paths


def test_a_large_mtu_takes_large_slots() -> None:
    with running(slot_bytes=8192, num_slots=64) as switch:
        outcome = attempt(
            switch, 2, lambda network: network.sum(np.ones(5000, np.int32)),
            slot_bytes=8192, mtu=9000, num_slots=16,
        )  # fmt: skip
        outcome.check()
        assert all(np.all(found == 2) for found in outcome.values)
        assert switch.settle()["results"] == 3


@needs_ipv6
def test_ipv6() -> None:
    with running(address="::1") as switch:
        outcome = attempt(
            switch, 2, lambda network: network.sum(np.ones(50_000, np.int32))
        )
        outcome.check()
        assert all(np.all(found == 2) for found in outcome.values)
        check_identities(switch.settle(), [outcome])
        assert switch.endpoint.startswith("[::1]:")


# loss


@pytest.mark.parametrize(
    ("loss", "num_workers", "size"), [(0.01, 3, 200_000), (0.1, 2, 20_000)]
)
def test_sums_are_exact_whatever_is_lost(
    loss: float, num_workers: int, size: int
) -> None:
    def work(network: Network) -> None:
        for turn in range(3):
            own = array_of(network.rank, size + turn, np.int32, num_workers)
            expected = total(num_workers, size + turn, np.int32)
            np.testing.assert_array_equal(network.sum(own), expected)
        messages = [bytes([rank]) * 3000 for rank in range(num_workers)]
        assert network.gather(messages[network.rank]) == messages
        network.barrier()

    faults = losing(loss, loss, seed=1)
    with running(faults=faults) as switch:
        outcome = attempt(switch, num_workers, work, num_slots=64)
        outcome.check()
        counters = switch.settle()
        check_identities(counters, [outcome])
        sent = sum(worker.packets_sent for worker in outcome.statistics)
        sigma = (sent * loss * (1 - loss)) ** 0.5
        assert abs(counters["lost_in"] - sent * loss) < 5 * sigma + 1
        assert counters["lost_out"] > 0
        repeats = sum(
            worker.retransmissions + worker.queries for worker in outcome.statistics
        )
        assert repeats >= counters["lost_in"]


def test_who_leaves_early_takes_no_results_along() -> None:
    """Results that were lost are replayed after another worker has left."""
    faults = losing(outward=0.3, seed=2)

    def work(network: Network) -> int:
        return int(network.sum(np.ones(5000, np.int32)).sum())

    with running(faults=faults) as switch:
        for _ in range(5):
            assert run_workers(switch, 3, work, num_slots=8) == [15_000] * 3


def test_who_was_late_and_left_is_not_blamed() -> None:
    """A status showed worker 1 missing. It came, got its result and left; worker 0's
    copy of the result was lost, and is replayed."""
    asked, lossy = threading.Event(), threading.Event()
    statistics: list[Any] = []

    def work(network: Network) -> list[int]:
        network.barrier()
        if network.rank == 0:
            statistics.append(network.statistics)
            asked.set()
        else:
            assert asked.wait(WAIT)
            while statistics[0].queries == 0:
                time.sleep(0.01)
            time.sleep(0.1)  # the status is in
            lossy.set()
            threading.Timer(0.3, lossy.clear).start()
        return network.sum(np.ones(3, np.int32)).tolist()

    with running() as switch:

        def lose(out: Copies) -> None:
            if lossy.is_set():
                kept = out.rows[: out.used[0]]
                # neither to worker 0 nor to the group
                kept = kept[kept.destination == 1].copy()
                out.rows[: len(kept)], out.used[0] = kept, len(kept)

        switch.tap(lose)
        outcome = attempt(switch, 2, work)
        assert outcome.values == [[2, 2, 2]] * 2


# who is gone


def test_a_worker_that_raises_is_named_to_the_others(switch: RealSwitch) -> None:
    died: list[float] = []

    def work(network: Network) -> float:
        network.barrier()
        if network.rank == 1:
            died.append(time.monotonic())
            raise KeyError("on purpose")
        with pytest.raises(AggregationError, match="worker 1 of job 'raises' died"):
            network.sum(np.ones(100_000, np.int32))
        found = time.monotonic() - died[0]
        with pytest.raises(AggregationError, match="worker 1 of job 'raises' died"):
            network.barrier()  # for good
        return found

    outcome = attempt(switch, 3, work, job="raises")
    assert isinstance(outcome.values[1], KeyError)
    assert max(outcome.values[0], outcome.values[2]) < SOON


VICTIM = """
import sys, time
import numpy as np
from host.agent import join
network = join(sys.argv[1], job="killed", rank=1, num_workers=2, timeout=20)
network.sum(np.ones(10, np.int32))
print("summed", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_killed_is_named_to_the_others(switch: RealSwitch) -> None:
    command = [sys.executable, "-c", VICTIM, switch.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        with join(
            switch.endpoint, job="killed", rank=0, num_workers=2, timeout=WAIT
        ) as network:
            assert np.all(network.sum(np.ones(10, np.int32)) == 2)
            assert victim.stdout is not None
            assert victim.stdout.readline() == "summed\n"
            killer = threading.Timer(0.2, os.kill, (victim.pid, signal.SIGKILL))
            killer.start()
            started = time.monotonic()
            with pytest.raises(AggregationError, match="worker 1 of job 'killed' died"):
                network.sum(np.ones(10, np.int32))
            assert time.monotonic() - started < 0.2 + SOON
        victim.wait()


def test_a_worker_that_left_is_named_to_who_needs_it(switch: RealSwitch) -> None:
    def work(network: Network) -> float:
        network.barrier()
        if network.rank == 1:
            return 0.0
        started = time.monotonic()
        with pytest.raises(AggregationError, match=r"workers \[1\] have left"):
            network.sum(np.ones(10, np.int32))
        return time.monotonic() - started

    assert max(run_workers(switch, 2, work)) < 3.0


def test_a_switch_that_stops_is_named() -> None:
    waiting = threading.Event()

    def work(network: Network) -> None:
        if network.rank == 1:
            time.sleep(2.0)
            return
        waiting.set()
        started = time.monotonic()
        with pytest.raises(AggregationError, match=r"the switch at .* has stopped"):
            network.sum(np.ones(10, np.int32))
        assert time.monotonic() - started < SOON

    outcomes: list[Outcome] = []
    with running() as switch:
        workers = threading.Thread(
            target=lambda: outcomes.append(attempt(switch, 2, work))
        )
        workers.start()
        assert waiting.wait(WAIT)
        time.sleep(0.1)
    workers.join()
    outcomes[0].check()


def test_a_switch_that_is_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its control plane lives, its data path does not."""
    monkeypatch.setattr(transport, "MAX_RETRIES", 3)
    monkeypatch.setattr(transport, "SILENCE", 1.0)
    with running() as switch:
        switch.settle()

        def work(network: Network) -> None:
            with pytest.raises(AggregationError) as raised:
                network.sum(np.ones(1000, np.int32))
            text = str(raised.value)
            assert text.startswith("job 'silent', sequence 0 (0 of 4 chunks done)")
            assert text.endswith("the switch does not answer")

        run_workers(switch, 1, work, job="silent")


def test_a_kernel_that_refuses_to_send_is_named(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        transport = network._transport
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unconnected:
            number = unconnected.fileno()
            outlet = transport.sender.outlet._replace(descriptor=number)
            transport.sender.outlet = outlet
            transport.line = transport.line._replace(outlet=outlet)
            text = "job 'cut', .*: the switch does not answer; .* refused: Destination"
            with pytest.raises(AggregationError, match=text):
                network.barrier()

    run_workers(switch, 1, work, job="cut")


def test_the_timeout_of_an_aggregation_names_who_is_missing(switch: RealSwitch) -> None:
    finished = threading.Event()

    def work(network: Network) -> None:
        network.barrier()  # a round-trip time is known: the switch is soon asked
        if network.rank == 1:
            assert finished.wait(WAIT)
            return
        network.timeout = 1.0
        with pytest.raises(
            AggregationError, match=r"timeout after .* s: workers \[1\] are missing"
        ):
            network.sum(np.ones(10, np.int32))
        finished.set()

    run_workers(switch, 2, work)


def test_a_late_worker_harms_nobody() -> None:
    late = 1.0

    def work(network: Network) -> float:
        network.barrier()
        if network.rank == 2:
            time.sleep(late)
        started = time.monotonic()
        assert np.all(network.sum(np.ones(100_000, np.int32)) == 3)
        return time.monotonic() - started

    with running() as switch:
        outcome = attempt(switch, 3, work, num_slots=256)
        outcome.check()
        check_identities(switch.settle(), [outcome])
    for rank in (0, 1):
        assert late * 0.9 < outcome.values[rank] < late + 2.0
        # a few for the oldest chunk, not one for each of 256 in flight
        repeated = outcome.statistics[rank].retransmissions
        assert repeated < 50
        assert outcome.statistics[rank].queries + repeated >= 1


# statistics


def test_statistics_add_up() -> None:
    def work(network: Network) -> None:
        network.sum(np.ones(FULL * 10 + 1, np.int32))
        network.barrier()
        network.sum(np.zeros(0, np.int32))  # nothing to do

    with running() as switch:
        outcome = attempt(switch, 2, work)
        outcome.check()
    for worker in outcome.statistics:
        once = worker.packets_sent - worker.retransmissions - worker.queries
        assert once == 12
        assert worker.aggregations == 2
        assert worker.bytes_sent >= 11 * (16 + 1024) + 16
        if worker.packets_sent == 12:
            assert worker.bytes_sent == 11 * (16 + 1024) + 16
        assert worker.packets_received >= 12
        assert worker.packets_received - worker.packets_ignored >= 12
        assert worker.bytes_received >= 11 * (16 + 1024) + 16
        parts = worker.fill_seconds + worker.drain_seconds
        assert 0 < parts < worker.aggregate_seconds < WAIT
        assert worker.overflows == 0


def test_late_answers_are_counted_as_ignored() -> None:
    """Every result twice, the second of which answers nothing."""

    def work(network: Network) -> None:
        for _ in range(20):
            network.sum(np.ones(FULL, np.int32))

    with running() as switch:

        def twice(out: Copies) -> None:
            copies = out.used[0]
            out.rows[copies : 2 * copies] = out.rows[:copies]
            out.used[0] *= 2

        switch.tap(twice)
        outcome = attempt(switch, 1, work)
        outcome.check()
    [worker] = outcome.statistics
    assert worker.packets_received >= 39
    assert worker.packets_ignored >= worker.packets_received - 20 - worker.queries
