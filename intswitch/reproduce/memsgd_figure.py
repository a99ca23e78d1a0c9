"""The figure of Mem-SGD's reproduction, and its numbers. See `memsgd.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS, frame, plain
from intswitch.reproduce.claims import Cell
from intswitch.reproduce.memsgd_descents import Convergence, Race
from intswitch.reproduce.memsgd_runs import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rows(found: Found) -> Iterator[dict[str, Cell]]:
    """The numbers of the figure, panel by panel."""
    for convergence in found.figure2:
        yield from points(convergence, "figure 2")
    for race in found.figure3:
        for row in points(race.convergence, "figure 3"):
            bits = race.senders[str(row["method"])].bits
            yield row | {"bits": bits * int(row["steps"])}


def points(convergence: Convergence, panel: str) -> Iterator[dict[str, Cell]]:
    for name, descents in convergence.descents.items():
        gaps = convergence.mean_gaps(name)
        for steps, gap in zip(descents[0].steps, gaps, strict=True):
            yield {
                "panel": panel,
                "data": convergence.ground.dataset.name,
                "method": name,
                "steps": steps,
                "gap": gap,
            }


def draw(figure: Figure, found: Found) -> None:
    """Figure 2, then Figure 3, for each data set."""
    panels = figure.subplots(1, len(found.figure2) + len(found.figure3))
    for axes, convergence in zip(panels, found.figure2, strict=False):
        draw_convergence(axes, convergence)
    names = dict.fromkeys(name for race in found.figure3 for name in race.senders)
    colours = dict(zip(names, COLOURS, strict=False))
    for axes, race in zip(panels[len(found.figure2) :], found.figure3, strict=True):
        draw_race(axes, race, colours)
    for axes in panels:
        frame(axes)
        plain(axes.yaxis)
    panels[0].set(ylabel="objective, above the optimum")


def draw_convergence(axes: Axes, convergence: Convergence) -> None:
    samples = convergence.ground.problem.samples.num_samples
    for colour, (name, descents) in zip(
        COLOURS, convergence.descents.items(), strict=False
    ):
        epochs = [step / samples for step in descents[0].steps]
        axes.plot(epochs, convergence.mean_gaps(name), label=name, color=colour)
    title = f"{convergence.ground.dataset.name}, k = {convergence.k}"
    axes.set(xlabel="epochs", yscale="log", title=title)
    axes.legend(frameon=False, fontsize=8)


def draw_race(axes: Axes, race: Race, colours: Mapping[str, str]) -> None:
    """colours: by method."""
    for name, sender in race.senders.items():
        descents = race.convergence.descents[name]
        bits = [sender.bits * step for step in descents[0].steps]
        gaps = race.convergence.mean_gaps(name)
        axes.plot(bits, gaps, label=name, color=colours[name])
    label = "a tenth of the first gap"
    axes.axhline(
        race.target, color=COLOURS[-1], linewidth=1, linestyle=":", label=label
    )
    dataset = race.convergence.ground.dataset
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="bits sent",
        title=f"{dataset.name}, {dataset.samples.num_features:,} features",
    )
    axes.set_ylim(bottom=axes.get_ylim()[0] / 20)  # room for the legend
    axes.legend(frameon=False, fontsize=8, loc="lower left")
