"""DDP with a communication hook: IntSGD's int8 for gradients, through the switch.

    torchrun --standalone --nproc-per-node 2 --max-restarts 3 examples/ddp_hook.py OUT

Ranks save what their compressors remember, too, and go on from it when they restart.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from train import LEARNING_RATE, batches, network

import intswitch

STEPS, SAVE_EVERY = 60, 20


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("intswitch")
    rank = dist.get_rank()
    model = DistributedDataParallel(network())
    hook = intswitch.register_hook(model, "intsgd:element_type=int8")
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    parts = {"model": model, "optimizer": optimizer, "hook": hook}
    folder.mkdir(parents=True, exist_ok=True)
    latest, first = folder / "latest", 0  # what all ranks have
    if latest.exists():
        first = int(latest.read_text())
        saved = torch.load(folder / f"step{first}-rank{rank}.pt")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        print(f"rank {rank} goes on after step {first}", flush=True)
    for step, (points, classes) in list(enumerate(batches(rank, STEPS), 1))[first:]:
        loss = cross_entropy(model(points), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % SAVE_EVERY == 0:
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save(states, folder / f"step{step}-rank{rank}.pt")
            dist.barrier()
            if rank == 0:
                (folder / "new").write_text(str(step))
                (folder / "new").replace(latest)
            print(f"rank {rank}, step {step}: loss {loss:.4f}", flush=True)
    hook.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: torchrun ... examples/ddp_hook.py OUT, a folder")
    main(Path(sys.argv[1]))
