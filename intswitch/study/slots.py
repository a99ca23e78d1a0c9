"""How many slots a switch needs: goodput against slots, for links of several delays.

A slot is busy for a round trip, so that goodput is at most num_slots chunks in each:
the links are full when the slots hold the bandwidth-delay product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from intswitch.figure import frame, style_of
from intswitch.sim.report import bound
from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import tree_of
from intswitch.study.base import Options, Row, Study, line, matching, values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORKERS = 8
SLOTS = tuple(1 << each for each in range(11))
DELAYS = (0.5, 1.0, 5.0, 20.0)
"""Times the delay that the user gives."""
SLOT_BYTES = 1024
XS = ("num_slots", "slots_over_product")


class SlotsStudy(Study):
    """See above."""

    def cases(self, options: Options) -> list[Row]:
        slots = SLOTS[::2] if options.quick else SLOTS
        return [
            {"delay_us": 1e6 * options.delay * factor, "num_slots": each}
            for factor, each in product(DELAYS, slots)
        ]

    def measure(self, case: Row, options: Options) -> Row:
        delay, num_slots = 1e-6 * case["delay_us"], case["num_slots"]
        simulation = Simulation(
            tree=tree_of((WORKERS,)),
            cable=replace(options.cable, delay=delay),
            num_slots=num_slots,
            slot_bytes=SLOT_BYTES,
            seed=options.seed,
        )
        chunks = (16 if options.quick else 64) * max(num_slots, 64)
        found = simulation.aggregate(chunks * SLOT_BYTES // 4)
        product_bytes = options.rate * 2 * delay / 8
        return {
            "bandwidth_delay_bytes": product_bytes,
            "slots_over_product": num_slots * SLOT_BYTES / product_bytes,
            "goodput_gbit_s": found.goodput / 1e9,
            "bound_gbit_s": bound(options.rate, delay, num_slots, SLOT_BYTES) / 1e9,
            "mean_slots_held": float(found.slots_held[0]),
            "longest_queue_bytes": found.longest_queue,
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for number, delay in enumerate(values(rows, "delay_us"), start=1):
            for axes, x in zip(panels, XS, strict=True):
                style = style_of(number) | {"linestyle": "-", "marker": "."}
                at, goodput = line(rows, x, "goodput_gbit_s", delay_us=delay)
                axes.plot(at, goodput, label=f"{delay:g} us", **style)
                at, most = line(rows, x, "bound_gbit_s", delay_us=delay)
                axes.plot(at, most, color="#8a8a8a", linestyle=":", zorder=0)
        panels[0].set(xscale="log", xlabel="slots", ylabel="goodput, Gbit/s")
        panels[1].set(xscale="log", xlabel="slots x chunk / bandwidth-delay product")
        panels[0].legend(title="delay of a link", frameon=False)
        for axes in panels:
            frame(axes)
        figure.suptitle(f"Goodput of {WORKERS} workers; dotted: the bound")

    def findings(self, rows: Sequence[Row]) -> list[str]:
        shares = [row["goodput_gbit_s"] / row["bound_gbit_s"] for row in rows]
        found = [
            f"goodput is {100 * min(shares):.1f} to {100 * max(shares):.1f} % of the "
            "bound, min(rate x payload / frame, slots x chunk / round trip)"
        ]
        best = max(row["goodput_gbit_s"] for row in rows)
        for delay in values(rows, "delay_us"):
            enough = [
                row["num_slots"]
                for row in matching(rows, delay_us=delay)
                if row["goodput_gbit_s"] > 0.9 * best
            ]
            if enough:
                text = f"delay {delay:g} us: {min(enough)} slots reach 90 % of the best"
                found.append(text)
        return found


study = SlotsStudy()
