"""The figure of FastSGD's reproduction, and its numbers. See `fastsgd.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from intswitch.figure import COLOURS, frame, plain
from intswitch.reproduce.claims import Cell
from intswitch.reproduce.fastsgd_runs import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITH = {True: "with feedback", False: "without feedback"}


def rows(found: Found) -> Iterator[dict[str, Cell]]:
    """The numbers of the figure, panel by panel."""
    for each in found.trainings:
        yield {
            "panel": "threshold",
            "threshold": each.threshold,
            "feedback": WITH[each.feedback],
            "ratio": found.ratio(each),
            "loss": each.loss,
            "pairs": each.pairs,
            "key_bytes": each.key_bytes,
            "message_bytes": each.message_bytes,
        }
    yield {"panel": "threshold", "feedback": "uncompressed", "loss": found.exact}
    for keys in found.keys:
        yield {"panel": "keys", **keys._asdict()}
    for timing in found.timings:
        yield {
            "panel": "time",
            "elements": timing.elements,
            "encode_seconds": timing.encode,
            "decode_seconds": timing.decode,
        }


def draw(figure: Figure, found: Found) -> None:
    """Ratio and loss against the threshold; bits a key; time."""
    ratio, loss, keys, time = figure.subplots(1, 4)
    draw_thresholds(ratio, loss, found)
    draw_keys(keys, found)
    for colour, name in zip(COLOURS[1:], ("encode", "decode"), strict=False):
        elements = [each.elements for each in found.timings]
        seconds = [getattr(each, name) for each in found.timings]
        nanoseconds = [1e9 * s / n for s, n in zip(seconds, elements, strict=True)]
        time.plot(elements, nanoseconds, "o-", label=name, color=colour)
    time.set(xscale="log", xlabel="elements", title="ns an element")
    time.set_ylim(bottom=0)
    for axes in (ratio, loss, keys, time):
        frame(axes)
        axes.legend(frameon=False, fontsize=8)


def draw_thresholds(ratio: Axes, loss: Axes, found: Found) -> None:
    for feedback, colour in ((True, COLOURS[1]), (False, COLOURS[4])):
        chosen = [each for each in found.trainings if each.feedback == feedback]
        thresholds = [each.threshold for each in chosen]
        ratios = [found.ratio(each) for each in chosen]
        losses = [min(each.loss, 1.2 * found.start) for each in chosen]
        ratio.plot(thresholds, ratios, "o-", label=WITH[feedback], color=colour)
        loss.plot(thresholds, losses, "o-", label=WITH[feedback], color=colour)
    loss.axhline(found.exact, color=COLOURS[0], linewidth=1, label="uncompressed")
    loss.axhline(
        found.start, color=COLOURS[-1], linewidth=1, linestyle=":", label="at first"
    )
    ratio.set(yscale="log", xlabel="threshold", title="compression ratio")
    loss.set(xlabel="threshold", title="loss after training (cut above)")
    plain(ratio.yaxis)
    for axes in (ratio, loss):
        axes.invert_xaxis()


def draw_keys(axes: Axes, found: Found) -> None:
    """With the entropy, which nothing is below."""
    shares = [keys.share for keys in found.keys]
    lines = {"ours": "o-", "whole_bytes": "s--", "entropy": "-"}
    for colour, (name, style) in zip(COLOURS[1::2], lines.items(), strict=False):
        values = [getattr(keys, name) for keys in found.keys]
        label = name.replace("_", " ")
        axes.plot(shares, values, style, label=label, color=colour)
    axes.set(xscale="log", xlabel="share of the elements", title="bits a key")
    axes.set_ylim(bottom=0)
