"""A step of DDP: gradients by IntSGD int8 through the switch, beside gloo's float32.

    python -m benchmarks ddp

One run, all processes on the same cores: rounds of steps of both, in turns. The model
is a stack of linear layers with little to compute for what it has to send. On loopback
nothing is slow but the processor, which computes gradients and carries them; with links
of a rate (`links of 1 Gbit/s`: network namespaces, which need root) communication
dominates. Printed are medians over the steps of rank 0, in ms: the step, what it takes
without communication, and how much of the time that aggregations take is hidden behind
backward.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

from benchmarks.allreduce import free_port
from intswitch.fabrics import find_fabric
from intswitch.fabrics.emulated import Emulated
from intswitch.topology import Topology

RANKS = 4
WIDTH, LAYERS = 2048, 6
"""25.2 million parameters."""
ROUNDS, STEPS = 3, 4
METHODS = ("alone", "gloo", "intsgd int8")
ENDS_WITHIN = 300.0  # seconds


class Place(NamedTuple):
    """Where ranks and switch are."""

    name: str
    fabric: str
    batches: tuple[int, ...]
    rate: str | None
    """Of each rank's link, either way."""
    job: dict[str, int]
    """Options of the job: slots as wide as packets may be there."""


WIDE = {"num_slots": 256, "slot_bytes": 8104, "mtu": 65535}
PLACES = (
    Place("loopback", "loopback", (8, 128), None, WIDE),
    Place(
        "links of 1 Gbit/s",
        "netns",
        (8, 128),
        "1 Gbit/s",
        {"num_slots": 1024, "slot_bytes": 1408},
    ),
)


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


def measure(place: Place, switch: str) -> None:
    """One rank, as torch's variables of the environment say. Rank 0 prints a line of
    JSON for each step."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    import intswitch

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    clock, by_hook = Clock(), DistributedDataParallel(model())
    hook = intswitch.register_hook(
        by_hook, "intsgd:element_type=int8", switch=switch, **place.job
    )
    hook.compressor.average = clock.timed(hook.compressor.average)  # type: ignore[method-assign]
    modules = {"gloo": DistributedDataParallel(model()), "intsgd int8": by_hook}
    modules["alone"] = modules["gloo"]
    for size in place.batches:
        for method, seconds, busy in steps(modules, size, clock):
            if dist.get_rank() == 0:
                print(json.dumps([size, method, seconds, busy]), flush=True)
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


def topology_of(place: Place) -> Topology:
    """A switch, and a host for each rank."""
    hosts = [f"rank{rank}" for rank in range(RANKS)]
    rate = {} if place.rate is None else {"rate": place.rate}
    return Topology.model_validate(
        {
            "switches": {"switch": {"slot_bytes": WIDE["slot_bytes"]}},
            "hosts": hosts,
            "links": [{"between": [host, "switch"], **rate} for host in hosts],
            "jobs": [{"name": "beside", "workers": hosts}],
        }
    )


Samples = dict[tuple[int, str], list[tuple[float, float]]]
"""(batch, method) -> (seconds, busy) of every step."""


def run(place: Place) -> Samples:
    """The fabric's own workers have nothing to do meanwhile."""
    samples: Samples = {}
    number = str(PLACES.index(place))
    with ExitStack() as stack:
        fabric = find_fabric(place.fabric)(topology_of(place), status=lambda text: None)
        assert isinstance(fabric, Emulated)
        stack.enter_context(fabric)
        switch = fabric.endpoint_of("rank0")
        environment = {
            **os.environ,
            **fabric.environment,
            "MASTER_ADDR": fabric.addresses["rank0"],
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(RANKS),
        }
        command = [sys.executable, "-m", "benchmarks.ddp", number, switch]
        ranks = [
            subprocess.Popen(
                [*fabric.enter(f"rank{rank}"), *command],
                stdout=subprocess.PIPE,
                text=True,
                env={**environment, "RANK": str(rank)},
            )
            for rank in range(RANKS)
        ]
        for rank in ranks:
            stack.callback(rank.kill)
        assert ranks[0].stdout is not None
        for line in ranks[0].stdout:
            size, method, seconds, busy = json.loads(line)
            samples.setdefault((size, method), []).append((seconds, busy))
        if any(rank.wait(ENDS_WITHIN) for rank in ranks):
            raise RuntimeError("a rank has failed; see above")
    return samples


def medians(steps: list[tuple[float, float]]) -> tuple[float, float]:
    """ms."""
    seconds, busy = zip(*steps, strict=True)
    return 1e3 * statistics.median(seconds), 1e3 * statistics.median(busy)


def report(place: Place, samples: Samples) -> None:
    for size in place.batches:
        (alone, _), (gloo, _), (ours, busy) = (
            medians(samples[size, method]) for method in METHODS
        )
        hidden = max(0.0, 1 - (ours - alone) / busy)
        what = f"{place.name}, batch {size}"
        print(f"{what}, without communication: {alone:.0f} ms")
        print(
            f"{what}, gloo float32: {gloo:.0f} ms, {gloo - alone:.0f} of them waiting"
        )
        print(
            f"{what}, intsgd int8: {ours:.0f} ms, {ours - alone:.0f} of them waiting;"
            f" {busy:.0f} ms of aggregations, {100 * hidden:.0f} % behind backward;"
            f" {gloo / ours:.2f} x as fast as gloo",
            flush=True,
        )


def main() -> None:
    load = os.getloadavg()[0]
    print(
        f"DDP, {RANKS} ranks on {os.cpu_count()} cores (load {load:.1f} before), "
        f"{LAYERS * WIDTH * WIDTH / 1e6:.1f} million parameters",
        flush=True,
    )
    for place in PLACES:
        missing = find_fabric(place.fabric).missing()
        if missing:
            print(f"{place.name}: {', '.join(missing)}")
            continue
        report(place, run(place))


if __name__ == "__main__":
    measure(PLACES[int(sys.argv[1])], sys.argv[2])
