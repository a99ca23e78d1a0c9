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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

from benchmarks.allreduce import free_port
from intswitch.child import python

RANKS = 4
WIDTH, LAYERS = 2048, 6
"""25.2 million parameters."""
ROUNDS, STEPS = 3, 4
METHODS = ("alone", "gloo", "intsgd int8")
LOOPBACK = "127.0.0.1"
ENDS_WITHIN = 300.0  # seconds


class Place(NamedTuple):
    """Where ranks and switch are."""

    name: str
    batches: tuple[int, ...]
    rate: float | None
    """bit/s of each rank's link; None: loopback."""
    job: dict[str, int]
    """Options of the job: slots as wide as packets may be there."""


WIDE = {"num_slots": 256, "slot_bytes": 8104, "mtu": 65535}
PLACES = (
    Place("loopback", (8, 128), None, WIDE),
    Place("links of 1 Gbit/s", (8, 128), 1e9, {"num_slots": 1024, "slot_bytes": 1408}),
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


Enter = Callable[[str], Sequence[str]]
"""What to put before a command of a rank or of the switch, by its name."""


@contextmanager
def network(place: Place) -> Iterator[tuple[Enter, str, str]]:
    """(enter, the switch's address, that of rank 0)."""
    if place.rate is None:
        yield (lambda name: ()), LOOPBACK, LOOPBACK
        return
    from intswitch.fabrics.namespaces import End, Namespaces

    namespaces = Namespaces()
    try:
        namespaces.add("switch")
        namespaces.forward("switch")
        for rank in range(RANKS):
            name, gateway = f"rank{rank}", "10.255.0.1"
            namespaces.add(name)
            here = End(name, "eth0", f"10.0.0.{rank + 1}")
            there = End("switch", f"port{rank}", gateway)
            namespaces.connect(here, there, on_a_wire=False)
            namespaces.route(here, gateway, ["0.0.0.0/0"])
            namespaces.route(there, f"10.0.0.{rank + 1}", [])
            for end in (here, there):
                namespaces.limit(end, place.rate)
        yield namespaces.enter, "10.255.0.1", "10.0.0.1"
    finally:
        namespaces.close()


@contextmanager
def running_switch(enter: Enter, address: str) -> Iterator[str]:
    """Its endpoint."""
    told = f"--address {address} --port 0 --slot-bytes 8104 --insecure"
    command = python("intswitch", "switch", *told.split(), "--until-stdin-closes")
    with subprocess.Popen(
        [*enter("switch"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening ").strip()
        finally:
            process.terminate()


Samples = dict[tuple[int, str], list[tuple[float, float]]]
"""(batch, method) -> (seconds, busy) of every step."""


def run(place: Place) -> Samples:
    samples: Samples = {}
    with ExitStack() as stack:
        enter, address, master = stack.enter_context(network(place))
        switch = stack.enter_context(running_switch(enter, address))
        environment = {
            "MASTER_ADDR": master,
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(RANKS),
            "GLOO_SOCKET_IFNAME": "lo" if place.rate is None else "eth0",
        }
        number = str(PLACES.index(place))
        command = [sys.executable, "-m", "benchmarks.ddp", number, switch]
        ranks = [
            subprocess.Popen(
                [*enter(f"rank{rank}"), *command],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment, "RANK": str(rank)},
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
        if place.rate is not None and os.geteuid() != 0:
            print(f"{place.name}: network namespaces need root")
            continue
        report(place, run(place))


if __name__ == "__main__":
    measure(PLACES[int(sys.argv[1])], sys.argv[2])
