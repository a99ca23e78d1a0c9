"""Checks of what goes wrong; see torch_checks.py. A rank dies last of all."""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_checks import OUTCOMES, TIMEOUT, check, finish, group, raised, rank
from torch_models import net, points

from host.agreement import Disagreement
from intswitch.work import SwitchWork


@check
def ranks_that_do_not_do_the_same_are_told() -> None:
    text = raised(ValueError, lambda: dist.all_reduce(torch.zeros(3 + (rank() == 2))))
    assert text == (
        "the workers do not do the same: ranks 0, 1, 3: all_reduce SUM float32 [3]; "
        "rank 2: all_reduce SUM float32 [4]"
    )
    call = dist.barrier if rank() == 0 else lambda: dist.broadcast(torch.zeros(1), 1)
    text = raised(ValueError, call)
    assert "rank 0: barrier; ranks 1, 2, 3: broadcast from 1 float32 [1]" in text
    dtype = torch.int8 if rank() else torch.int16
    text = raised(ValueError, lambda: dist.all_reduce(torch.zeros(3, dtype=dtype)))
    assert (
        "rank 0: all_reduce SUM int16 [3]; ranks 1, 2, 3: all_reduce SUM int8" in text
    )


def differ(call: Callable[[], Any]) -> str:
    """What a call says that the ranks do not make alike. It says so soon, and goes on
    to work."""
    started = monotonic()
    text = raised(Disagreement, call)
    assert monotonic() - started < 10
    assert text.startswith("the workers do not do the same: ")
    found = torch.ones(3, dtype=torch.float64)
    dist.all_reduce(found)
    assert (found == 4).all()
    return text


@check
def also_in_what_gloo_does() -> None:
    last = rank() == 3
    dtype = torch.float32 if last else torch.float64
    numbers = torch.zeros(3, dtype=dtype)
    told = "ranks 0, 1, 2: {0} float64 [3]; rank 3: {0} float32 [3]"
    text = differ(lambda: dist.all_reduce(numbers))
    assert told.format("all_reduce SUM") in text, text
    text = differ(lambda: dist.reduce(numbers, 1))
    assert told.format("reduce to 1 SUM") in text, text
    text = differ(dist.all_reduce(numbers, async_op=True).wait)
    assert told.format("all_reduce SUM") in text, text
    wide = torch.zeros(3 + last, dtype=torch.int64)
    text = differ(lambda: dist.all_reduce(wide))
    assert "all_reduce SUM int64 [3]; rank 3: all_reduce SUM int64 [4]" in text, text
    text = differ(lambda: dist.all_reduce_coalesced([wide, wide]))
    assert "rank 3: all_reduce SUM int64 [4], int64 [4]" in text, text
    parts = torch.zeros(4 + 4 * last, dtype=torch.float64)
    text = differ(lambda: dist.reduce_scatter_single(parts[: 1 + last].clone(), parts))
    assert "rank 3: reduce_scatter SUM float64 [8]" in text, text
    dense = torch.zeros(3)
    text = differ(lambda: dist.all_reduce(dense.to_sparse() if last else dense))
    assert "rank 3: all_reduce SUM sparse_coo float32 [3]" in text, text
    future = dist.all_reduce(numbers, async_op=True).get_future()
    assert "float32" in raised(RuntimeError, future.wait)


@check
def parts_that_do_not_fit_are_told() -> None:
    """Gloo would write beyond the output, or end the process."""
    last = rank() == 3
    dtype = torch.float32 if last else torch.float64
    parts = torch.zeros(4, dtype=dtype)
    text = differ(lambda: dist.all_to_all_single(parts.clone(), parts))
    assert "ranks 0, 1, 2: all_to_all float64; rank 3: all_to_all float32" in text
    size = 4 + 4 * last
    text = differ(lambda: dist.all_to_all_single(torch.zeros(size), torch.ones(size)))
    assert text.endswith(
        "rank 0 sends 1 elements to rank 3, which expects 2; "
        "rank 1 sends 1 elements to rank 3, which expects 2; "
        "rank 2 sends 1 elements to rank 3, which expects 2; "
        "rank 3 sends 2 elements to rank 0, which expects 1; and 2 more"
    ), text
    lists = [[torch.zeros(1 + last) for _ in range(4)] for _ in range(2)]
    text = differ(lambda: dist.all_to_all(*lists))
    assert "rank 2 sends 1 elements to rank 3, which expects 2" in text, text


