"""The simulator: 1024 workers below three levels of switches aggregate 25 MiB."""

import resource
import time

from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import tree_of

FANOUTS = (4, 4, 64)
ELEMENTS = (25 << 20) // 4  # int32


def main() -> None:
    simulation = Simulation(tree=tree_of(FANOUTS))
    simulation.aggregate(1000)  # compiles
    began, used = time.perf_counter(), time.process_time()
    report = simulation.aggregate(ELEMENTS)
    hops = report.packet_hops / 1e6
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    which = f"simulator, {report.num_workers} workers, {len(FANOUTS)} levels, 25 MiB"
    print(f"{which}: {hops / cpu:.2f} million packet-hops/s of CPU")
    print(f"{which}: {hops:.1f} million packet-hops in {wall:.1f} s")
    print(f"{which}: {memory:.0f} MiB peak memory")
    print(f"{which}: {report.goodput / 1e9:.1f} Gbit/s goodput in virtual time")
    print(f"{which}: {report.checked:,} results checked, {report.wrong} wrong")


if __name__ == "__main__":
    main()
