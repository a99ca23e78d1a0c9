"""How much longer an aggregation takes when links lose packets, or reorder them.

SwitchML's hosts wait for a timer (Sapio et al., NSDI 2021, section 4.4, and its figure
of loss recovery). Ours also take answers to packets sent later for evidence: a time
threshold (RFC 8985), or that and a packet threshold (RFC 9002, section 6.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from host.recovery import Recovery
from intswitch.figure import COLOURS, frame, plain
from intswitch.sim.simulation import Simulation
from intswitch.sim.tree import tree_of
from intswitch.study.base import Options, Row, Study, line, matching, mean, values
from switch.config import LinkFaults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORKERS = 8
REPAIRS = {"timer": (math.inf, 0), "time": (0.0, 0), "packets": (0.0, 3)}
"""Patience and packet threshold; see `Recovery`."""
NAMES = {
    "timer": "timer alone (SwitchML)",
    "time": "time threshold (RFC 8985)",
    "packets": "packet and time threshold (RFC 9002)",
}
LOSSES = (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 2e-1)
REORDERINGS = (0.0, 1e-3, 1e-2, 1e-1)
TIMEOUTS = (1e-4, 1e-3)
WINDOWS = (32, 128, 512)
OVERTAKEN_BY = 8
LONGEST_BACKOFF = 8  # timeouts
DASHES = {32: ":", 128: "-", 512: "--"}


class LossStudy(Study):
    """See above."""

    def cases(self, options: Options) -> list[Row]:
        windows = WINDOWS[1:2] if options.quick else WINDOWS
        seeds = range(options.seed, options.seed + (1 if options.quick else 3))
        faults = [(loss, 0.0) for loss in LOSSES]
        faults += [(0.0, reordering) for reordering in REORDERINGS[1:]]
        names = ("loss", "reordering", "window", "timeout", "repair", "seed")
        return [
            dict(zip(names, (*both, *rest), strict=True))
            for both, *rest in product(faults, windows, TIMEOUTS, REPAIRS, seeds)
        ]

    def measure(self, case: Row, options: Options) -> Row:
        patience, threshold = REPAIRS[case["repair"]]
        timeout = case["timeout"]
        faults = LinkFaults(
            loss=case["loss"], reordering=case["reordering"],
            overtaken_by=OVERTAKEN_BY, held_for=timeout,
        )  # fmt: skip
        simulation = Simulation(
            tree=tree_of((WORKERS,)),
            cable=replace(options.cable, up=faults, down=faults),
            num_slots=case["window"],
            recovery=Recovery(
                timeout, timeout, LONGEST_BACKOFF * timeout, patience, threshold
            ),
            seed=case["seed"],
        )
        found = simulation.aggregate(1 << (19 if options.quick else 21))
        return {
            "milliseconds": 1e3 * found.seconds,
            "goodput_gbit_s": found.goodput / 1e9,
            "retransmissions": found.retransmissions,
            "queries": found.queries,
            "lost": found.faults["lost"],
            "held_back": found.faults["held_back"],
        }

    def draw(self, rows: Sequence[Row], figure: Figure) -> None:
        panels = figure.subplots(1, 3)
        losses = matching(rows, reordering=0.0)
        for axes, timeout in zip(panels, TIMEOUTS, strict=False):
            self._lines(axes, matching(losses, timeout=timeout), "loss")
            axes.set_title(f"loss, timeout {1e3 * timeout:g} ms")
        reordered = matching(rows, loss=0.0, timeout=TIMEOUTS[-1])
        self._lines(panels[2], reordered, "reordering")
        panels[2].set_title(f"reordering by {OVERTAKEN_BY} packets, timeout 1 ms")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, frameon=False
        )
        figure.suptitle(
            f"Time of an aggregation, {WORKERS} workers, relative to perfect links"
        )

    def _lines(self, axes: Axes, rows: Sequence[Row], x: str) -> None:
        for number, (repair, name) in enumerate(NAMES.items(), start=1):
            for window in values(rows, "window"):
                chosen: dict[str, Any] = {"repair": repair, "window": window}
                perfect = mean(rows, "milliseconds", **chosen, **{x: 0.0})
                at, times = line(rows, x, "milliseconds", **chosen)
                axes.plot(
                    at[1:], [time / perfect for time in times[1:]],
                    color=COLOURS[number], linestyle=DASHES[window], marker=".",
                    label=f"{name}, window {window}",
                )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel=f"{x}, each way")
        axes.set_ylabel("times as long")
        frame(axes)
        plain(axes.yaxis)

    def findings(self, rows: Sequence[Row]) -> list[str]:
        found = []
        for loss, timeout in product((1e-3, 1e-2, 2e-1), TIMEOUTS):
            case = {"reordering": 0.0, "window": 128, "timeout": timeout}
            texts = []
            for repair, name in NAMES.items():
                perfect = mean(rows, "milliseconds", loss=0.0, repair=repair, **case)
                lossy = mean(rows, "milliseconds", loss=loss, repair=repair, **case)
                texts.append(f"{name} {lossy / perfect:.2f}")
            found.append(
                f"loss {loss:g}, timeout {1e3 * timeout:g} ms, window 128, times as "
                f"long as without: {', '.join(texts)}"
            )
        return found


study = LossStudy()
