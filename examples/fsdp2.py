"""FSDP2 through the switch: it gathers parameters, and reduces and scatters gradients.

    torchrun --nproc-per-node 2 examples/fsdp2.py

An unmodified script, but for the name of the backend.
"""

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from train import BATCH, batches, network

STEPS = 40


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("intswitch")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    mesh = dist.device_mesh.init_device_mesh("cpu", (ranks,))
    model = network()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step, (points, classes) in enumerate(batches(rank, STEPS), 1):
        output = model(points)
        optimizer.zero_grad()
        cross_entropy(output, classes).backward()
        optimizer.step()
        right = (output.argmax(1) == classes).sum().int()
        dist.all_reduce(right)  # of integers: exactly
        if rank == 0 and step % 20 == 0:
            print(f"step {step}: {right} of {BATCH * ranks} right", flush=True)
    own = sum(part.to_local().numel() for part in model.parameters())
    print(f"rank {rank} has {own} of the model's elements", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
