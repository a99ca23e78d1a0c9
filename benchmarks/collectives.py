"""The torch backend's collectives beside gloo's, over loopback.

    python -m benchmarks collectives

Four ranks and 24.4 MiB of float32: what a rank gives, or what it gets where that is
more. One run on the same cores, the groups in turns: the backend's default compressor,
one of int8, and gloo. Printed are medians in ms, from one barrier to the next.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.allreduce import free_port

RANKS = 4
ELEMENTS = 6_400_000
REPETITIONS = 15
GROUPS = {
    "int32": "block_exponent:element_type=int32,exponents=first",
    "int8": "block_exponent:element_type=int8,exponents=first",
}
Calls = dict[str, Callable[[Any], Any]]


def calls(dist: Any, group: Any, wide: Any, part: Any, root: bool) -> Calls:
    """What to time, of a tensor like `wide`. part: a rank's share of it."""
    rows = list(wide.chunk(RANKS))
    return {
        "all_reduce": lambda own: dist.all_reduce(own, group=group),
        "reduce_scatter": lambda own: dist.reduce_scatter_single(
            part, own, group=group
        ),
        "reduce": lambda own: dist.reduce(own, 0, group=group),
        "all_gather": lambda own: dist.all_gather_single(
            wide, own[: len(part)], group=group
        ),
        "broadcast": lambda own: dist.broadcast(own, 0, group=group),
        "gather": lambda own: dist.gather(
            own[: len(part)], rows if root else None, 0, group=group
        ),
        "scatter": lambda own: dist.scatter(
            part, list(own.chunk(RANKS)) if root else None, 0, group=group
        ),
    }


def measure(rank: int, port: int, queue: Any) -> None:
    """One rank; rank 0 reports (collective, group, seconds)."""
    import torch
    import torch.distributed as dist

    import intswitch.autoload
    from intswitch.job import Options

    intswitch.autoload.register()
    torch.set_num_threads(1)
    sizes = {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    os.environ |= {"RANK": str(rank), "MASTER_ADDR": "127.0.0.1", **sizes}
    os.environ["MASTER_PORT"] = str(port)
    dist.init_process_group("gloo")
    groups: dict[str, Any] = {
        name: dist.new_group(
            backend="intswitch", pg_options=Options(compressor=method, check=False)
        )
        for name, method in GROUPS.items()
    }
    groups["gloo"] = dist.group.WORLD
    given, wide = torch.randn(ELEMENTS), torch.empty(ELEMENTS)
    part = torch.empty(ELEMENTS // RANKS)
    of_group = {
        name: calls(dist, group, wide, part, rank == 0)
        for name, group in groups.items()
    }
    for repetition in range(REPETITIONS + 1):
        for name, each in of_group.items():
            for collective, call in each.items():
                own = given.clone()
                dist.barrier()
                started = time.perf_counter()
                call(own)
                dist.barrier()
                if rank == 0 and repetition > 0:
                    queue.put((collective, name, time.perf_counter() - started))
    if rank == 0:
        queue.put(None)
    for name in GROUPS:
        dist.destroy_process_group(groups[name])
    dist.destroy_process_group()


def main() -> None:
    """One collective a line."""
    context = multiprocessing.get_context("spawn")
    queue, port = context.Queue(), free_port()
    ranks = [
        context.Process(target=measure, args=(rank, port, queue), daemon=True)
        for rank in range(RANKS)
    ]
    for each in ranks:
        each.start()
    seconds: dict[str, dict[str, list[float]]] = {}
    for collective, name, took in iter(lambda: queue.get(timeout=300), None):
        seconds.setdefault(collective, {}).setdefault(name, []).append(took)
    for each in ranks:
        each.join()
    for collective, groups in seconds.items():
        medians = {name: 1e3 * statistics.median(all_) for name, all_ in groups.items()}
        gloo = medians.pop("gloo")
        ours = ", ".join(
            f"{name} {took:.0f} ms ({gloo / took:.2f} x gloo)"
            for name, took in medians.items()
        )
        print(f"{collective} of {RANKS} ranks: gloo {gloo:.0f} ms, {ours}", flush=True)


if __name__ == "__main__":
    main()
