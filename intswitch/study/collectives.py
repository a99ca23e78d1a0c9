"""In-network aggregation beside ring all-reduce and a parameter server, by workers.

All three run as protocols on the same links; see `intswitch.sim.rivals`. Integers are
IntSGD's (Mishchenko et al., ICLR 2022): int8, clipped so that the sum fits int8, which
leaves nothing of them above 127 workers; then sums are int16.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS, frame, plain, ticks_at
from intswitch.sim.hosts import Outcome
from intswitch.sim.report import Report
from intswitch.sim.rivals import parameter_server, ring_all_reduce
from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import tree_of
from intswitch.study.base import Options, Row, Study, line, mean, values
from switch.protocol import ELEMENT_BYTES, MAX_WORKERS, ElementType
from switch.tree import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORKERS = (4, 16, 64, 256, 1024, 4096)
NAMES = {"switch": "in-network", "ring": "ring", "server": "parameter server"}
SLOTS = 128
PAYLOAD = 1024  # bytes of a packet, at most
DASHES = {"int8": "--", "int32": "-"}


def tree_for(num_workers: int) -> Tree:
    """A star as long as one switch has the ports, else switches of 64 below a root."""
    if num_workers <= MAX_WORKERS:
        return tree_of((num_workers,))
    return tree_of((num_workers // MAX_WORKERS, MAX_WORKERS))


def types_for(integers: str, num_workers: int) -> tuple[ElementType, ElementType]:
    """Element type and result type."""
    if integers == "int32":
        return ElementType.INT32, ElementType.INT32
    is_wide = num_workers > 127
    return ElementType.INT8, ElementType.INT16 if is_wide else ElementType.INT8


class CollectivesStudy(Study):
    """See above."""

    def cases(self, options: Options) -> list[Row]:
        workers = WORKERS[:4] if options.quick else WORKERS
        names = ("workers", "method", "integers")
        return [
            dict(zip(names, each, strict=True))
            for each in product(workers, NAMES, DASHES)
        ]

    def measure(self, case: Row, options: Options) -> Row:
        num_workers, elements = case["workers"], 1 << (17 if options.quick else 19)
        tree = tree_for(num_workers)
        element_type, result_type = types_for(case["integers"], num_workers)
        up, down = ELEMENT_BYTES[element_type], ELEMENT_BYTES[result_type]
        per_chunk = PAYLOAD // down
        found: Report | Outcome
        if case["method"] == "switch":
            simulation = Simulation(
                tree=tree, cable=options.cable, num_slots=SLOTS, slot_bytes=PAYLOAD,
                seed=options.seed,
            )  # fmt: skip
            found = simulation.aggregate(elements, element_type, result_type)
        elif case["method"] == "ring":
            # partial sums are as wide as sums
            found = ring_all_reduce(
                tree, options.cable, elements * down, PAYLOAD, options.seed
            )
        else:
            found = parameter_server(
                tree, options.cable, -(-elements // per_chunk), SLOTS, per_chunk * up,
                per_chunk * down, options.seed,
            )  # fmt: skip
        if found.wrong:
            raise RuntimeError(f"{case}: {found.wrong:,} sums are wrong")
        return {
            "elements": elements,
            "milliseconds": 1e3 * found.seconds,
            "elements_per_microsecond": 1e-6 * elements / found.seconds,
            "packet_hops": found.packet_hops,
            "link_bytes": found.hop_bytes,
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        for number, (method, name) in enumerate(NAMES.items(), start=1):
            for integers, dashes in DASHES.items():
                for axes, y in zip(panels, ("milliseconds", "link_bytes"), strict=True):
                    at, found = line(
                        rows, "workers", y, method=method, integers=integers
                    )
                    axes.plot(
                        at, found, color=COLOURS[number], linestyle=dashes, marker=".",
                        label=f"{name}, {integers}",
                    )  # fmt: skip
        panels[0].set_ylabel("milliseconds until all workers have the sum")
        panels[1].set_ylabel("bytes over all links")
        for axes in panels:
            axes.set(xscale="log", yscale="log", xlabel="workers")
            frame(axes)
            ticks_at(axes.xaxis, values(rows, "workers"))
        plain(panels[0].yaxis)
        panels[0].legend(frameon=False)
        figure.suptitle(f"All-reduce of {rows[0]['elements']:,} integers")

    def findings(self, rows: Sequence[Row]) -> list[str]:
        found = []
        for workers, integers in product(values(rows, "workers"), DASHES):
            case = {"workers": workers, "integers": integers}
            times = {
                method: mean(rows, "milliseconds", method=method, **case)
                for method in NAMES
            }
            shown = ", ".join(f"{NAMES[each]} {times[each]:.3g} ms" for each in NAMES)
            found.append(f"{workers} workers, {integers}: {shown}")
        return found


study = CollectivesStudy()
