"""Codes at the switch: tables and what they allow, look-ups, what is malformed."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from golden import Datagram
from numpy.typing import NDArray

from switch import codes, protocol
from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import HEADER_BYTES, ElementType, Opcode, Reduction, kind_of

RESULTS = {"int8": np.int8, "int16": np.int16, "int32": np.int32}
CODES = {"code4": ElementType.CODE4, "code8": ElementType.CODE8}
LARGEST = {"int8": 2**7 - 1, "int16": 2**15 - 1, "int32": 2**31 - 1}
MANY = 64  # workers


def table_up_to(largest: int, code: str) -> tuple[int, ...]:
    """A table whose first entry is the largest, its last the smallest, with noise."""
    noise = np.random.default_rng(largest).integers(
        -largest, largest, codes.TABLE_SIZES[code] - 2, endpoint=True
    )
    return (largest, *noise.tolist(), -largest)


def packed(numbers: Sequence[int], code: str) -> bytes:
    """Codes as they travel, by plain arithmetic."""
    if code == "code8":
        return bytes(numbers)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return bytes(16 * high + low for high, low in pairs)


def job_with(num_workers: int, slot_bytes: int = 1024, **fields: Any) -> JobConfig:
    workers = tuple(("10.0.0.1", 5000 + rank) for rank in range(num_workers))
    return JobConfig(
        job=7, workers=workers, num_slots=2, slot_bytes=slot_bytes, **fields
    )


def contribution(
    job: JobConfig, worker: int, code: str, result: str, numbers: Sequence[int]
) -> Datagram:
    packet = protocol.emit(
        opcode=Opcode.CONTRIBUTE,
        kind=kind_of(Reduction.SUM, CODES[code], ElementType[result.upper()]),
        job=job.job,
        worker=worker,
        sequence=0,
        element_count=len(numbers),
        payload=packed(numbers, code),
    )
    return packet, job.workers[worker]


def values_of(packet: bytes, result: str) -> list[int]:
    wire = np.dtype(RESULTS[result]).newbyteorder(">")
    return np.frombuffer(packet[HEADER_BYTES:], wire).tolist()


def sums(table: Sequence[int], numbers: NDArray[np.uint8]) -> list[int]:
    """numbers: [workers, elements]"""
    return np.array(table, np.int64)[numbers].sum(axis=0).tolist()


def drawn(num_workers: int, code: str, elements: int) -> NDArray[np.uint8]:
    """Codes; all workers have the largest entry in column 0, the smallest in 1."""
    size = codes.TABLE_SIZES[code]
    random = np.random.default_rng([num_workers, elements])
    numbers = random.integers(0, size, (num_workers, elements), np.uint8)
    numbers[:, :2] = 0, size - 1
    return numbers


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("num_workers", [1, 2, 63, MANY])
def test_sums_are_exact_at_the_largest_entries_allowed(
    num_workers: int, code: str, result: str, uncompiled: ModuleType
) -> None:
    table = table_up_to(LARGEST[result] // num_workers, code)
    job = job_with(num_workers, **{code: table})
    elements = 1024 // np.dtype(RESULTS[result]).itemsize
    numbers = drawn(num_workers, code, elements)
    for pipeline in (Pipeline, uncompiled.Pipeline):
        switch = pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
        copies = switch.process(
            [
                contribution(job, worker, code, result, numbers[worker].tolist())
                for worker in range(num_workers)
            ]
        )
        assert [address for _, address in copies] == list(job.workers)
        for packet, _ in copies:
            assert values_of(packet, result) == sums(table, numbers)
            assert packet[15] == 0, "no flag"
        assert switch.counters()["accepted"] == num_workers


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("largest", [2**31 - 1, 2**30, 33554432, 715827882])
def test_the_largest_number_of_workers_and_one_more(code: str, largest: int) -> None:
    enough = (2**31 - 1) // largest
    table = table_up_to(largest, code)
    Pipeline(SwitchConfig(num_slots=2, jobs=(job_with(enough, **{code: table}),)))
    reason = (
        f"job 7: {code}: {enough + 1} workers times the largest entry, {largest}, is "
        f"{(enough + 1) * largest}, and an int32 sum holds 2147483647: this table "
        f"allows num_workers up to {enough}"
    )
    with pytest.raises(ValueError, match="^" + reason + "$"):
        Pipeline(
            SwitchConfig(num_slots=2, jobs=(job_with(enough + 1, **{code: table}),))
        )


@pytest.mark.parametrize(
    ("code", "table", "reason"),
    [
        ("code4", (1,) * 15, "code4 has 15 entries: expected 16"),
        ("code4", (), "code4 has 0 entries: expected 16"),
        ("code8", (1,) * 16, "code8 has 16 entries: expected 256"),
        (
            "code4",
            (-(2**31), *range(15)),
            "code4: 1 workers times the largest entry, 2147483648, is 2147483648, and "
            "an int32 sum holds 2147483647: this table allows not even one worker",
        ),
    ],
)
def test_tables_that_no_switch_takes(
    code: str, table: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Pipeline(SwitchConfig(num_slots=2, jobs=(job_with(1, **{code: table}),)))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("num_workers", [1, 3, MANY])
@pytest.mark.parametrize("result", RESULTS)
def test_the_table_decides_how_narrow_a_result_may_be(
    result: str, num_workers: int, code: str
) -> None:
    """n times the largest entry, of either sign, just fits `result`: narrower ones are
    malformed, and so is it with an entry larger by one."""
    fits, too_large = LARGEST[result] // num_workers, LARGEST[result] // num_workers + 1
    order = list(RESULTS)
    for largest, first_allowed in ((fits, 0), (too_large, 1)):
        allowed = order[order.index(result) + first_allowed :]
        if not allowed:
            continue  # no result type at all: refused
        rest = (0,) * (codes.TABLE_SIZES[code] - 1)
        for entry, tried in itertools.product((largest, -largest), order):
            job = job_with(num_workers, **{code: (*rest, entry)})
            switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
            switch.process([contribution(job, 0, code, tried, [0, 1])])
            outcome = "accepted" if tried in allowed else "malformed"
            assert switch.counters(job.job)[outcome] == 1


def test_a_table_of_zeros_sums_to_zero() -> None:
    job = job_with(MANY, code4=(0,) * 16)
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
    copies = switch.process(
        [contribution(job, rank, "code4", "int8", [3, 4]) for rank in range(MANY)]
    )
    assert values_of(copies[0][0], "int8") == [0, 0]


BOTH = job_with(1, code4=tuple(range(16)), code8=tuple(range(256)))
KINDS = {
    "max of codes": kind_of(Reduction.MAX, ElementType.CODE4, ElementType.INT16),
    "or of codes": kind_of(Reduction.OR, ElementType.CODE8, ElementType.INT16),
    "code4 as result": kind_of(Reduction.SUM, ElementType.INT8, ElementType.CODE4),
    "code8 as result": kind_of(Reduction.SUM, ElementType.CODE8, ElementType.CODE8),
    "element type 5": 5 << 3 | ElementType.INT32,
    "result type 5": ElementType.CODE4 << 3 | 5,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_kinds_that_there_are_not(kind: int) -> None:
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(BOTH,)))
    for length in range(0, 9):
        packet = protocol.emit(
            opcode=Opcode.CONTRIBUTE, job=7, worker=0, sequence=0, kind=kind,
            element_count=2, payload=bytes(length),
        )  # fmt: skip
        switch.process([(packet, BOTH.workers[0])])
    assert switch.counters()["malformed"] == 9


@pytest.mark.parametrize("count", [1, 3, 5])
def test_odd_counts_of_half_bytes(count: int) -> None:
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(BOTH,)))
    kind = kind_of(Reduction.SUM, ElementType.CODE4, ElementType.INT32)
    for length in range(0, 8):
        packet = protocol.emit(
            opcode=Opcode.CONTRIBUTE, job=7, worker=0, sequence=0, kind=kind,
            element_count=count, payload=bytes(length),
        )  # fmt: skip
        switch.process([(packet, BOTH.workers[0])])
    assert switch.counters()["malformed"] == 8


@pytest.mark.parametrize("code", CODES)
def test_codes_without_a_table_are_malformed(code: str) -> None:
    """Empty contributions too: the job has no such kind. Results and statuses are not
    looked at that closely by anybody: the first check that fails counts."""
    job = replace(BOTH, **{code: None})
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
    for numbers in ([], [1, 2], [1, 2] * 20):
        switch.process([contribution(job, 0, code, "int32", numbers)])
    assert switch.counters(job.job)["malformed"] == 3
    switch.process([contribution(job, 0, other_than(code), "int32", [1, 2])])
    assert switch.counters(job.job)["accepted"] == 1


def other_than(code: str) -> str:
    return "code8" if code == "code4" else "code4"


@pytest.mark.parametrize("code", CODES)
def test_payloads_may_be_as_wide_as_the_slot_once_reduced(code: str) -> None:
    job = replace(BOTH, slot_bytes=16)
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
    for result, fits in (("int16", 8), ("int32", 4)):
        switch.reset(job.job)
        switch.process([contribution(job, 0, code, result, [1] * (fits + 2))])
        switch.process([contribution(job, 0, code, result, [1] * fits)])
    counters = switch.counters(job.job)
    assert (counters["malformed"], counters["accepted"]) == (2, 2)


def test_an_empty_contribution_is_no_code_0() -> None:
    """It stands for a sum of 0, whatever the table makes of code 0."""
    job = job_with(2, code4=(9,) * 16)
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
    copies = switch.process(
        [
            contribution(job, 0, "code4", "int8", []),
            contribution(job, 1, "code4", "int8", [0, 5]),
        ]
    )
    assert values_of(copies[0][0], "int8") == [9, 9]


def test_codes_do_not_mix_with_integers_or_each_other() -> None:
    job = replace(BOTH, workers=job_with(2).workers)
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(job,)))
    switch.process([contribution(job, 0, "code4", "int16", [1, 2])])
    for other in ("code8", "code4"):
        result = "int16" if other == "code8" else "int32"
        switch.process([contribution(job, 1, other, result, [1, 2])])
    assert switch.counters(job.job)["mismatch"] == 2


def test_each_job_has_its_own_tables() -> None:
    jobs = [
        JobConfig(
            job=number, workers=(("10.0.0.1", number),), num_slots=1, slot_bytes=64,
            code4=(number,) * 16, code8=(-number,) * 256,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    switch = Pipeline(SwitchConfig(num_slots=3, jobs=tuple(jobs[:2])))
    switch.remove(1)
    switch.install(jobs[2])  # where job 1 was
    for job in jobs[1:]:
        [(packet, _)] = switch.process([contribution(job, 0, "code4", "int8", [0, 15])])
        assert values_of(packet, "int8") == [job.job] * 2


def test_a_later_job_does_not_inherit_tables() -> None:
    switch = Pipeline(SwitchConfig(num_slots=2, jobs=(BOTH,)))
    switch.remove(BOTH.job)
    switch.install(replace(BOTH, code4=None, code8=None))
    switch.process([contribution(BOTH, 0, "code4", "int32", [1, 2])])
    assert switch.counters(BOTH.job)["malformed"] == 1
