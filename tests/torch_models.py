"""Checks of what trains models over the backend; see torch_checks.py."""

from typing import Any

import torch
import torch._dynamo
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch_checks import GROUPS, check, rank

import intswitch


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 4)
    )


def points(step: int, who: int | None = None) -> Tensor:
    seed = torch.Generator().manual_seed(100 * step + (rank() if who is None else who))
    return torch.randn(16, 20, generator=seed)


def true_gradients(model: nn.Module, step: int) -> list[Tensor]:
    """The mean over the ranks, computed here."""
    model.zero_grad()
    for who in range(4):
        (model(points(step, who)).square().mean() / 4).backward()
    return [part.grad.clone() for part in model.parameters()]


def the_same_everywhere(model: nn.Module) -> None:
    flat = torch.cat([part.detach().view(-1) for part in model.parameters()])
    every = [torch.zeros_like(flat) for _ in range(4)]
    dist.all_gather(every, flat)
    assert all(torch.equal(flat, other) for other in every)


@check
def ddp_runs_on_the_backend() -> None:
    model = DistributedDataParallel(net(), bucket_cap_mb=0.1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(3):
        expected = true_gradients(model.module, step)
        optimizer.zero_grad()
        model(points(step)).square().mean().backward()
        for part, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(part.grad, gradient, rtol=1e-4, atol=1e-6)
        optimizer.step()
    the_same_everywhere(model)


@check
def the_hook_gives_what_the_compressor_gives() -> None:
    """Bit for bit, through other buckets after the first step."""
    inner = DistributedDataParallel(
        net(), bucket_cap_mb=0.1, process_group=GROUPS["gloo"]
    )
    state = intswitch.register_hook(inner, "memsgd:ratio=0.1,shift=3.0")
    seen: list[Any] = []
    average = state.average

    def recorded(bucket: Any) -> Any:
        entry = [
            bucket.buffer().clone(),
            state.blocks(bucket),
            bucket.index(),
            bucket.is_last(),
        ]
        told = average(bucket)
        seen.append((entry, told))
        return told

    state.average = recorded  # type: ignore[method-assign]
    for step in range(3):
        inner.zero_grad()
        inner(points(step)).square().mean().backward()
    setup = state.job.setup
    compare = setup.create()
    from host.compressors.base import Piece

    with intswitch.join(
        setup.switch, job="compare", rank=rank(), num_workers=4, mtu=setup.mtu,
        num_slots=setup.num_slots, slot_bytes=setup.slot_bytes,
    ) as network:  # fmt: skip
        means = [
            compare.average(buffer, network, blocks, piece=Piece(number, last))
            for (buffer, blocks, number, last), _ in seen
        ]
    lasts = [last for (_, _, _, last), _ in seen]
    assert lasts[:2] == [True, False], "no buckets were rebuilt: one, then several"
    assert compare.step == 3
    last = [told.wait() for (_, told) in seen[-2:]]
    assert all(map(torch.equal, last, means[-2:]))
    state.close()


@check
def fsdp2_runs_on_the_backend() -> None:
    model, alone = net(), net()
    for layer in (model[0], model[2], model):
        fully_shard(layer)
    optimizers = [torch.optim.SGD(each.parameters(), 0.1) for each in (model, alone)]
    for step in range(2):
        for part, gradient in zip(
            alone.parameters(), true_gradients(alone, step), strict=True
        ):
            part.grad = gradient
        optimizers[0].zero_grad()
        model(points(step)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    for part, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(part.full_tensor(), other, rtol=1e-4, atol=1e-6)


@check
def hybrid_shards_and_dtensors() -> None:
    mesh = dist.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("r", "s"))
    whole = torch.arange(32.0).view(8, 4)
    sharded = distribute_tensor(whole, mesh["s"], [Shard(0)])
    assert torch.equal(sharded.redistribute(placements=[Replicate()]).to_local(), whole)
    assert (sharded @ sharded.t()).full_tensor().shape == (8, 8)
    model = net()
    fully_shard(model, mesh=mesh)
    model(points(0)).square().mean().backward()
    for part, gradient in zip(
        model.parameters(), true_gradients(net(), 0), strict=True
    ):
        torch.testing.assert_close(
            part.grad.full_tensor(), gradient, rtol=1e-4, atol=1e-6
        )


@check
def compiled_models_and_functional_collectives() -> None:
    found = functional.all_reduce(torch.ones(3), "sum", list(range(4)))
    assert (found + 0).tolist() == [4.0] * 3
    gathered = functional.all_gather_single(
        torch.full((2,), float(rank())), 0, list(range(4))
    )
    assert (gathered + 0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    model = torch.compile(DistributedDataParallel(net()), backend="aot_eager")
    model(points(0)).square().mean().backward()
    for part, gradient in zip(
        model.parameters(), true_gradients(net(), 0), strict=True
    ):
        torch.testing.assert_close(part.grad, gradient, rtol=1e-4, atol=1e-6)