@check
def numbers_that_cannot_be_are_told() -> None:
    broken = torch.zeros(100)
    broken[7] = torch.nan if rank() == 1 else 1.0
    text = raised(ValueError, lambda: dist.all_reduce(broken))
    where = "gradient[7] is not finite" if rank() == 1 else "the gradient of another"
    assert where in text, text
    full = torch.full((10,), 100, dtype=torch.int8)
    text = raised(OverflowError, lambda: dist.all_reduce(full))
    assert "left the range of int8" in text
    model = DistributedDataParallel(net())
    loss = model(points(0)).square().mean() * (torch.nan if rank() == 1 else 1.0)
    text = raised(RuntimeError, loss.backward)
    assert "not finite" in text or "another worker" in text, text
    dist.barrier()


@check
def who_does_not_come_is_waited_for_as_long_as_told() -> None:
    """By one collective, or by those of a group; and so is what is under way."""
    short, long = timedelta(seconds=0.1), timedelta(seconds=0.5)
    parts = [dist.new_group([2, 3], timeout=each) for each in (TIMEOUT, long)]
    if rank() == 2:
        work = dist.barrier(parts[0], async_op=True, timeout=long)
        text = raised(TimeoutError, lambda: work.wait(short))
        assert text == "an aggregation has not ended within 0.1 s"
        for call in (work.wait, lambda: dist.barrier(parts[1])):
            text = raised(RuntimeError, call)
            assert "timeout after 0.5 s: " in text, text
    dist.barrier()


@check
def what_gloo_has_not_begun_can_be_waited_for_and_aborted() -> None:
    part = dist.new_group([2, 3], timeout=TIMEOUT)
    if rank() == 3:
        wide = torch.ones(3, dtype=torch.float64)
        work = dist.all_reduce(wide, group=part, async_op=True)
        text = raised(TimeoutError, lambda: work.wait(timedelta(seconds=0.1)))
        assert text == "an aggregation has not ended within 0.1 s"
        assert not work.is_completed()
        part.abort()
        assert "aborted" in raised(RuntimeError, work.wait)
    dist.barrier()


@check
def the_switch_dies() -> None:
    """Of a group of its own: the others' goes on."""
    from intswitch.job import Job, Options

    earlier, Job.first = Job.first, None
    part = dist.new_group(pg_options=Options(check=False), timeout=TIMEOUT)
    Job.first = earlier
    wide = torch.ones(3, dtype=torch.float64)
    work = dist.all_reduce(wide, group=part, async_op=True)
    work.wait()
    assert not isinstance(work, SwitchWork), "without check it is gloo's own"
    assert (wide == 4).all()
    if rank() == 0:
        part.job.switch.child.process.kill()
    text = raised(RuntimeError, lambda: dist.all_reduce(torch.ones(9), group=part))
    assert "the switch" in text, text
    part.abort()


def names_3(text: str) -> bool:
    """Others may have ended, too, because of it."""
    return re.search(r"workers? (\d, )*3 of job .* died", text) is not None


class Dies:
    """In the place of gloo, when the ranks have agreed and gloo's part begins."""

    def allreduce(self, *_: Any) -> None:
        OUTCOMES["a_rank_dies"] = "ok"
        finish()
        os._exit(0)


@check
def a_rank_dies() -> None:
    """The last check: what the others are told, in a collective and in backward."""
    ended = torch.ones(9, dtype=torch.float64)
    model = DistributedDataParallel(net())
    if rank() == 3:
        group().gloo, kept = Dies(), group().gloo
        dist.all_reduce(ended)
        raise AssertionError(f"alive, and so is {kept}")
    started = monotonic()
    text = raised(RuntimeError, lambda: dist.all_reduce(ended))
    assert "onnection" in text, text  # gloo's words
    assert monotonic() - started < 10
    text = raised(RuntimeError, model(points(0)).square().mean().backward)
    assert names_3(text), text
    for numbers in (torch.ones(9), ended):
        text = raised(RuntimeError, lambda each=numbers: dist.all_reduce(each))
        assert names_3(text), text
