"""What a second job does to a first that shares its links, by the slots of both.

Two jobs of eight workers, half of each below one switch and half below another. Every
job has a host's link for itself; the links between the switches carry both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from intswitch.figure import frame, style_of, ticks_at
from intswitch.sim.shared import SharedSimulation, SimulatedJob
from intswitch.study.base import Options, Row, Study, line, mean, values
from switch.config import LinkFaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST = 64  # slots of the first job
SECOND = (0, 16, 32, 64, 128, 256)  # of the second; 0: there is none
LINKS = {
    "perfect": (np.inf, 0.0),
    "queue 60 kB": (60e3, 0.0),
    "loss 0.001": (np.inf, 1e-3),
}
"""Between the switches: bytes that may wait, loss."""
FULL = 256  # elements of a chunk
HALF = 4  # workers of a job below a switch


class JobsStudy(Study):
    """See above."""

    def cases(self, options: Options) -> list[Row]:
        chunks = 1024 if options.quick else 8192
        return [
            {"links": links, "second_slots": slots, "chunks": chunks}
            for links, slots in product(LINKS, SECOND[::3] if options.quick else SECOND)
        ]

    def measure(self, case: Row, options: Options) -> Row:
        queue, loss = LINKS[case["links"]]
        faults = LinkFaults(loss=loss)
        trunk = replace(options.cable, queue=queue, up=faults, down=faults)
        jobs = 2 if case["second_slots"] else 1
        below = jobs * HALF
        first, second = (
            SimulatedJob(
                workers=tuple(
                    switch * below + job * HALF + host
                    for switch in range(2)
                    for host in range(HALF)
                ),
                num_elements=case["chunks"] * FULL,
                num_slots=slots,
            )
            for job, slots in enumerate((FIRST, case["second_slots"]))
        )
        found = SharedSimulation(
            tree=(tuple(range(below)), tuple(range(below, 2 * below))),
            cable=options.cable,
            cables={(0,): trunk, (1,): trunk},
            jobs=[first, second][:jobs],
            seed=options.seed,
        ).aggregate()
        return {
            "milliseconds": 1e3 * found.jobs[0].seconds,
            "second_milliseconds": 1e3 * found.jobs[-1].seconds if jobs > 1 else "",
            "retransmissions": found.jobs[0].retransmissions,
            "dropped": found.dropped,
            "longest_queue": found.longest_queue,
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        both = [row for row in rows if row["second_slots"]]
        panels = figure.subplots(1, 2, sharey=True)
        for number, links in enumerate(LINKS, start=1):
            style = {"marker": ".", "label": links, **style_of(number)}
            at, times = line(rows, "second_slots", "milliseconds", links=links)
            panels[0].plot(at, times, **style)
            at, times = line(both, "second_slots", "second_milliseconds", links=links)
            panels[1].plot(at, times, **style)
        panels[0].set(title=f"the first job, {FIRST} slots (at 0 it is alone)")
        panels[0].set(ylabel="milliseconds", ylim=(0, None))
        panels[0].legend(frameon=False)
        panels[1].set(title="the second job")
        for axes, shown in zip(panels, (rows, both), strict=True):
            axes.set_xlabel("slots of the second job")
            frame(axes)
            ticks_at(axes.xaxis, values(shown, "second_slots"))
        figure.suptitle("two jobs that share the links between two switches")

    def findings(self, rows: Sequence[Row]) -> list[str]:
        found = []
        for links in LINKS:
            alone = mean(rows, "milliseconds", links=links, second_slots=0)
            found.append(f"{links}: {alone:.3f} ms alone")
            for slots in values(rows, "second_slots")[1:]:
                case = {"links": links, "second_slots": slots}
                first = mean(rows, "milliseconds", **case)
                second = mean(rows, "second_milliseconds", **case)
                found.append(
                    f"{links}, second with {slots} slots: {first:.3f} ms, "
                    f"{first / alone:.2f} times as long; the second {second:.3f} ms"
                )
        return found


study = JobsStudy()
