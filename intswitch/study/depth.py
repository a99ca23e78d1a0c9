"""What levels of switches cost: time against the depth of the tree, one chunk and many.

The same 64 workers; a level more is a round trip more, of which a window of chunks
hides the most, and one more link on which a packet can be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from intswitch.figure import frame, style_of, ticks_at
from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import tree_of
from intswitch.study.base import Options, Row, Study, line, mean, values
from switch.config import LinkFaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TREES = ((64,), (8, 8), (4, 4, 4), (2, 2, 4, 4), (2, 2, 2, 2, 4), (2,) * 6)
WINDOWS = (64, 256)
LOSSES = (0.0, 1e-3)
FULL = 256  # elements of a chunk


class DepthStudy(Study):
    """See above."""

    def cases(self, options: Options) -> list[Row]:
        trees = TREES[::2] if options.quick else TREES
        chunks = (1, 1024 if options.quick else 8192)
        return [
            {
                "tree": "x".join(map(str, tree)), "levels": len(tree),
                "chunks": count, "window": window, "loss": loss,
            }
            for tree, count, window, loss in product(trees, chunks, WINDOWS, LOSSES)
            if count > 1 or (window == WINDOWS[0] and loss == 0)
        ]  # fmt: skip

    def measure(self, case: Row, options: Options) -> Row:
        faults = LinkFaults(loss=case["loss"])
        simulation = Simulation(
            tree=tree_of(tuple(map(int, case["tree"].split("x")))),
            cable=replace(options.cable, up=faults, down=faults),
            num_slots=case["window"],
            seed=options.seed,
        )
        found = simulation.aggregate(case["chunks"] * FULL)
        return {
            "microseconds": 1e6 * found.seconds,
            "goodput_gbit_s": found.goodput / 1e9,
            "retransmissions": found.retransmissions,
            "switches": len(found.switch_counters),
            "packet_hops": found.packet_hops,
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        at, times = line(rows, "levels", "microseconds", chunks=1)
        panels[0].plot(at, times, marker=".", **style_of(1))
        panels[0].set(title="one chunk", ylabel="microseconds", ylim=(0, None))
        chunks = max(values(rows, "chunks"))
        cases = list(product(WINDOWS, LOSSES))
        for number, (window, loss) in enumerate(cases, start=1):
            case = {"chunks": chunks, "window": window, "loss": loss}
            at, goodput = line(rows, "levels", "goodput_gbit_s", **case)
            label = f"window {window}, loss {loss:g}"
            panels[1].plot(at, goodput, marker=".", label=label, **style_of(number))
        panels[1].set(title=f"{chunks:,} chunks", ylabel="goodput, Gbit/s")
        panels[1].set_ylim(0, None)
        panels[1].legend(frameon=False)
        for axes in panels:
            axes.set_xlabel("levels of switches")
            frame(axes)
            ticks_at(axes.xaxis, values(rows, "levels"))
        figure.suptitle("64 workers below trees of switches")

    def findings(self, rows: Sequence[Row]) -> list[str]:
        levels, chunks = values(rows, "levels"), max(values(rows, "chunks"))
        times = ", ".join(
            f"{level}: {mean(rows, 'microseconds', levels=level, chunks=1):.2f} us"
            for level in levels
        )
        found = [f"one chunk, by levels: {times}"]
        for window, loss in product(WINDOWS, LOSSES):
            case = {"chunks": chunks, "window": window, "loss": loss}
            goodputs = ", ".join(
                f"{level}: {mean(rows, 'goodput_gbit_s', levels=level, **case):.1f}"
                for level in levels
            )
            which = f"window {window}, loss {loss:g}"
            found.append(f"{which}, Gbit/s by levels: {goodputs}")
        return found


study = DepthStudy()
