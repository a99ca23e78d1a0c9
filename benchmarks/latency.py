"""The latency of an aggregation of one chunk, and of gloo's of as much."""

import multiprocessing
import os
import statistics
import time
from typing import Any

import numpy as np

import intswitch
from benchmarks.allreduce import free_port

WORKERS = (2, 4)
REPETITIONS = 300


def measure(
    rank: int, num_workers: int, switch: str, gloo_port: int, queue: Any
) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(gloo_port))
    dist.init_process_group("gloo", rank=rank, world_size=num_workers)
    network = intswitch.join(switch, job="bench", rank=rank, num_workers=num_workers)
    array, tensor = np.ones(256, np.int32), torch.ones(256)
    for repetition in range(REPETITIONS + 50):
        times = []
        for run in (lambda: network.sum(array), lambda: dist.all_reduce(tensor)):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        tensor.fill_(1.0)
        if rank == 0 and repetition >= 50:
            queue.put(times)
    network.close()
    dist.destroy_process_group()


def medians(num_workers: int) -> list[float]:
    """Seconds: ours, gloo's."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with intswitch.Switch("127.0.0.1", 0) as switch:
        args = (num_workers, switch.endpoint, free_port(), queue)
        workers = [
            context.Process(target=measure, args=(rank, *args), daemon=True)
            for rank in range(num_workers)
        ]
        for worker in workers:
            worker.start()
        samples = [queue.get(timeout=300) for _ in range(REPETITIONS)]
        for worker in workers:
            worker.join()
    return [statistics.median(column) for column in zip(*samples, strict=True)]


def main() -> None:
    """One figure a line."""
    for num_workers in WORKERS:
        ours, gloo = medians(num_workers)
        print(
            f"latency of one chunk (1 KiB), {num_workers} workers: {ours * 1e6:.0f} us,"
            f" gloo {gloo * 1e6:.0f} us",
            flush=True,
        )


if __name__ == "__main__":
    main()
