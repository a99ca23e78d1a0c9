"""One figure for a comparison: loss against steps and bytes, integers against steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intswitch.experiment import Result
from intswitch.report import by_method, caption

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = (
    "#000000 #0072b2 #56b4e9 #009e73 #d55e00 #cc79a7 #e69f00 #8a8a8a".split()  # noqa: SIM905
)
DASHES = ("-", "-", "--", ":", "-.", "--", "-", "--")
KINDS = ("-", "--", ":", "-.")
COLUMNS = 4  # of the legend


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write figure.png and figure.svg into `folder`; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    methods = list(by_method(results))
    height = 3.9 + 0.25 * math.ceil(len(methods) / COLUMNS)
    figure, axes = pyplot.subplots(1, 3, figsize=(13, height), layout="constrained")
    lines = [
        _draw_method(axes, runs, number)
        for number, runs in enumerate(by_method(results).values())
    ]
    _label(axes, results[0])
    figure.suptitle(caption(results))
    figure.legend(
        lines,
        methods,
        loc="outside lower center",
        ncols=COLUMNS,
        frameon=False,
        fontsize=9,
    )
    paths = [folder / "figure.png", folder / "figure.svg"]
    for path in paths:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return paths


def _draw_method(axes: Sequence[Axes], runs: Sequence[Result], number: int) -> Artist:
    """One method's three lines, means over the seeds; the legend's handle."""
    style = {**style_of(number), "linewidth": 1.6}
    steps = [evaluated.step for evaluated in runs[0].evaluations]
    losses = np.mean([[each.loss for each in run.evaluations] for run in runs], axis=0)
    sent = np.cumsum(np.mean([worker.bytes_up for worker in runs[0].workers], axis=0))
    (line,) = axes[0].plot(steps, losses, **style)
    axes[1].plot([sent[step - 1] / 1e6 for step in steps], losses, **style)
    count, integers = peaks(np.max([run.largest_integers for run in runs], axis=0))
    if integers.any():
        axes[2].plot(count, np.maximum(integers, 1), **style)
    return line


def style_of(number: int) -> dict[str, Any]:
    """Colour and dashes; other dashes where the colours come again."""
    rounds, place = divmod(number, len(COLOURS))
    dashes = KINDS[(KINDS.index(DASHES[place]) + rounds) % len(KINDS)]
    return {"color": COLOURS[place], "linestyle": dashes}


def peaks(
    integers: NDArray[Any], points: int = 60
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Steps, and the largest value since the step before: a line one can follow."""
    width = max(1, len(integers) // points)
    starts = np.arange(0, len(integers), width)
    return starts + 1, np.maximum.reduceat(integers, starts)


def smooth(values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Steps, and means of a twentieth of them: a line one can follow."""
    width = max(1, len(values) // 20)
    starts = range(0, len(values) - width + 1, width)
    return [start + width for start in starts], [
        fmean(values[start : start + width]) for start in starts
    ]


def _label(axes: Sequence[Axes], result: Result) -> None:
    name = result.started.loss_name
    labels = (
        (f"{name} against steps", "step", name),
        (f"{name} against traffic", "MB sent by a worker", name),
        ("largest integer sent", "step", "largest absolute integer, before clipping"),
    )
    for axis, (title, x, y) in zip(axes, labels, strict=True):
        axis.set(title=title, xlabel=x, ylabel=y)
        frame(axis)
    losses = [evaluated.loss for evaluated in result.evaluations]
    if min(losses) > 0 and max(losses) / min(losses) > 5:
        for axis in axes[:2]:
            axis.set_yscale("log")
    axes[1].set_xscale("log")
    axes[2].set_yscale("log")
    for scale in (axes[0].yaxis, axes[1].yaxis, axes[1].xaxis, axes[2].yaxis):
        plain(scale)


def frame(axes: Axes) -> None:
    """What all panels have around their lines."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def ticks_at(axis: Axis, values: Sequence[float]) -> None:
    """Mark these values alone: where a logarithmic axis has few points."""
    from matplotlib.ticker import NullLocator

    axis.set_ticks(values, [f"{value:,g}" for value in values])
    axis.set_minor_locator(NullLocator())


def plain(axis: Axis) -> None:
    """Write 0.5 and 2,000 at a logarithmic axis, and powers only when they are far."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if axis.get_scale() != "log" or low < 1e-3 or high > 1e5:
        return
    if high / low < 1e3:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
