"""The collectives over real UDP on loopback, and what a join refuses."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from real_switch import (
    RealSwitch,
    array_of,
    attempt,
    check_identities,
    run_workers,
    running,
    total,
)

from host.agent import AggregationError, AggregationOverflow, Network, join
from host.controller import JoinRefused
from switch.security import Security

SOON = 2.0  # seconds
FULL = 256  # int32 elements of a full packet of 1024 bytes


@pytest.fixture(scope="module")
def switch() -> Iterator[RealSwitch]:
    with running() as switch:
        yield switch


# sums


SIZES = [0, 1, FULL - 1, FULL, FULL + 1, 5 * FULL + 7]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_sums_of_every_size_and_type(num_workers: int) -> None:
    def work(network: Network) -> None:
        for dtype in (np.int8, np.int16, np.int32):
            for size in SIZES:
                result = network.sum(array_of(network.rank, size, dtype, num_workers))
                assert result.dtype == dtype
                np.testing.assert_array_equal(result, total(num_workers, size, dtype))

    with running() as switch:
        outcome = attempt(switch, num_workers, work)
        outcome.check()
        counters = switch.settle()
        check_identities(counters, [outcome])
        assert counters["results"] == 6 + 7 + 11  # int8, int16, int32
        assert counters["lost_in"] == counters["lost_out"] == 0


@pytest.mark.parametrize(("num_workers", "dtype"), [(2, np.int32), (8, np.int8)])
def test_a_million_elements(num_workers: int, dtype: Any) -> None:
    size = 1_000_000

    def work(network: Network) -> bool:
        own = array_of(network.rank, size, dtype, num_workers)
        return np.array_equal(network.sum(own), expected)

    expected = total(num_workers, size, dtype)
    with running() as switch:
        outcome = attempt(switch, num_workers, work)
        assert outcome.values == [True] * num_workers
        counters = switch.settle()
        check_identities(counters, [outcome])
        chunks = -(-size * np.dtype(dtype).itemsize // 1024)
        assert counters["results"] == chunks


@pytest.mark.parametrize(
    ("element", "result"),
    [(np.int8, "int16"), (np.int8, "int32"), (np.int16, "int32"), (np.int8, "int8")],
)
def test_a_wider_result_holds_what_its_elements_cannot(
    switch: RealSwitch, element: Any, result: str
) -> None:
    low = np.iinfo(element).min

    def work(network: Network) -> NDArray[Any]:
        value = low if result != "int8" else 1
        return network.sum(np.full(700, value, element), result_type=result)

    for found in run_workers(switch, 3, work):
        assert found.dtype == np.dtype(result)
        assert np.all(found == (3 * low if result != "int8" else 3))


def test_shapes_and_layouts(switch: RealSwitch) -> None:
    plain = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    frozen = plain.copy()
    frozen.setflags(write=False)
    arrays: list[Any] = [
        plain,
        frozen,
        np.asfortranarray(plain),
        plain[::-1, :, ::2],
        plain[1, 2, 3],  # a scalar
        np.zeros((0, 4), np.int32),
        [[1, 2], [3, 4]],
    ]
    arrays[-1] = np.array(arrays[-1], np.int32)

    def work(network: Network) -> None:
        for array in arrays:
            before = np.array(array)
            found = network.sum(array)
            assert found.shape == np.shape(array)
            np.testing.assert_array_equal(found, 2 * before)
            np.testing.assert_array_equal(array, before)  # the argument stays

    run_workers(switch, 2, work)


# the other collectives


def test_max(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        for dtype in (np.int8, np.int16, np.int32):
            arrays = [array_of(rank, 1500, dtype, 1) for rank in range(3)]
            found = network.max(arrays[network.rank])
            np.testing.assert_array_equal(found, np.maximum.reduce(arrays))
        lowest = np.full(3, np.iinfo(np.int16).min, np.int16)
        np.testing.assert_array_equal(network.max(lowest), lowest)

    run_workers(switch, 3, work)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 8 * 1024 + 5])
def test_union(switch: RealSwitch, size: int) -> None:
    random = np.random.default_rng(size)
    bits = random.random((3, size)) < 0.2
    octets = random.integers(0, 256, (3, size), np.uint8)

    def work(network: Network) -> None:
        found = network.union(bits[network.rank])
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, bits.any(axis=0))
        found = network.union(octets[network.rank])
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.bitwise_or.reduce(octets))

    run_workers(switch, 3, work)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.0, -0.0, np.nan, np.inf, 5e-324]),
        np.random.default_rng(0).random((37, 41)),
        np.arange(3000, dtype=">u2"),
        np.array([True, False, True]),
        np.array(1 + 2j),
        np.zeros((0, 3), np.float32),
    ],
    ids=["specials", "float64", "big-endian", "bool", "scalar", "empty"],
)
def test_a_broadcast_is_the_array_bit_for_bit(
    switch: RealSwitch, array: NDArray[Any]
) -> None:
    def work(network: Network) -> None:
        for root in (0, 2):
            # what the others give is of no consequence, but for its shape
            own = array if network.rank == root else np.ones_like(array)
            found = network.broadcast(own, root)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()

    run_workers(switch, 3, work)


@pytest.mark.parametrize(
    "messages",
    [
        [b"", b"", b""],
        [b"", b"x", b""],
        [b"a" * 1024, b"", b"b" * 1025],
        [bytes(range(256)) * 20, b"\0\0", b"\xff" * 1023],
    ],
    ids=["nothing", "one byte", "chunks", "bytes"],
)
def test_gather(switch: RealSwitch, messages: list[bytes]) -> None:
    found = run_workers(
        switch, 3, lambda network: network.gather(messages[network.rank])
    )
    assert found == [messages] * 3


def test_nobody_leaves_a_barrier_before_the_last_has_come(switch: RealSwitch) -> None:
    came: list[float] = []
    left: list[float] = []

    def work(network: Network) -> None:
        time.sleep(0.1 * network.rank)
        came.append(time.monotonic())
        network.barrier()
        left.append(time.monotonic())

    run_workers(switch, 3, work)
    assert max(came) <= min(left)


def test_torch_tensors_that_are_not_contiguous(switch: RealSwitch) -> None:
    torch = pytest.importorskip("torch")

    def work(network: Network) -> None:
        turned = torch.arange(6, dtype=torch.int32).reshape(2, 3).t()
        for reduced in (network.sum(turned), network.max(turned)):
            assert torch.equal(reduced, turned)
        strided = torch.arange(10, dtype=torch.int32)[::2]
        assert torch.equal(network.broadcast(strided, 0), strided)

    assert attempt(switch, 1, work).values == [None]


def test_torch_tensors_in_and_out(switch: RealSwitch) -> None:
    torch = pytest.importorskip("torch")

    def work(network: Network) -> None:
        ones = torch.arange(600, dtype=torch.int32).reshape(20, 30)
        for tensor in (ones, ones.T, ones[3], ones[0, 1]):
            found = network.sum(tensor)
            assert found.dtype == torch.int32
            assert torch.equal(found, 2 * tensor)
        wider = network.sum(torch.full((5,), 100, dtype=torch.int8), "int32")
        assert torch.equal(wider, torch.full((5,), 200, dtype=torch.int32))
        rank = torch.tensor([network.rank], dtype=torch.int16)
        assert torch.equal(network.max(rank), torch.tensor([1], dtype=torch.int16))
        assert network.union(rank.bool()).tolist() == [True]
        weights = torch.rand(7, 3, dtype=torch.float64, requires_grad=True)
        sent = network.broadcast(weights, 1)
        if network.rank == 1:
            assert torch.equal(sent, weights)
        assert not sent.requires_grad

    run_workers(switch, 2, work)


def test_everything_one_after_the_other_on_one_network(switch: RealSwitch) -> None:
    """Kinds share the sequences of the job; a small window makes slots wrap often."""

    def work(network: Network) -> None:
        for turn in range(40):
            own = np.full(turn * 9, network.rank + turn, np.int32)
            assert np.all(network.sum(own) == 1 + 2 * turn)
            assert np.all(network.max(own.astype(np.int8)) == 1 + turn)
            network.barrier()
            [_, other] = network.gather(bytes([network.rank]) * turn)
            assert other == b"\1" * turn
            assert network.broadcast(own, turn % 2).sum() == own.size * (
                turn + turn % 2
            )

    run_workers(switch, 2, work, num_slots=2, slot_bytes=64)


# overflow


def test_detect_raises_and_the_network_lives_on(switch: RealSwitch) -> None:
    def work(network: Network) -> int:
        high = np.zeros(3000, np.int8)
        high[2999] = 100
        with pytest.raises(AggregationOverflow, match=r"sum over 2 workers.* of int8"):
            network.sum(high)
        assert network.sum(high, "int16")[2999] == 200
        assert np.all(network.max(high) == high)
        assert network.sum(high // 2)[2999] == 100
        return network.statistics.overflows

    assert run_workers(switch, 2, work, overflow="detect") == [1, 1]


@pytest.mark.parametrize(("overflow", "expected"), [("wrap", -56), ("saturate", 127)])
def test_other_policies_do_not_raise(
    switch: RealSwitch, overflow: str, expected: int
) -> None:
    def work(network: Network) -> tuple[NDArray[Any], int]:
        return network.sum(np.full(9, 100, np.int8)), network.statistics.overflows

    for found, overflows in run_workers(switch, 2, work, overflow=overflow):
        assert found.tolist() == [expected] * 9
        assert overflows == 0


# arguments, joins


def test_arguments_that_no_network_can_take(switch: RealSwitch) -> None:
    ones = np.ones(4, np.int32)
    cases: list[tuple[Any, type[Exception], str]] = [
        (
            lambda n: n.sum(ones / 2),
            TypeError,
            "float64 elements: expected one of int8",
        ),
        (lambda n: n.sum([1, 2]), TypeError, "int64 elements: expected one of int8"),
        (lambda n: n.max(ones > 0), TypeError, "bool elements: expected one of int8"),
        (lambda n: n.sum(ones, "int8"), TypeError, "int8 is narrower .* int32"),
        (lambda n: n.sum(ones, "float32"), TypeError, "float32 elements: expected"),
        (lambda n: n.union(ones), TypeError, "union of int32: expected bool or uint8"),
        (lambda n: n.broadcast(ones, 1), ValueError, "root 1: expected 0 to 0"),
        (lambda n: n.broadcast(ones, -1), ValueError, "root -1: expected 0 to 0"),
    ]

    def work(network: Network) -> int:
        for call, error, text in cases:
            with pytest.raises(error, match=text):
                call(network)
        assert network.statistics.packets_sent == 0
        return int(network.sum(ones).sum())

    assert run_workers(switch, 1, work) == [4]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"slot_bytes": 1460},
            ValueError,
            "slot_bytes 1460: an MTU of 1500 leaves .*1456",
        ),
        ({"mtu": 500}, ValueError, "slot_bytes 1024: an MTU of 500 leaves .*456"),
        ({"overflow": "explode"}, ValueError, "overflow 'explode': expected wrap, sat"),
        ({"rank": 2}, JoinRefused, "rank 2: allowed are 0 to 0"),
        ({"rank": -1}, ValueError, "rank -1: expected an integer of 0 or more"),
        ({"num_slots": 3}, JoinRefused, "num_slots 3: allowed are powers of two"),
        ({"num_workers": 65}, JoinRefused, "num_workers 65: allowed are 1 to 64"),
        ({"bind": "192.0.2.1"}, OSError, "192.0.2.1.*annot assign requested address"),
        ({"bind": "somewhere"}, ValueError, "somewhere"),
    ],
)
def test_joins_that_cannot_be(
    switch: RealSwitch, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    given = {"job": "bad", "rank": 0, "num_workers": 1, "timeout": 1.0} | options
    with pytest.raises(error, match=text):
        join(switch.endpoint, **given)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", ":48864", "", "a:b"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        join(address, job="bad", rank=0, num_workers=1)


def test_no_switch_at_all() -> None:
    with running() as switch:
        endpoint = switch.endpoint
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=f"no switch answers at {endpoint}"):
        join(endpoint, job="nobody", rank=0, num_workers=1, timeout=0.5)
    assert time.monotonic() - started < SOON


def test_workers_that_never_join_are_named(switch: RealSwitch) -> None:
    with pytest.raises(TimeoutError, match="missing: ranks 0, 2"):
        join(switch.endpoint, job="few", rank=1, num_workers=3, timeout=0.3)


def test_a_closed_network_says_so(switch: RealSwitch) -> None:
    network = join(switch.endpoint, job="closed", rank=0, num_workers=1)
    network.close()
    network.close()  # twice does no harm
    with pytest.raises(AggregationError, match="network of job 'closed' is closed"):
        network.barrier()


# addresses


def test_a_named_address() -> None:
    with running() as switch:
        endpoint = f"localhost:{switch.address[1]}"
        with join(endpoint, job="named", rank=0, num_workers=1) as network:
            assert network.sum(np.ones(1, np.int8)).tolist() == [1]


def test_bind_chooses_the_address() -> None:
    with (
        running(address="0.0.0.0", security=Security(insecure=True)) as switch,
        join(
            f"127.0.0.1:{switch.address[1]}",
            job="bound", rank=0, num_workers=1, bind="127.0.0.9",
        ) as network,
    ):  # fmt: skip
        assert network.sum(np.ones(1, np.int8)).tolist() == [1]
        assert switch.path.pipeline.known.known[0][0] == "127.0.0.9"
