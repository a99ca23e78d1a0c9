"""One figure for a comparison: loss against steps and bytes, integers against steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intswitch.experiment import Result
from intswitch.report import by_method

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = (
    "#000000 #0072b2 #56b4e9 #009e73 #d55e00 #cc79a7 #e69f00 #8a8a8a".split()  # noqa: SIM905
)
DASHES = ("-", "-", "--", ":", "-.", "--", "-", "--")


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write figure.png and figure.svg into `folder`; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    lines = [
        _draw_method(axes, runs, number)
        for number, runs in enumerate(by_method(results).values())
    ]
    _label(axes, results[0])
    methods = list(by_method(results))
    figure.legend(
        lines, methods, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    paths = [folder / "figure.png", folder / "figure.svg"]
    for path in paths:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return paths


def _draw_method(axes: Sequence[Axes], runs: Sequence[Result], number: int) -> object:
    """One method's three lines, means over the seeds; the legend's handle."""
    style = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 1.6,
    }
    steps = [evaluated.step for evaluated in runs[0].evaluations]
    losses = np.mean([[each.loss for each in run.evaluations] for run in runs], axis=0)
    sent = np.cumsum(np.mean([worker.bytes_up for worker in runs[0].workers], axis=0))
    (line,) = axes[0].plot(steps, losses, **style)
    axes[1].plot([sent[step - 1] / 1e6 for step in steps], losses, **style)
    integers = np.max([run.largest_integers for run in runs], axis=0)
    if integers.any():
        count = np.arange(1, len(integers) + 1)
        axes[2].plot(count, np.maximum(integers, 0.5), **{**style, "linewidth": 1.1})
    return line


def _label(axes: Sequence[Axes], result: Result) -> None:
    name = result.started.loss_name
    labels = (
        (f"{name} against steps", "step", name),
        (f"{name} against traffic", "MB sent by a worker", name),
        ("largest integer sent", "step", "before clipping"),
    )
    for axis, (title, x, y) in zip(axes, labels, strict=True):
        axis.set(title=title, xlabel=x, ylabel=y)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    gaps = [evaluated.loss for evaluated in result.evaluations]
    if min(gaps) > 0 and max(gaps) / min(gaps) > 100:
        for axis in axes[:2]:
            axis.set_yscale("log")
    axes[1].set_xscale("log")
    axes[2].set_yscale("log")
