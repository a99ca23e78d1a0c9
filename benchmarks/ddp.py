"""A step of DDP: gradients by IntSGD int8 through the switch, beside gloo's float32.

    python -m benchmarks ddp

One run, all processes on the same cores: rounds of steps of both, in turns. The model
is a stack of linear layers with little to compute for what it has to send, or (`more
compute`) a larger batch. Printed are medians over the steps of rank 0, in ms: the step,
what it takes without communication, and how much of the time that aggregations take is
hidden behind backward.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from benchmarks.allreduce import free_port

RANKS = 4
WIDTH, LAYERS = 2048, 6
"""25.2 million parameters."""
BATCHES = {"communication dominates": 8, "more compute": 128}
ROUNDS, STEPS = 3, 4
METHODS = ("alone", "gloo", "intsgd int8")


class Clock:
    """Seconds in which the hook's thread averages, and in which gloo does."""

    def __init__(self) -> None:
        self.busy = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.busy += time.perf_counter() - started

        return call


def model() -> Any:
    from torch import nn

    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)]
    return nn.Sequential(*(each for layer in layers for each in (layer, nn.ReLU())))


def step(module: Any, batch: Any, optimizer: Any, alone: bool) -> float:
    """Seconds of one; alone: without communication."""
    import torch.distributed as dist

    dist.barrier()
    started = time.perf_counter()
    with module.no_sync() if alone else nullcontext():
        optimizer.zero_grad()
        module(batch).square().mean().backward()
    optimizer.step()
    return time.perf_counter() - started


def measure(rank: int, ranks: int, switch: str, port: int, queue: Any) -> None:
    """One rank."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    import intswitch

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    clock, by_hook = Clock(), DistributedDataParallel(model())
    hook = intswitch.register_hook(
        by_hook, "intsgd:element_type=int8", switch=switch,
        num_slots=64, slot_bytes=8104, mtu=65535,
    )  # fmt: skip
    hook.compressor.average = clock.timed(hook.compressor.average)
    modules = {"gloo": DistributedDataParallel(model()), "intsgd int8": by_hook}
    modules["alone"] = modules["gloo"]
    for regime, size in BATCHES.items():
        for method, seconds, busy in steps(modules, size, clock):
            if rank == 0:
                queue.put((regime, method, seconds, busy))
    hook.close()
    dist.destroy_process_group()


def steps(
    modules: dict[str, Any], size: int, clock: Clock
) -> Iterator[tuple[str, float, float]]:
    """(method, seconds of a step, seconds of aggregations in it)."""
    import torch

    batch = torch.randn(size, WIDTH)
    for number in range(ROUNDS + 1):
        for method in METHODS:
            optimizer = torch.optim.SGD(modules[method].parameters(), 1e-3)
            for _ in range(STEPS):
                clock.busy = 0.0
                seconds = step(modules[method], batch, optimizer, method == "alone")
                if number > 0:
                    yield method, seconds, clock.busy


def run(ranks: int) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(regime, method) -> (seconds, busy) of every step."""
    import intswitch

    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with intswitch.Switch("127.0.0.1", 0, slot_bytes=8104) as switch:
        arguments = (ranks, switch.endpoint, free_port(), queue)
        workers = [
            context.Process(target=measure, args=(rank, *arguments), daemon=True)
            for rank in range(ranks)
        ]
        for worker in workers:
            worker.start()
        for _ in range(len(BATCHES) * len(METHODS) * ROUNDS * STEPS):
            regime, method, seconds, busy = queue.get(timeout=300)
            samples.setdefault((regime, method), []).append((seconds, busy))
        for worker in workers:
            worker.join()
    return samples


def main() -> None:
    load = os.getloadavg()[0]
    print(
        f"DDP, {RANKS} ranks on {os.cpu_count()} cores (load {load:.1f} before), "
        f"{LAYERS * WIDTH * WIDTH / 1e6:.1f} million parameters",
        flush=True,
    )
    samples = run(RANKS)
    for regime in BATCHES:
        medians = {
            method: [
                1e3 * statistics.median(each)
                for each in zip(*samples[regime, method], strict=True)
            ]
            for method in METHODS
        }
        alone, gloo, ours = (medians[method][0] for method in METHODS)
        busy = medians["intsgd int8"][1]
        hidden = max(0.0, 1 - (ours - alone) / busy)
        print(
            f"{regime}, batch {BATCHES[regime]}, without communication: {alone:.0f} ms"
        )
        print(
            f"{regime}, gloo float32: {gloo:.0f} ms, {gloo - alone:.0f} of them waiting"
        )
        print(
            f"{regime}, intsgd int8: {ours:.0f} ms, {ours - alone:.0f} of them waiting;"
            f" {busy:.0f} ms of aggregations, {100 * hidden:.0f} % behind backward;"
            f" {gloo / ours:.2f} x as fast as gloo"
        )


if __name__ == "__main__":
    main()
