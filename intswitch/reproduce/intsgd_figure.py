"""The figure of IntSGD's reproduction, and its numbers. See `intsgd.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS, frame, plain, smooth, ticks_at
from intswitch.reproduce.claims import Cell
from intswitch.reproduce.intsgd_runs import WORKERS, Descent, Found, Rounding
from intswitch.reproduce.training import mean_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rows(found: Found) -> Iterator[dict[str, Cell]]:
    """The numbers of the figure, panel by panel."""
    for each in found.roundings:
        yield {
            "panel": "rounding",
            "alpha": each.alpha,
            "variance_over_bound": (each.draws.variance / each.bound).mean,
            "half_width": (each.draws.variance / each.bound).half,
            "exact_over_bound": each.exact / each.bound,
        }
    for name, descent in found.descents.items():
        values = zip(descent.gaps, descent.largest, descent.sums, strict=True)
        for step, (gap, largest, total) in enumerate(values):
            yield {
                "panel": "heterogeneous",
                "method": name,
                "step": step + 1,
                "gap": gap,
                "largest_integer": largest,
                "largest_sum": total,
            }
    for name, curves in found.curves.items():
        for step, loss in enumerate(mean_losses(curves), start=1):
            yield {"panel": "training", "method": name, "step": step, "loss": loss}


def draw(figure: Figure, found: Found) -> None:
    """Noise over its bound; integers on heterogeneous data; training losses."""
    noise, integers, losses = figure.subplots(1, 3)
    draw_noise(noise, found.roundings)
    draw_integers(integers, found.descents)
    for colour, (name, curves) in zip(COLOURS, found.curves.items(), strict=False):
        losses.plot(*smooth(mean_losses(curves)), label=name, color=colour)
    losses.set(xlabel="step", title=f"training loss, {WORKERS} workers")
    for axes in (integers, losses):
        axes.set_yscale("log")
        plain(axes.yaxis)
    for axes in (noise, integers, losses):
        axes.legend(frameon=False, fontsize=8)
        frame(axes)


def draw_noise(axes: Axes, roundings: Sequence[Rounding]) -> None:
    """With the bound, and the value for uniform fractions."""
    alphas = [each.alpha for each in roundings]
    ratios = [each.draws.variance / each.bound for each in roundings]
    axes.errorbar(
        alphas,
        [ratio.mean for ratio in ratios],
        [ratio.half for ratio in ratios],
        fmt="o-",
        color=COLOURS[1],
        capsize=3,
        label="measured",
    )
    axes.axhline(1, color=COLOURS[0], linewidth=1, label="bound")
    axes.axhline(
        2 / 3, color=COLOURS[-1], linewidth=1, linestyle=":", label="uniform fractions"
    )
    axes.set(
        xscale="log",
        ylim=(0, 1.1),
        xlabel="alpha",
        title="variance of rounding, over d / (4 n alpha²)",
    )
    ticks_at(axes.xaxis, alphas)


def draw_integers(axes: Axes, descents: Mapping[str, Descent]) -> None:
    """From the second step on: the first has no scale of its own."""
    for colour, (name, descent) in zip(COLOURS[1:], descents.items(), strict=False):
        steps = range(2, len(descent.largest) + 1)
        axes.plot(steps, descent.largest[1:], label=name, color=colour)
    axes.set(xlabel="step", title="largest integer of a worker, before clipping")
