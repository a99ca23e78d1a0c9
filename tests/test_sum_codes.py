"""Codes at the host: chunks, exact sums over real and bad networks, what is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from lossy import losing
from numpy.typing import NDArray
from real_switch import RealSwitch, attempt, check_identities, run_workers, running
from world import Link, World

from host.agent import Network, join
from host.codes import CodeStream, codes_per_chunk
from host.controller import JoinRefused
from host.packetizer import make_ready, new_contributions
from switch.protocol import HEADER_BYTES, ElementType, Flag

RESULTS = {"int8": np.int8, "int16": np.int16, "int32": np.int32}
SIZES = {"code4": 16, "code8": 256}
LARGEST = {"int8": 2**7 - 1, "int16": 2**15 - 1, "int32": 2**31 - 1}
RUBBISH = 0xA5


def table_for(code: str, result: str, num_workers: int) -> tuple[int, ...]:
    """The largest entries that so many workers may have, first and last."""
    largest = LARGEST[result] // num_workers
    middle = np.linspace(-largest, largest, SIZES[code] - 2).astype(int)
    return (largest, *middle.tolist(), -largest)


def codes_of(rank: int, size: int, code: str) -> NDArray[np.uint8]:
    """Different on every worker, but for the ends: all largest, all smallest."""
    random = np.random.default_rng([rank, size])
    codes = random.integers(0, SIZES[code], size, np.uint8)
    codes[: size // 3] = 0
    codes[size - size // 3 :] = SIZES[code] - 1
    return codes


def exact(table: tuple[int, ...], code: str, num_workers: int, size: int) -> list[int]:
    entries = np.array(table, np.int64)
    every = [entries[codes_of(rank, size, code)] for rank in range(num_workers)]
    total: list[int] = np.sum(every, axis=0, dtype=np.int64).tolist()
    return total


@pytest.fixture(scope="module")
def switch() -> Iterator[RealSwitch]:
    with running() as switch:
        yield switch


# chunks


def filled(stream: CodeStream, chunk: int) -> bytes:
    per_byte = 2 if stream.plan.two_a_byte else 1
    width = stream.elements_per_chunk // per_byte
    room = new_contributions(1, width)
    room.packets[:] = RUBBISH
    make_ready(room, 1, stream.elements_per_chunk)
    stream.fill(np.array([chunk]), room)
    assert room.element_count[0] == stream.elements_per_chunk
    assert room.packets[0, :HEADER_BYTES].tobytes() == bytes([RUBBISH] * HEADER_BYTES)
    return room.payload[0].tobytes()


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 17])
def test_half_bytes_are_packed_first_in_the_high_one(size: int) -> None:
    codes = np.arange(1, size + 1, dtype=np.uint8) % 16
    stream = CodeStream(codes, np.zeros(size, np.int16), ElementType.CODE4, 16)
    assert stream.elements_per_chunk == 8
    assert stream.num_chunks == -(-size // 8)
    padded = [*codes.tolist(), *[0] * 8][: 8 * stream.num_chunks]
    digits = "".join(f"{code:x}" for code in padded)
    found = b"".join(filled(stream, chunk) for chunk in range(stream.num_chunks))
    assert found.hex() == digits


@pytest.mark.parametrize("size", [1, 4, 5])
def test_bytes_are_copied_and_padded(size: int) -> None:
    codes = np.arange(250, 250 + size, dtype=np.uint8)
    stream = CodeStream(codes, np.zeros(size, np.int32), ElementType.CODE8, 16)
    assert stream.elements_per_chunk == 4
    found = b"".join(filled(stream, chunk) for chunk in range(stream.num_chunks))
    assert found == codes.tobytes() + bytes(-size % 4)


def test_codes_per_chunk() -> None:
    code4, code8 = ElementType.CODE4, ElementType.CODE8
    assert codes_per_chunk(1024, code4, ElementType.INT16) == 512
    assert codes_per_chunk(12, code4, ElementType.INT32) == 2
    assert codes_per_chunk(12, code8, ElementType.INT32) == 3
    with pytest.raises(ValueError, match="slot_bytes is 4: too small for code4 summed"):
        codes_per_chunk(4, code4, ElementType.INT32)


# sums


@pytest.mark.parametrize("code", SIZES)
@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_sums_of_every_size_and_result_type(num_workers: int, code: str) -> None:
    def work(network: Network) -> None:
        assert (network.code4, network.code8) == (tables["code4"], tables["code8"])
        for result in RESULTS:
            if LARGEST[result] < LARGEST[narrowest]:
                continue
            for size in (0, 1, 2, 511, 512, 513, 1027, 3000):
                sums = network.sum_codes(
                    codes_of(network.rank, size, code), code, result
                )
                assert sums.dtype == RESULTS[result]
                assert sums.tolist() == exact(tables[code], code, num_workers, size)

    for narrowest in RESULTS:
        tables = {name: table_for(name, narrowest, num_workers) for name in SIZES}
        with running() as switch:
            outcome = attempt(switch, num_workers, work, **tables)
            outcome.check()
            check_identities(switch.settle(), [outcome])


@pytest.mark.parametrize("slot_bytes", [8, 12, 300, 1024, 1280])
def test_slots_of_every_width(switch: RealSwitch, slot_bytes: int) -> None:
    tables = {name: table_for(name, "int16", 2) for name in SIZES}

    def work(network: Network) -> None:
        for code in SIZES:
            for result in ("int16", "int32"):
                sums = network.sum_codes(
                    codes_of(network.rank, 1001, code), code, result
                )
                assert sums.tolist() == exact(tables[code], code, 2, 1001)

    run_workers(switch, 2, work, slot_bytes=slot_bytes, num_slots=16, **tables)


def test_codes_and_integers_take_turns(switch: RealSwitch) -> None:
    table = table_for("code4", "int16", 2)

    def work(network: Network) -> None:
        for size in (3, 700):
            ones = np.ones(size, np.int32)
            assert network.sum(ones).tolist() == [2] * size
            sums = network.sum_codes(codes_of(network.rank, size, "code4"), "code4")
            assert sums.dtype == np.int16
            assert sums.tolist() == exact(table, "code4", 2, size)
            network.barrier()

    run_workers(switch, 2, work, code4=table)


def test_shapes_and_tensors(switch: RealSwitch) -> None:
    torch = pytest.importorskip("torch")

    def work(network: Network) -> None:
        codes = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2] % 16
        assert network.sum_codes(codes, "code4").tolist() == codes.tolist()
        sums = network.sum_codes(torch.from_numpy(codes.copy()), "code4", "int32")
        assert sums.dtype == torch.int32
        assert sums.tolist() == codes.tolist()

    run_workers(switch, 1, work, code4=tuple(range(16)))


@pytest.mark.parametrize("code", SIZES)
def test_a_lossy_network_changes_no_sum(code: str) -> None:
    tables = {code: table_for(code, "int16", 3)}

    def work(network: Network) -> Any:
        return network.sum_codes(codes_of(network.rank, 20_000, code), code).tolist()

    with running(faults=losing(0.05, 0.05, seed=3)) as switch:
        outcome = attempt(switch, 3, work, **tables)
        outcome.check()
        counters = switch.settle()
        check_identities(counters, [outcome])
        assert counters["lost_in"] > 0
        assert counters["lost_out"] > 0
    assert outcome.values == [exact(tables[code], code, 3, 20_000)] * 3


@pytest.mark.parametrize("num_workers", [2, 64])
@pytest.mark.parametrize("code", SIZES)
def test_loss_repetition_and_reordering(code: str, num_workers: int) -> None:
    """Also of as many workers as there can be."""
    size = 300
    table = table_for(code, "int16", num_workers)
    link = Link(loss=0.05, repeat=0.1, jitter=10e-3)
    world = World(num_workers, link=link, seed=5, **{code: table})
    outs = [np.zeros(size, np.int16) for _ in range(num_workers)]
    element_type = ElementType[code.upper()]
    streams: list[Any] = [
        CodeStream(codes_of(rank, size, code), out, element_type, world.slot_bytes)
        for rank, out in enumerate(outs)
    ]
    world.aggregate(streams)
    expected = exact(table, code, num_workers, size)
    for stream, out in zip(streams, outs, strict=True):
        assert out.tolist() == expected
        assert not stream.flags & Flag.OVERFLOW


# what is refused


def test_arguments_that_no_network_can_take(switch: RealSwitch) -> None:
    codes = np.arange(16, dtype=np.uint8)
    table = (2**15, *range(15))  # too large for int16 sums of one worker
    cases: list[tuple[Any, type[Exception], str]] = [
        (
            lambda n: n.sum_codes(codes, "code5"),
            ValueError,
            "'code5': expected code4 or",
        ),
        (
            lambda n: n.sum_codes(codes.astype(np.int8), "code4"),
            TypeError,
            "codes of int8: expected uint8",
        ),
        (
            lambda n: n.sum_codes(codes + np.uint8(1), "code4", "int32"),
            ValueError,
            "code 16: code4 has 0 to 15",
        ),
        (
            lambda n: n.sum_codes(codes, "code4", "float32"),
            TypeError,
            "float32 elements: expected one of int8, int16, int32",
        ),
        (
            lambda n: n.sum_codes(codes, "code8", "int32"),
            ValueError,
            "the job has no code8 table: give join code8=",
        ),
        (
            lambda n: n.sum_codes(codes, "code4", "int16"),
            ValueError,
            "result_type int16: 1 workers times the largest entry of the job's code4 "
            "table need int32",
        ),
    ]

    def work(network: Network) -> Any:
        for call, error, text in cases:
            with pytest.raises(error, match=text):
                call(network)
        assert network.statistics.packets_sent == 0
        return network.sum_codes(codes, "code4", "int32").tolist()

    assert run_workers(switch, 1, work, code4=table) == [list(table)]


def test_tables_too_large_for_so_many_workers(switch: RealSwitch) -> None:
    """The join says why; with one worker less it is fine."""
    table = (2**30, *range(15))
    outcome = attempt(switch, 2, lambda network: None, code4=table)
    for error in outcome.values:
        assert isinstance(error, ValueError)
        assert str(error).endswith("this table allows num_workers up to 1")
    assert run_workers(switch, 1, lambda network: network.rank, code4=table) == [0]


def test_workers_that_disagree_about_a_table(switch: RealSwitch) -> None:
    """Who comes second is refused, and may come again with the other's table."""

    def join_with(rank: int, entry: int) -> None:
        join(
            switch.endpoint, job="disagree", rank=rank, num_workers=2,
            code4=(*range(15), entry),
        ).close()  # fmt: skip

    def work(rank: int) -> str | None:
        try:
            join_with(rank, 3 + rank)
        except JoinRefused as refused:
            join_with(rank, 3 + 1 - rank)
            return str(refused)
        return None

    with ThreadPoolExecutor(2) as pool:
        refused = list(pool.map(work, (0, 1)))
    [second] = [rank for rank in (0, 1) if refused[rank]]
    assert refused[second] == (
        f"code4: code 15 is {3 + second}, but worker {1 - second} said {4 - second}"
    )
