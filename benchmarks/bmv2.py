"""BMv2 with our P4 program beside the emulated switch, on the same stream.

Two workers sum one array of int32 again and again: same agents, same packets of 1 KiB,
same slots. BMv2's workers are in network namespaces, the emulator's on loopback.
Needs root, BMv2 and p4c; `intswitch doctor` says what is missing.
"""

import json
import sys
import time

import numpy as np

import intswitch
from intswitch.child import lines_until, python
from intswitch.fabrics import find_fabric
from intswitch.fabrics.fabric import Fabric, send
from intswitch.topology import load

FABRICS = ("loopback", "bmv2")
ELEMENTS = 1 << 18  # int32: 1024 packets of 1 KiB
SECONDS = 4.0
ROUNDS = 2


def work() -> None:
    """One worker: sums for SECONDS, then says how many a second."""
    options = json.loads(sys.stdin.readline())
    with intswitch.join(**options["join"]) as network:
        array = np.ones(ELEMENTS, np.int32)
        network.sum(array)  # compiled
        began, sums = time.monotonic(), 0
        go_on = np.ones(1, np.int32)
        while network.sum(go_on)[0] == network.num_workers:
            network.sum(array)
            sums += 1
            go_on[0] = time.monotonic() - began < SECONDS
        print(sums / (time.monotonic() - began), flush=True)


def rate(fabric: Fabric) -> float:
    """Arrays summed a second, as worker 0 sees it."""
    with fabric:
        (job,) = fabric.topology.jobs
        for rank, worker in enumerate(fabric.workers):
            send(worker, "sum", join=fabric.join_options(job, rank, len(job.workers)))
        for worker, line in lines_until(fabric.workers):
            if line is None:
                raise RuntimeError(f"{worker.name}: {worker.errors()}")
            if worker is fabric.workers[0]:
                return float(line)
    raise RuntimeError("no worker said anything")


def main() -> None:
    """One figure a line: the best of each."""
    missing = find_fabric("bmv2").missing()
    if missing:
        sys.exit("bmv2: " + "; ".join(missing))
    worker = python("benchmarks.bmv2", "work")
    best = dict.fromkeys(FABRICS, 0.0)
    for _ in range(ROUNDS):
        for name in FABRICS:
            fabric = find_fabric(name)(load("pair"), worker=worker)
            best[name] = max(best[name], rate(fabric))
    chunks = ELEMENTS * 4 // 1024
    for name, sums in best.items():
        print(
            f"{name}, 2 workers, int32, packets of 1 KiB:"
            f" {2 * chunks * sums:,.0f} contributions/s,"
            f" {2 * ELEMENTS * sums / 1e6:,.1f} million elements/s"
        )
    print(f"emulator / BMv2: {best['loopback'] / best['bmv2']:,.0f} x")


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        work()
    else:
        main()
