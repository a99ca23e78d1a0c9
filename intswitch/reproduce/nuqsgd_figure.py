"""The figure of NUQSGD's reproduction, and its numbers. See `nuqsgd.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS, frame, plain, smooth, ticks_at
from intswitch.reproduce.claims import Cell
from intswitch.reproduce.nuqsgd_runs import BLOCKS, NAMES, SENSITIVE, D, Found
from intswitch.reproduce.training import Curve, mean_losses, mean_score

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
            "test_accuracy": mean_score(curves),
            "diverged": sum(curve.diverged is not None for curve in curves),
        }


def draw(figure: Figure, found: Found) -> None:
    """Variance by block; losses at 4 bits; accuracy at 3 bits by block."""
    variance, losses, sensitive = figure.subplots(1, 3)
    draw_variance(variance, found)
    draw_losses(losses, found.curves)
    draw_sensitivity(sensitive, found)
    for axes in (variance, losses, sensitive):
        axes.legend(frameon=False, fontsize=8)
        frame(axes)
    for axes, blocks in ((variance, BLOCKS), (sensitive, SENSITIVE)):
        ticks_at(axes.xaxis, blocks)
    for axes in (variance, losses):
        plain(axes.yaxis)


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
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="elements of a block",
        title="variance / ||v||², 4 bits, as coded",
    )


def draw_losses(axes: Axes, curves: Mapping[str, Sequence[Curve]]) -> None:
    """A line ends where the first seed diverges, or leaves the picture before."""
    for number, (name, each) in enumerate(curves.items()):
        method = name.partition(" ")[0]
        axes.plot(
            *smooth(mean_losses(each)),
            label=name,
            color=COLOUR.get(method, COLOURS[0]),
            linestyle="--" if number > len(NAMES) else "-",
        )
    first = mean_losses(curves["SGD"])[0]
    axes.set(
        yscale="log",
        ylim=(None, 5 * first),
        xlabel="step",
        title=f"training loss, 4 bits, blocks of {D:,}",
    )


def draw_sensitivity(axes: Axes, found: Found) -> None:
    """Where a seed has diverged there is a cross."""
    for name in dict.fromkeys(name for name, _ in found.sensitive):
        points = [mean_score(found.sensitive[name, block]) for block in SENSITIVE]
        axes.plot(SENSITIVE, points, "o-", label=name, color=COLOUR[name])
        for block, point in zip(SENSITIVE, points, strict=True):
            if any(curve.diverged for curve in found.sensitive[name, block]):
                axes.plot(block, point, "x", color=COLOURS[0], markersize=10)
    sgd = mean_score(found.curves["SGD"])
    axes.axhline(sgd, color=COLOURS[0], linewidth=1, linestyle=":", label="SGD")
    axes.set(
        xscale="log",
        ylim=(0, 1),
        xlabel="elements of a block",
        title="test accuracy, 3 bits, as coded (x: diverged)",
    )
