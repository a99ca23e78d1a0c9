"""The figure of NUQSGD's reproduction, and its numbers. See `nuqsgd.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from intswitch.figure import COLOURS, plain
from intswitch.reproduce.claims import Cell
from intswitch.reproduce.intsgd_figure import smooth
from intswitch.reproduce.nuqsgd_runs import BLOCKS, NAMES, SENSITIVE, D, Found
from intswitch.reproduce.training import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR = dict(zip(NAMES, ("#d55e00", "#0072b2", "#009e73"), strict=True))
DASH = {"Gaussian": "-", "log-normal": ":"}


def rows(found: Found) -> Iterator[dict[str, Cell]]:
    """The numbers of the figure, panel by panel."""
    for (name, kind, block), each in found.variances.items():
        yield {
            "panel": "variance",
            "method": name,
            "vector": kind,
            "block": block,
            "relative_variance": each.relative.mean,
            "half_width": each.relative.half,
        }
    for name, curves in found.curves.items():
        for step, loss in enumerate(mean_losses(curves), start=1):
            yield {"panel": "4 bits", "method": name, "step": step, "loss": loss}
    for (name, block), curves in found.sensitive.items():
        yield {
            "panel": "3 bits",
            "method": name,
            "block": block,
            "test_loss": final_test_loss(curves),
        }


def mean_losses(curves: Sequence[Curve]) -> list[float]:
    """Of every step, over the seeds, as far as all of them went."""
    steps = min(len(curve.losses) for curve in curves)
    return np.mean([curve.losses[:steps] for curve in curves], axis=0).tolist()  # type: ignore[no-any-return]


def final_test_loss(curves: Sequence[Curve]) -> float:
    """In the end, over the seeds; infinite if one has diverged."""
    if any(curve.diverged for curve in curves):
        return math.inf
    return float(np.mean([curve.evaluations[-1].loss for curve in curves]))


def draw(figure: Figure, found: Found) -> None:
    """Variance by block; losses at 4 bits; test losses at 3 bits by block."""
    variance, losses, sensitive = figure.subplots(1, 3)
    draw_variance(variance, found)
    draw_losses(losses, found.curves)
    draw_sensitivity(sensitive, found)
    for axes in (variance, losses, sensitive):
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        plain(axes.yaxis)
    for axes in (variance, sensitive):
        axes.set_xscale("log")
        plain(axes.xaxis)


def draw_variance(axes: Axes, found: Found) -> None:
    for name in NAMES:
        for kind, dash in DASH.items():
            points = [found.variances[name, kind, block].relative for block in BLOCKS]
            axes.plot(
                BLOCKS,
                [point.mean for point in points],
                label=f"{name}, {kind}",
                color=COLOUR[name],
                linestyle=dash,
                marker="o",
                markersize=3,
            )
    axes.set(xlabel="elements of a block", title="variance / ||v||², 4 bits, as coded")


def draw_losses(axes: Axes, curves: Mapping[str, Sequence[Curve]]) -> None:
    """A line ends where the first seed diverges."""
    for number, (name, each) in enumerate(curves.items()):
        method = name.partition(" ")[0]
        axes.plot(
            *smooth(mean_losses(each)),
            label=name,
            color=COLOUR.get(method, COLOURS[0]),
            linestyle="--" if number > len(NAMES) else "-",
        )
    axes.set(xlabel="step", title=f"training loss, 4 bits, blocks of {D:,}")


def draw_sensitivity(axes: Axes, found: Found) -> None:
    """What has diverged has no point, and is named in the legend."""
    for name in dict.fromkeys(name for name, _ in found.sensitive):
        points = {
            block: final_test_loss(found.sensitive[name, block]) for block in SENSITIVE
        }
        gone = [f"{block:,}" for block, loss in points.items() if math.isinf(loss)]
        label = f"{name} (diverged at {', '.join(gone)})" if gone else name
        there = {block: loss for block, loss in points.items() if math.isfinite(loss)}
        axes.plot(
            list(there), list(there.values()), "o-", label=label, color=COLOUR[name]
        )
    sgd = final_test_loss(found.curves["SGD"])
    axes.axhline(sgd, color=COLOURS[0], linewidth=1, label="SGD")
    axes.set(xlabel="elements of a block", title="test loss, 3 bits, as coded")
