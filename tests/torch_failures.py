"""Checks of what goes wrong; see torch_checks.py. A rank dies last of all."""

import os
import re
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_checks import OUTCOMES, TIMEOUT, check, finish, raised, rank
from torch_models import net, points


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
def the_switch_dies() -> None:
    """Of a group of its own: the others' goes on."""
    from intswitch.job import Job, Options

    earlier, Job.first = Job.first, None
    part = dist.new_group(pg_options=Options(check=False), timeout=TIMEOUT)
    Job.first = earlier
    if rank() == 0:
        part.job.switch.child.process.kill()
    text = raised(RuntimeError, lambda: dist.all_reduce(torch.ones(9), group=part))
    assert "the switch" in text, text
    part.abort()


def names_3(text: str) -> bool:
    """Others may have ended, too, because of it."""
    return re.search(r"workers? (\d, )*3 of job .* died", text) is not None


@check
def a_rank_dies() -> None:
    """The last check: what the others are told, in a collective and in backward."""
    model = DistributedDataParallel(net())
    if rank() == 3:
        OUTCOMES["a_rank_dies"] = "ok"
        finish()
        os._exit(0)
    text = raised(RuntimeError, model(points(0)).square().mean().backward)
    assert names_3(text), text
    text = raised(RuntimeError, lambda: dist.all_reduce(torch.ones(9)))
    assert names_3(text), text
