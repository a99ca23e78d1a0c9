"""PyTorch through the switch: a training script like any other, but for one word.

    torchrun --nproc-per-node 4 examples/train.py

Rank 0 starts an emulated switch; INTSWITCH_SWITCH=HOST:PORT names one that runs. Then
gradients are summed by it, as int32 with an exponent a packet, and everybody has the
same bits. INTSWITCH_COMPRESSOR=block_exponent:element_type=int8 sends a quarter.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

STEPS, BATCH, LEARNING_RATE = 60, 64, 0.1


def network() -> nn.Module:
    """The same on every rank."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 10))


def batches(rank: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Points, and which of ten fixed directions each is closest to."""
    directions = torch.randn(10, 32, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(1 + rank)
    for _ in range(steps):
        points = torch.randn(BATCH, 32, generator=random)
        yield points, (points @ directions.T).argmax(1)


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("intswitch")
    rank = dist.get_rank()
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)
    for step, (points, classes) in enumerate(batches(rank, STEPS), 1):
        output = model(points)
        optimizer.zero_grad()
        cross_entropy(output, classes).backward()
        optimizer.step()
        right = (output.argmax(1) == classes).float().mean()
        dist.all_reduce(right, dist.ReduceOp.AVG)
        if rank == 0 and step % 20 == 0:
            print(f"step {step}: {100 * right:.0f} % right", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
