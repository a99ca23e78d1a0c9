"""The data path as a whole: compiled, uncompiled and the model agree on any traffic;
sums are right and counters add up over a bad network; tables can be programmed.
"""

import random
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from golden import Datagram
from hypothesis import given, settings
from hypothesis import strategies as st
from model import COUNTERS, Model
from traffic import (
    ADDRESSES,
    LARGE_JOB,
    ONCE,
    SMALL_JOB,
    Traffic,
    config_of,
    contribution,
    values_of,
)

from switch.config import JobConfig, SwitchConfig
from switch.pipeline import MAX_JOBS, MAX_ROWS, Pipeline
from switch.protocol import Opcode, Overflow, Rule


def check_identities(counters: dict[str, int], packets: int, num_workers: int) -> None:
    """What holds for one job at any time: each packet counted once, n a result."""
    assert sum(counters[name] for name in ONCE) == packets
    assert counters["results"] <= counters["accepted"] / num_workers


@settings(max_examples=150, deadline=None)
@given(
    rng=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    rule=st.sampled_from(Rule),
    overflow=st.sampled_from(Overflow),
)
def test_compiled_uncompiled_and_model_agree(
    uncompiled: ModuleType,
    rng: random.Random,
    sizes: list[int],
    rule: Rule,
    overflow: Overflow,
) -> None:
    config = config_with(rule, overflow)
    fast, slow, model = Pipeline(config), uncompiled.Pipeline(config), Model(config)
    traffic = Traffic(rng)
    for size in sizes:
        batch = [traffic.packet() for _ in range(size)]
        copies = fast.process(batch)
        assert copies == slow.process(batch)
        assert copies == model.process(batch)
    check_equal_counters(fast, model)
    assert fast.counters() == slow.counters()
    for ours, theirs in zip(fast.state.registers, slow.state.registers, strict=True):
        assert np.array_equal(ours, theirs)
    assert sum(fast.counters()[name] for name in ONCE) == sum(sizes)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rule", Rule)
def test_compiled_and_model_agree_for_long(
    rule: Rule, overflow: Overflow, seed: int
) -> None:
    config = config_with(rule, overflow)
    fast, model = Pipeline(config), Model(config)
    traffic = Traffic(random.Random(seed))
    for _ in range(10):
        batch = [traffic.packet() for _ in range(100)]
        assert fast.process(batch) == model.process(batch)
    check_equal_counters(fast, model)


def config_with(rule: Rule, overflow: Overflow) -> SwitchConfig:
    return config_of(rule, replace(SMALL_JOB, overflow=overflow), LARGE_JOB)


def check_equal_counters(switch: Pipeline, model: Model) -> None:
    for job in (None, SMALL_JOB.job, LARGE_JOB.job):
        counted = switch.counters(job)
        assert {name: counted[name] for name in COUNTERS} == model.counters(job)


# Runs: workers that keep to the protocol over a network that keeps to nothing.


class Worker:
    """Sends the chunks that its window allows, oldest first; takes results in."""

    def __init__(self, job: JobConfig, rank: int, chunks: int) -> None:
        self.job, self.rank, self.chunks = job, rank, chunks
        self.results: dict[int, list[int]] = {}

    def outstanding(self) -> list[int]:
        return [
            chunk
            for chunk in range(self.chunks)
            if chunk not in self.results
            and (
                chunk < self.job.num_slots or chunk - self.job.num_slots in self.results
            )
        ]

    def send(self, chunk: int) -> Datagram:
        return contribution(self.job, self.rank, chunk, [chunk + 1, 10**self.rank])

    def receive(self, packet: bytes) -> None:
        opcode, sequence = packet[0] & 0xF, int.from_bytes(packet[8:12], "big")
        if opcode == Opcode.RESULT and sequence in self.outstanding():
            self.results[sequence] = values_of(packet)


def run_job(job: JobConfig, rule: Rule, chunks: int, seed: int) -> tuple[Any, int]:
    """Aggregate over a network that loses, repeats and reorders; with junk between."""
    rng = random.Random(seed)
    switch = Pipeline(config_of(rule, job))
    workers = [Worker(job, rank, chunks) for rank in range(len(job.workers))]
    in_flight: list[Datagram] = []
    packets = 0
    while any(worker.outstanding() for worker in workers):
        assert packets < 100_000, "no progress"
        for worker in workers:
            in_flight += [worker.send(chunk) for chunk in worker.outstanding()]
        junk = (rng.randbytes(rng.randrange(40)), rng.choice(ADDRESSES))
        rng.shuffle(in_flight)
        arriving = [packet for packet in in_flight if rng.random() < 0.5]
        # half of them stay on the way: late if they have not arrived, else duplicates
        in_flight = [packet for packet in in_flight if rng.random() < 0.5]
        batch = [*arriving, junk]
        packets += len(batch)
        for packet, address in switch.process(batch):
            if rng.random() < 0.7:
                workers[job.workers.index(address)].receive(packet)
    total = sum(10**rank for rank in range(len(workers)))
    for worker in workers:
        assert worker.results == {
            chunk: [(chunk + 1) * len(workers), total] for chunk in range(chunks)
        }
    return switch, packets


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("job", [SMALL_JOB, LARGE_JOB], ids=["one slot", "two slots"])
def test_all_sums_are_right_and_counters_add_up(job: JobConfig, seed: int) -> None:
    chunks = 25
    switch, packets = run_job(job, Rule.SAFE, chunks, seed)
    counters = switch.counters()
    check_identities(counters, packets, len(job.workers))
    assert counters["accepted"] == len(job.workers) * chunks
    assert counters["results"] == chunks


