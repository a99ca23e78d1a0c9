"""Exact sums whatever the links do: faults x windows x fabrics, as a table.

    sudo .venv/bin/python -m benchmarks.faults                  # netns needs root
    .venv/bin/python -m benchmarks.faults --fabrics loopback sim

Four workers at two switches below a third; every link has the fault, each way. A cell
has the time of two sums of 20,000 int32 and how many packets more than needed the
workers have sent. It is there only if every element on every worker was right.
"""

import argparse
import contextlib
import json
import queue
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from intswitch.child import end_with_parent, lines_until, python
from intswitch.fabrics import find_fabric
from intswitch.fabrics.fabric import Fabric, send
from intswitch.link_faults import FaultsPart
from intswitch.sim.cables import Cable
from intswitch.sim.simulation import Simulation
from intswitch.topology import JobPart, LinkPart, SwitchPart, Topology
from intswitch.worker import event_pipe

SIZE, SUMS, WORKERS = 20_000, 2, 4
WINDOWS = (16, 256)
TREE = ((0, 1), (2, 3))
FAULTS = {
    "none": FaultsPart(),
    "loss 1 %": FaultsPart(loss=0.01),
    "loss 5 %": FaultsPart(loss=0.05),
    "loss 20 %": FaultsPart(loss=0.2),
    "bursts of 5, 5 % of the time": FaultsPart(burst_enter=0.0105, burst_leave=0.2),
    "duplication 5 %": FaultsPart(duplication=0.05),
    "reordering 5 %": FaultsPart(reordering=0.05),
    "corruption 5 %, one bit": FaultsPart(corruption=0.05),
    "1 % of each": FaultsPart(
        loss=0.01, duplication=0.01, reordering=0.01, corruption=0.01
    ),
}
Cell = tuple[float, float]
"""Seconds, and packets sent more than needed, as a share of those."""


def topology(faults: FaultsPart) -> Topology:
    hosts = tuple(f"worker{rank}" for rank in range(WORKERS))
    ends = [("left", "top"), ("right", "top")]
    ends += [(host, "left" if n < 2 else "right") for n, host in enumerate(hosts)]
    fields = faults.model_dump()
    return Topology(
        switches={name: SwitchPart() for name in ("top", "left", "right")},
        hosts=hosts,
        links=tuple(LinkPart.model_construct(between=end, **fields) for end in ends),
        jobs=(JobPart.model_validate({"name": "faults", "workers": list(hosts)}),),
        seed=1,
    )


def on_sockets(name: str, faults: FaultsPart) -> Iterator[Cell]:
    """For each window."""
    worker = python("benchmarks.faults", "--worker")
    with find_fabric(name)(topology(faults), worker=worker) as fabric:
        for window in WINDOWS:
            yield _sums(fabric, window)


def _sums(fabric: Fabric, window: int) -> Cell:
    (job,) = fabric.topology.jobs
    for rank, worker in enumerate(fabric.workers):
        join = fabric.join_options(job, rank, WORKERS) | {"num_slots": window}
        send(worker, "sum", join=join)
    fabric.round += 1
    done: list[dict[str, Any]] = []
    for child, line in lines_until(fabric.processes):
        if line is None:
            raise RuntimeError(f"{child.name} {child.ending()}: {child.errors()}")
        event = json.loads(line) if child in fabric.workers else {}
        if event.get("event") == "done":
            done.append(event)
            if len(done) == WORKERS:
                break
    sent = sum(each["sent"] for each in done)
    needed = sum(each["chunks"] for each in done)
    return max(each["seconds"] for each in done), sent / needed - 1


def cells_of(fabric: str, faults: FaultsPart) -> Iterator[Cell]:
    return simulated(faults) if fabric == "sim" else on_sockets(fabric, faults)


def simulated(faults: FaultsPart) -> Iterator[Cell]:
    for window in WINDOWS:
        line = faults.faults()
        cable = Cable(up=line, down=line)
        simulation = Simulation(tree=TREE, cable=cable, num_slots=window, seed=1)
        seconds = 0.0
        repeated = chunks = 0
        for _ in range(SUMS):
            report = simulation.aggregate(SIZE)
            seconds += report.seconds
            repeated += report.sent - WORKERS * report.num_chunks
            chunks += WORKERS * report.num_chunks
        yield seconds, repeated / chunks


def work() -> None:
    """A worker process: sums whose every element it knows."""
    from host.agent import join

    report = event_pipe()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    end_with_parent(lambda: sys.exit(1), tasks.put)
    values = [
        np.random.default_rng(rank).integers(-(2**28), 2**28, SIZE).astype(np.int32)
        for rank in range(WORKERS)
    ]
    right = sum(values)
    report("ready")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            options = json.loads(tasks.get())["join"]
            with join(options.pop("address"), **options) as network:
                network.barrier()
                started, before = time.perf_counter(), network.chunks
                sent = network.statistics.packets_sent
                for _ in range(SUMS):
                    if not np.array_equal(network.sum(values[network.rank]), right):
                        raise AssertionError("a wrong sum")
                report(
                    "done",
                    seconds=time.perf_counter() - started,
                    chunks=network.chunks - before,
                    sent=network.statistics.packets_sent - sent,
                )
                network.barrier()


def shown(cell: Cell) -> str:
    seconds, more = cell
    form = ",.0f" if seconds >= 0.1 else ".3g"
    return f"{1e3 * seconds:{form}} ms, {100 * more:+.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fabrics", nargs="+", default=["loopback", "netns", "sim"])
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return
    print("| every link | window | " + " | ".join(arguments.fabrics) + " |")
    print("|---|---|" + "---|" * len(arguments.fabrics))
    for name, faults in FAULTS.items():
        columns = [list(cells_of(fabric, faults)) for fabric in arguments.fabrics]
        for window, *cells in zip(WINDOWS, *columns, strict=True):
            line = " | ".join(map(shown, cells))
            print(f"| {name} | {window} | {line} |", flush=True)


if __name__ == "__main__":
    main()
