"""host/collectives.py: results for some of the workers, by recipients of chunks."""

import ctypes
import mmap
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from real_switch import RealSwitch, array_of, run_workers, running, total

from host.agent import AggregationOverflow, Network
from host.segments import Segments, one_each

N = 3
SIZES = [0, 1, 300, 5000]
"""Elements; 5000 of an int8 are five chunks, of an int32 twenty."""


@pytest.fixture(scope="module")
def switch() -> Any:
    with running() as started:
        yield started


def parts_of(rank: int, size: int, dtype: Any) -> NDArray[Any]:
    return np.stack([array_of(10 * rank + part, size, dtype) for part in range(N)])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("size", SIZES)
def test_a_reduction_to_one_worker(switch: RealSwitch, size: int, dtype: Any) -> None:
    def work(network: Network) -> None:
        array = array_of(network.rank, size, dtype)
        for root in range(N):
            found = network.sum(array, root=root), network.max(array, root=root)
            if network.rank != root:
                assert found == (None, None)
                continue
            np.testing.assert_array_equal(found[0], total(N, size, dtype))
            arrays = [array_of(rank, size, dtype) for rank in range(N)]
            np.testing.assert_array_equal(found[1], np.max(arrays, axis=0))

    run_workers(switch, N, work)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("size", SIZES)
def test_reduce_scatter(switch: RealSwitch, size: int, dtype: Any) -> None:
    everything = np.stack([parts_of(rank, size, dtype) for rank in range(N)])

    def work(network: Network) -> None:
        for reduction, operation in (("sum", np.sum), ("max", np.max)):
            found = network.reduce_scatter(everything[network.rank], reduction)
            expected = operation(everything[:, network.rank], axis=0)
            np.testing.assert_array_equal(found, expected.astype(dtype))
            assert found.dtype == dtype

    run_workers(switch, N, work)


@pytest.mark.parametrize("dtype", [np.float64, np.bool_, ">u2"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (37, 41)])
def test_arrays_go_where_they_shall(
    switch: RealSwitch, shape: tuple[int, ...], dtype: Any
) -> None:
    random = np.random.default_rng(0)
    parts = random.integers(0, 255, (N, *shape)).astype(dtype)

    def work(network: Network) -> None:
        rank = network.rank
        own = parts[rank : rank + 1].reshape(shape)
        for root in range(N):
            found = network.scatter(
                parts if rank == root else np.zeros_like(parts), root
            )
            same(found, own)
            found = network.all_gather(own, root=root)
            if rank == root:
                same(found, parts)
            else:
                assert found is None
        same(network.all_gather(own), parts)

    def same(found: Any, expected: Any) -> None:
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()

    run_workers(switch, N, work)


def test_only_the_owner_of_a_part_gets_its_packets(switch: RealSwitch) -> None:
    def work(network: Network) -> int:
        network.reduce_scatter(np.ones((N, 10240), np.int8))
        return network.statistics.bytes_received

    chunks = N * 10
    for received in run_workers(switch, N, work):
        assert received == 10240 + 16 * chunks


