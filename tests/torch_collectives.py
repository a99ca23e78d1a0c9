"""Checks of the backend's collectives; see torch_checks.py."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ReduceOp
from torch_checks import GROUPS, check, group, raised, rank

import intswitch

SIZES = (0, 1, 3000)
INTEGERS = (torch.int8, torch.int16, torch.int32)
WIDE = (torch.int64, torch.float64)
ALL = (*INTEGERS, *WIDE, torch.float32, torch.bfloat16, torch.bool, torch.complex64)


def own(
    size: int, dtype: torch.dtype, who: int | None = None, bound: int = 30
) -> Tensor:
    """Of one rank; the sum over four stays in the range of an int8."""
    seed = torch.Generator().manual_seed(size + (rank() if who is None else who))
    values = torch.randint(-bound, bound, (size,), generator=seed)
    return values.to(dtype) if dtype is not torch.float32 else values / 7


def everybody(size: int, dtype: torch.dtype) -> list[Tensor]:
    return [own(size, dtype, who) for who in range(dist.get_world_size())]


@check
def integers_are_reduced_as_gloo_does() -> None:
    for dtype in INTEGERS:
        for op in (
            ReduceOp.SUM,
            ReduceOp.MAX,
            ReduceOp.MIN,
            ReduceOp.BOR,
            ReduceOp.BAND,
        ):
            for size in SIZES:
                ours = own(size, dtype)
                theirs = ours.int()  # gloo has no int16
                dist.all_reduce(ours, op)
                dist.all_reduce(theirs, op, group=GROUPS["gloo"])
                assert torch.equal(ours.int(), theirs), (dtype, op, size)


@check
def what_the_switch_cannot_do_gloo_does() -> None:
    for dtype in (*WIDE, torch.uint8):
        for op in (ReduceOp.SUM, ReduceOp.PRODUCT, ReduceOp.MIN):
            ours, theirs = own(5, dtype), own(5, dtype)
            dist.all_reduce(ours, op)
            dist.all_reduce(theirs, op, group=GROUPS["gloo"])
            assert torch.equal(ours, theirs), (dtype, op)
    text = raised(
        RuntimeError, lambda: dist.all_reduce(own(1, torch.int8), ReduceOp.AVG)
    )
    assert "Float can't be cast to the desired output type Char" in text, text


def fractions(step: int, dtype: torch.dtype) -> Tensor:
    """Numbers whose sum depends on the order in which they are added."""
    seed = torch.Generator().manual_seed(100 * step + rank())
    return (torch.randn(700, generator=seed, dtype=torch.float64) * 1e9).to(dtype)


@check
def gloo_and_the_switch_take_turns() -> None:
    """Many on their way, and messages past them; what is gloo's has gloo's bits."""
    works, ours, theirs, passed = [], [], [], torch.zeros(1)
    for step in range(6):
        if rank() > 0:
            dist.recv(passed, rank() - 1)
        for dtype in WIDE:
            ours.append(fractions(step, dtype))
            theirs.append(ours[-1].clone())
            works.append(dist.all_reduce(ours[-1], async_op=True))
        total = torch.full((9,), step, dtype=torch.int32)
        works.append(dist.all_reduce(total, async_op=True))
        if rank() < 3:
            dist.send(passed + 1, rank() + 1)
    for work in reversed(works):
        assert work.wait()
        assert work.is_completed()
    assert (total == 20).all()
    assert passed.item() == rank()
    for own, other in zip(ours, theirs, strict=True):
        dist.all_reduce(other, group=GROUPS["gloo"])
        assert torch.equal(own, other)


@check
def what_gloo_does_is_a_work_like_any_other() -> None:
    """Its future, its result; and of tensors that are not dense."""
    wide, out = fractions(0, torch.float64), torch.zeros(175, dtype=torch.float64)
    entry = torch.sparse_coo_tensor([[rank()]], [1.0], (5,), check_invariants=True)
    parts = torch.zeros(4)
    for work, tensor in (
        (dist.all_reduce(wide, async_op=True), wide),
        (dist.reduce(wide, 1, async_op=True), wide),
        (dist.reduce_scatter_single(out, wide, async_op=True), out),
        (dist.all_to_all_single(parts, torch.ones(4), async_op=True), parts),
        (dist.all_reduce(entry, async_op=True), entry),
    ):
        assert work.get_future().wait()[0] is tensor
        assert work.is_success()
        assert work.result()[0] is tensor
    assert entry.to_dense().tolist() == [1, 1, 1, 1, 0]
    tensors = [fractions(1, torch.float64), fractions(2, torch.float64)]
    copies = [each.clone() for each in tensors]
    work = group().allreduce_coalesced(tensors, dist.AllreduceCoalescedOptions())
    kept = list(tensors)
    tensors.clear()
    work.wait()
    dist.all_reduce_coalesced(copies, group=GROUPS["gloo"])
    assert all(map(torch.equal, kept, copies))


@check
def parts_of_any_size_are_exchanged() -> None:
    """Rank r sends r + other + 1 rows, or none, to every other rank."""

    def rows(one: int, other: int) -> int:
        return 0 if (one + other) % 3 == 0 else one + other + 1

    for dtype in (torch.float32, torch.int64):
        sent = [rows(rank(), other) for other in range(4)]
        given = torch.full((sum(sent), 2), rank(), dtype=dtype)
        received = [rows(other, rank()) for other in range(4)]
        out = torch.full((sum(received), 2), -1, dtype=dtype)
        dist.all_to_all_single(out, given, received, sent)
        expected = torch.repeat_interleave(torch.arange(4), torch.tensor(received))
        assert torch.equal(out, expected.to(dtype)[:, None].expand(-1, 2))
        shares = [torch.full((2, size), -1, dtype=dtype).t() for size in received]
        dist.all_to_all(shares, list(given.split(sent)))
        assert torch.equal(torch.cat(shares), out)
    lists = torch.zeros(4, 3), torch.arange(4.0).add(10 * rank()).repeat(3, 1).t()
    dist.all_to_all(list(lists[0]), [each.contiguous() for each in lists[1]])
    assert lists[0][:, 1].tolist() == [10.0 * r + rank() for r in range(4)]
    sizes = [3] * 4 if rank() == 1 else None  # equal parts, said or not
    dist.all_to_all_single(lists[0].view(-1), lists[1].reshape(-1), sizes, sizes)
    assert lists[0][:, 1].tolist() == [10.0 * r + rank() for r in range(4)]


@check
def bits_are_joined() -> None:
    flags = torch.arange(20) % 4 == rank()
    dist.all_reduce(flags, ReduceOp.BOR)
    assert flags.all()
    masks = torch.full((20,), 1 << rank(), dtype=torch.uint8)
    dist.all_reduce(masks, ReduceOp.BOR)
    assert (masks == 15).all()


@check
def the_maximum_of_floats_is_exact() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for op, among in ((ReduceOp.MAX, Tensor.amax), (ReduceOp.MIN, Tensor.amin)):
            found = special(rank()).to(dtype)
            dist.all_reduce(found, op)
            every = torch.stack([special(r).to(dtype) for r in range(4)])
            expected = among(every, 0)
            torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def special(who: int) -> Tensor:
    values = [-0.0, 1e-40, -1e-3, 2.0**-20, torch.inf, -torch.inf, torch.nan, -5.0]
    return torch.tensor(values).roll(who) * (1 + who % 2)


@check
def floats_are_averaged_as_the_compressor_does() -> None:
    """Bit for bit, and in every run the same bits."""
    setup = group().job.setup
    with intswitch.join(
        setup.switch, job="beside", rank=rank(), num_workers=4, mtu=setup.mtu,
        num_slots=setup.num_slots, slot_bytes=setup.slot_bytes,
    ) as network:  # fmt: skip
        for size in SIZES:
            gradient = torch.randn(
                size, generator=torch.Generator().manual_seed(rank())
            )
            mean = setup.create().average(gradient, network)
            for op, expected in ((ReduceOp.AVG, mean), (ReduceOp.SUM, 4 * mean)):
                for _ in range(2):
                    found = gradient.clone()
                    dist.all_reduce(found, op)
                    assert torch.equal(found, expected), (size, op)
            narrow = gradient.bfloat16()
            mean = setup.create().average(narrow.float(), network)
            dist.all_reduce(narrow, ReduceOp.AVG)
            assert torch.equal(narrow, mean.bfloat16())


@check
def results_go_to_one_rank() -> None:
    for dtype in (torch.int32, torch.float32):
        for root in (0, 2):
            found = own(3000, dtype)
            dist.reduce(found, root)
            expected = torch.stack(everybody(3000, dtype)).sum(0)
            if rank() == root:
                torch.testing.assert_close(found, expected.to(dtype))
    found = own(5, torch.float64)
    dist.reduce(found, 1)
    if rank() == 1:
        torch.testing.assert_close(found, sum(everybody(5, torch.float64)))


@check
def results_are_scattered() -> None:
    for dtype in (torch.int16, torch.float32, torch.float64):
        for size in SIZES:
            total = torch.stack(everybody(4 * size, dtype)).sum(0).to(dtype)
            mine = total.view(4, size)[rank()]
            out = torch.zeros(size, dtype=dtype)
            dist.reduce_scatter_single(out, own(4 * size, dtype))
            torch.testing.assert_close(out, mine)
            out.zero_()
            dist.reduce_scatter(out, list(own(4 * size, dtype).chunk(4)))
            torch.testing.assert_close(out, mine)


@check
def tensors_go_where_they_shall() -> None:
    for dtype in ALL:
        for size in SIZES:
            every = everybody(size, dtype)
            found = every[rank()].clone()
            dist.broadcast(found, 3)
            assert torch.equal(found, every[3])
            found = [torch.zeros(size, dtype=dtype) for _ in range(4)]
            dist.all_gather(found, every[rank()])
            assert all(map(torch.equal, found, every))
            flat = torch.zeros(4 * size, dtype=dtype)
            dist.all_gather_single(flat, every[rank()])
            assert torch.equal(flat, torch.cat(every))
            found = [torch.zeros(size, dtype=dtype) for _ in range(4)]
            dist.gather(every[rank()], found if rank() == 1 else None, 1)
            assert rank() != 1 or all(map(torch.equal, found, every))
            part = torch.zeros(size, dtype=dtype)
            dist.scatter(part, every if rank() == 2 else None, 2)
            assert torch.equal(part, every[rank()])


@check
def strided_tensors_are_read_and_written() -> None:
    found = torch.zeros(6, 4, dtype=torch.int32)
    found.t()[:] = own(24, torch.int32).view(4, 6)
    dist.all_reduce(found.t())
    expected = torch.stack(everybody(24, torch.int32)).sum(0).view(4, 6)
    assert torch.equal(found.t(), expected.int())
    found = torch.zeros(3, 2)
    dist.broadcast(found.t().copy_(own(6, torch.float32).view(2, 3)), 0)
    assert torch.equal(found.t(), own(6, torch.float32, 0).view(2, 3))
    found = torch.zeros(5, 4)
    parts = [each.view(1, 5) for each in everybody(5, torch.float32)]
    group().all_gather_single(found.t(), parts[rank()]).wait()
    assert torch.equal(found.t(), torch.cat(parts))
    found = torch.zeros(3, 2)
    given = [each.view(2, 3) for each in everybody(6, torch.float32)]
    dist.scatter(found.t(), given if rank() == 0 else None)
    assert torch.equal(found.t(), given[rank()])


@check
def several_at_once_and_without_options() -> None:
    for dtype in (torch.int32, torch.float64):
        found = [own(size, dtype) for size in SIZES]
        expected = [torch.stack(everybody(size, dtype)).sum(0) for size in SIZES]
        dist.all_reduce_coalesced(found)
        assert all(map(torch.equal, found, [each.to(dtype) for each in expected]))
        found = [own(300, dtype)]
        group().allreduce(found).wait()
        assert torch.equal(
            found[0], torch.stack(everybody(300, dtype)).sum(0).to(dtype)
        )


@check
def objects_and_messages() -> None:
    found: list[Any] = [None] * 4
    dist.all_gather_object(found, {"rank": rank()})
    assert found == [{"rank": r} for r in range(4)]
    listed = ["from 1"] if rank() == 1 else [None]
    dist.broadcast_object_list(listed, 1)
    assert listed == ["from 1"]
    if rank() < 2:
        buffer = torch.full((3,), rank())
        send, receive = (
            (dist.send, dist.recv) if rank() == 0 else (dist.recv, dist.send)
        )
        send(buffer, 1 - rank())
        receive(buffer, 1 - rank())
        assert (buffer == 0).all()
    out = torch.zeros(4)
    dist.all_to_all_single(out, torch.arange(4.0) + 10 * rank())
    assert out.tolist() == [10.0 * r + rank() for r in range(4)]
    dist.barrier()


@check
def parts_of_the_group_are_groups() -> None:
    for members in ([0, 2], [1, 2, 3], [3]):
        part = dist.new_group(members)
        if rank() in members:
            assert part.job.setup.switch == group().job.setup.switch
            found = torch.tensor([rank()], dtype=torch.int32)
            dist.all_reduce(found, group=part)
            assert found.item() == sum(members)
            dist.destroy_process_group(part)


@check
def asynchronously_and_in_order() -> None:
    tensors = [torch.full((2000,), step, dtype=torch.int32) for step in range(8)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    assert works[-1].get_future().wait()[0] is tensors[-1]
    assert all(work.is_completed() for work in works)
    for step, (work, tensor) in enumerate(zip(works, tensors, strict=True)):
        assert work.wait()
        assert (tensor == 4 * step).all()


@check
def a_callback_may_ask_for_more_and_wait_for_it() -> None:
    """As PowerSGD's hook does. The callbacks are there before rank 3 is."""
    ready = torch.zeros(1)
    for dtype in (torch.int32, torch.float64):

        def more(told: Any) -> Tensor:
            doubled = 2 * told.value()[0]
            return dist.all_reduce(doubled, async_op=True).get_future().wait()[0]

        if rank() == 3:
            for other in range(3):
                dist.recv(ready, other)
        work = dist.all_reduce(torch.ones(2, dtype=dtype), async_op=True)
        future = work.get_future().then(more)
        if rank() < 3:
            dist.send(ready, 3)
        assert future.wait().tolist() == [32, 32]
    dist.barrier()