def test_the_network_is_as_bad_as_it_should_be() -> None:
    runs = [run_job(SMALL_JOB, Rule.SAFE, 25, seed)[0].counters() for seed in range(3)]
    for name in ("replays", "duplicate", "stale", "malformed"):
        assert sum(counters[name] for counters in runs) > 0, name


def test_the_same_network_breaks_switchml() -> None:
    """So the test above can fail: late duplicates are added to later chunks."""
    with pytest.raises(AssertionError):
        run_job(SMALL_JOB, Rule.SWITCHML, 25, seed=0)


# Tables: what the control plane programs.


def small_switch(num_slots: int = 4) -> Pipeline:
    return Pipeline(SwitchConfig(num_slots=num_slots, slot_bytes=16))


def job_of(number: int, num_slots: int = 1) -> JobConfig:
    workers = ((f"10.1.{number}.0", 1),)
    return JobConfig(job=number, workers=workers, num_slots=num_slots, slot_bytes=16)


def test_slots_run_out_and_come_back() -> None:
    switch = small_switch(num_slots=4)
    for number in (1, 2):
        switch.install(job_of(number, num_slots=2))
    with pytest.raises(ValueError, match="1 slots asked for, but of the"):
        switch.install(job_of(3))
    switch.remove(1)
    switch.install(job_of(3, num_slots=2))
    with pytest.raises(ValueError, match="slots"):
        switch.install(job_of(4))


def test_a_job_exists_once() -> None:
    switch = small_switch()
    switch.install(job_of(1))
    with pytest.raises(ValueError, match="job 1 exists already"):
        switch.install(job_of(1))


def test_jobs_run_out() -> None:
    switch = small_switch(num_slots=MAX_JOBS + 1)
    for number in range(1, MAX_JOBS + 1):
        switch.install(job_of(number))
    with pytest.raises(ValueError, match=f"at most {MAX_JOBS} jobs"):
        switch.install(job_of(MAX_JOBS + 1))


@pytest.mark.parametrize("call", ["remove", "reset", "counters"])
@pytest.mark.parametrize("job", [0, 2, 70000, -1])
def test_an_unknown_job_is_an_error_that_names_the_known_ones(
    call: str, job: int
) -> None:
    switch = small_switch()
    switch.install(job_of(1))
    with pytest.raises(ValueError, match=f"job {job} does not exist.* jobs: 1"):
        getattr(switch, call)(job)


def test_a_job_that_takes_freed_slots_finds_them_empty() -> None:
    switch = small_switch(num_slots=1)
    old, new = job_of(1), job_of(2)
    switch.install(old)
    switch.process([contribution(old, 0, 0, [5])])
    switch.remove(1)
    switch.install(new)
    assert switch.process([contribution(old, 0, 0, [5])]) == []
    (result, _), = switch.process([contribution(new, 0, 0, [6])])  # fmt: skip
    assert values_of(result) == [6]
    assert switch.counters()["unknown_job"] == 1
    assert switch.counters()["accepted"] == 2, "the old job's packets still count"
    assert switch.counters(2)["accepted"] == 1


def test_copies_are_counted_for_their_job() -> None:
    switch = Pipeline(config_of(Rule.SAFE, SMALL_JOB, LARGE_JOB))
    jobs = (SMALL_JOB, LARGE_JOB)
    switch.process(
        [contribution(job, w, 0, [1]) for job in jobs for w in range(len(job.workers))]
    )
    assert [switch.counters(job.job)["copies"] for job in jobs] == [2, 3]
    assert switch.counters()["copies"] == 5


def test_a_batch_can_be_longer_than_the_buffers() -> None:
    switch = small_switch(num_slots=1)
    job = job_of(1)
    switch.install(job)
    chunks = 2 * MAX_ROWS + 5
    batch = [contribution(job, 0, chunk, [chunk]) for chunk in range(chunks)]
    copies = switch.process(batch)
    assert [values_of(packet) for packet, _ in copies] == [[c] for c in range(chunks)]


def test_an_empty_batch() -> None:
    switch = small_switch()
    assert switch.process([]) == []
    assert set(switch.counters().values()) == {0}