def test_tensors_stay_tensors(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        tensor = torch.arange(6).reshape(N, 2)
        assert torch.equal(network.all_gather(tensor[network.rank]), tensor)
        assert torch.equal(network.scatter(tensor, 1), tensor[network.rank])
        found = network.reduce_scatter(tensor.int())
        assert torch.equal(found, N * tensor[network.rank].int())

    run_workers(switch, N, work)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_results_go_where_they_are_told(switch: RealSwitch, kind: Any) -> None:
    """Also over the argument. 700 int32 are three chunks of 256 and a part of one."""
    size = 700
    given = [array_of(rank, size, np.int32) for rank in range(N)]
    everything = [parts_of(rank, size, np.int32) for rank in range(N)]

    def work(network: Network) -> None:
        rank = network.rank

        def check(call: Any, argument: Any, out: Any, expected: Any) -> None:
            assert call(argument, out=out) is out
            np.testing.assert_array_equal(np.asarray(out), expected)

        own = kind(given[rank].copy())
        check(network.sum, own, own, total(N, size, np.int32))
        own = kind(given[rank].copy())
        check(network.max, own, kind(np.ones(size, np.int32)), np.max(given, axis=0))
        check(partial(network.broadcast, root=1), own, own, given[1])
        own, room = kind(given[rank].copy()), kind(np.ones((N, size), np.int32))
        check(network.all_gather, own, room, given)
        parts, room = kind(everything[rank].copy()), kind(np.ones(size, np.int32))
        check(network.reduce_scatter, parts, room, np.sum(everything, axis=0)[rank])
        check(partial(network.scatter, root=2), parts, room, everything[2][rank])

    run_workers(switch, N, work)


def test_a_place_for_results_has_the_right_size(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        ones = np.ones(8, np.int32)
        for out, text in (
            (np.ones(9, np.int32), "out has 36 bytes: must have 32, contiguous"),
            (np.ones((8, 2), np.int32)[:, 0], "out has 32 bytes: must have 32, cont"),
        ):
            with pytest.raises(ValueError, match=text):
                network.sum(ones, out=out)
        fixed = np.ones(8, np.int32)
        fixed.flags.writeable = False
        with pytest.raises(ValueError, match="out is read-only"):
            network.sum(ones, out=fixed)
        with pytest.raises(TypeError, match="out is of float32: must be of int32"):
            network.sum(ones, out=np.ones(8, np.float32))
        assert network.sum(ones, out=ones).tolist() == [1] * 8

    run_workers(switch, 1, work)


def test_the_root_of_a_broadcast_is_not_written_to(switch: RealSwitch) -> None:
    """Its memory may be a file's, say, that torch takes for writeable."""
    data = np.arange(3000, dtype=np.int32)
    memory = mmap.mmap(-1, data.nbytes)
    memory[:] = data.tobytes()
    kept = np.frombuffer(memory, np.int32)
    address, length = ctypes.c_void_p(kept.ctypes.data), ctypes.c_size_t(kept.nbytes)
    assert ctypes.CDLL(None).mprotect(address, length, mmap.PROT_READ) == 0

    def work(network: Network) -> None:
        own = torch.from_numpy(kept if network.rank == 0 else np.zeros_like(data))
        assert network.broadcast(own, 0, out=own) is own
        np.testing.assert_array_equal(own.numpy(), data)
        np.testing.assert_array_equal(network.broadcast(own, 0).numpy(), data)

    run_workers(switch, 2, work)


def test_results_may_overlap_the_argument(switch: RealSwitch) -> None:
    """In a window of two chunks of 16 int32 most is sent after the first results."""
    size = 100
    everything = [parts_of(rank, size, np.int32) for rank in range(N)]
    sums = np.sum(everything, axis=0, dtype=np.int32)

    def work(network: Network) -> None:
        rank = network.rank
        for place in range(N):
            room = everything[rank].copy()
            network.all_gather(room[place], out=room)
            np.testing.assert_array_equal(room, [each[place] for each in everything])
            parts = everything[rank].copy()
            network.reduce_scatter(parts, out=parts[place])
            np.testing.assert_array_equal(parts[place], sums[rank])
            parts = everything[rank].copy()
            network.scatter(parts, 1, out=parts[place])
            np.testing.assert_array_equal(parts[place], everything[1][rank])
        flat = everything[rank].reshape(-1).copy()
        network.sum(flat[:-50], out=flat[50:])
        np.testing.assert_array_equal(flat[50:], sums.reshape(-1)[:-50])
        flat = everything[rank].reshape(-1).copy()
        network.broadcast(flat[:-50], 2, out=flat[50:])
        np.testing.assert_array_equal(flat[50:], everything[2].reshape(-1)[:-50])
        narrow = np.arange(400, dtype=np.int8) % 40
        wide = np.zeros(400, np.int16)
        wide.view(np.int8)[:400] = narrow
        network.sum(wide.view(np.int8)[:400], "int16", out=wide)
        np.testing.assert_array_equal(wide, narrow.astype(np.int16) * N)

    run_workers(switch, N, work, num_slots=2, slot_bytes=64)


def test_who_gets_no_result_may_give_a_place_for_it(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        ones, gets = np.ones(300, np.int32), network.rank == 1
        room, wide = np.full(300, 7, np.int32), np.full((N, 300), 7, np.int32)
        for call, out, expected in (
            (network.sum, room, N),
            (network.max, room, 1),
            (network.all_gather, wide, 1),
        ):
            assert call(ones, root=1, out=out) is (out if gets else None)
            assert (out == (expected if gets else 7)).all()

    run_workers(switch, N, work)


@pytest.mark.parametrize("elements", [0, 1, 4, 7, 8, 9])
def test_parts_begin_with_chunks_of_their_own(elements: int) -> None:
    segments = Segments(3, elements, 4)
    chunks = [
        (part * elements + start, part * elements + min(start + 4, elements))
        for part in range(3)
        for start in range(0, elements, 4)
    ]
    assert list(zip(segments.starts(), segments.ends(), strict=True)) == chunks
    assert segments.all_chunks == len(chunks) == len(one_each(segments).recipients)


def test_an_overflow_is_an_error_also_where_no_result_goes(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        with pytest.raises(AggregationOverflow):
            network.sum(np.full(4, 100, np.int8), root=0)
        network.barrier()

    run_workers(switch, N, work)


def test_mistakes_are_told_before_anything_is_sent(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        for call, text in (
            (
                lambda: network.scatter(np.ones(4), 0),
                r"parts of shape \[4\]: exp.* 1 al",
            ),
            (lambda: network.reduce_scatter(np.int8(1)), r"parts of shape \[\]"),
            (lambda: network.scatter(np.ones(1), 1), "root 1: expected 0 to 0"),
            (lambda: network.all_gather(np.ones(1), root=-1), "root -1: expected 0"),
            (lambda: network.sum(np.ones(1, np.int8), root=1), "root 1: expected 0"),
        ):
            with pytest.raises(ValueError, match=text):
                call()
        assert network.statistics.packets_sent == 0

    run_workers(switch, 1, work)
