"""Results as people read them: the summary of a run, the table of a comparison.

The table is IntSGD's (arXiv 2102.08374, section 5): method, test accuracy or loss,
time of a step by phase; besides, bits per coordinate and the largest integer.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich import box
from rich.console import Console
from rich.table import Table

from intswitch.experiment import PHASES, Result
from intswitch.progress import number, percent

PATH, UP, DOWN, BITS = "path", "up kB", "down kB", "bits"
TRAFFIC = {
    UP: "kilobytes_up",
    DOWN: "kilobytes_down",
    BITS: "bits_per_coordinate",
}
FIGURES = {
    "max int": "largest_integer",
    "clips": "clips",
    "overflows": "overflows",
}
"""Headings of the table, and where in a `Row` the figures are."""
PAST_THE_SWITCH = "gloo"
"""The path of `exact`; others have an option of that name, or the network alone."""
LEGEND = (
    "Times in ms of a step; wait: at a barrier, until the slowest worker has its "
    "gradient. Path: network, the switch adds; gather, everybody gets what everybody "
    "sent; gloo, past the switch. Up, down: of a worker and step, without "
    "retransmissions. Bits: sent for a coordinate, headers included. Max int: largest "
    "absolute integer, before clipping, after the first step."
)


def kilobytes(count: float) -> str:
    return f"{count / 1e3:,.1f} kB"


def summarize(result: Result, console: Console) -> None:
    """The end of `intswitch train`."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for name, text in summary(result):
        grid.add_row(name, text)
    console.print(grid, highlight=False)


def summary(result: Result) -> list[tuple[str, str]]:
    """Name and value of what is worth knowing about one run."""
    training, started, last = result.training, result.started, result.evaluations[-1]
    rows = [
        ("training", f"{training.workload}, {training.label}, seed {training.seed}"),
        (
            "size",
            f"{result.num_workers} workers, {started.steps} steps of "
            f"{started.batch_size} samples each, {started.parameters:,} parameters",
        ),
        (started.loss_name, number(last.loss)),
    ]
    if last.accuracy is not None:
        rows.insert(2, ("test accuracy", percent(last.accuracy)))
    return [*rows, *_traffic(result), *_integers(result), *_time(result)]


def _traffic(result: Result) -> list[tuple[str, str]]:
    per = "a worker and step"
    rows = [
        (
            "bytes",
            f"{kilobytes(result.bytes_up)} up, {kilobytes(result.bytes_down)} down "
            f"{per} ({result.bits_per_coordinate:.2f} bits a coordinate up)",
        ),
    ]
    if result.training.compressor == "exact":
        return [*rows, ("path", "gloo between the workers, past the switch")]
    sent, received = result.total("packets_sent"), result.total("packets_received")
    again = result.total("retransmissions")
    share = 100 * again / max(1, sent)
    return [
        *rows,
        ("packets", f"{sent:,} sent, {received:,} received, barriers included"),
        ("retransmissions", f"{again:,} ({share:.2f} % of the packets sent)"),
        ("switch", switch_counters(result.workers[0].counters)),
    ]


def switch_counters(counters: dict[str, int]) -> str:
    """What the switch did; of the reasons for dropping those that occurred."""
    named = ("accepted", "results", "replays", "statuses", "copies")
    dropped = {
        name: value for name, value in counters.items() if value and name not in named
    }
    reasons = "".join(f", {value:,} {name}" for name, value in dropped.items())
    return (
        f"{counters['accepted']:,} contributions added, {counters['results']:,} "
        f"results, {counters['replays']:,} replays{reasons or ', no drops'}"
    )


def _integers(result: Result) -> list[tuple[str, str]]:
    if result.training.compressor == "exact":
        return []
    largest_sum = max(worker.largest_sum for worker in result.workers)
    elements = result.num_workers * result.started.steps * result.started.parameters
    clips = result.total("clips")
    return [
        (
            "largest integer",
            f"{result.largest_integer:,} before clipping "
            f"(in the first step {result.largest_integers[0]:,}), "
            f"{largest_sum:,} in sums",
        ),
        ("clips", f"{clips:,} of {elements:,} elements"),
        ("overflows", f"{result.total('overflows'):,} results"),
    ]


def _time(result: Result) -> list[tuple[str, str]]:
    parts = [f"{phase} {ms:.2f}" for phase, ms in result.milliseconds.items()]
    return [
        ("ms a step", ", ".join(parts)),
        ("time", f"{result.wall_seconds:.1f} s from the first step to the last"),
        ("weights", f"{result.workers[0].weights} (digest; equal for equal weights)"),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """One method over all seeds."""

    method: str
    metric: str
    scores: list[float]
    milliseconds: dict[str, float]
    path: str
    """network: the switch adds; gather: everybody gets everybody's; or gloo."""
    kilobytes_up: float
    """A worker and step, headers included, retransmissions not."""
    kilobytes_down: float
    bits_per_coordinate: float
    largest_integer: int
    clips: int
    overflows: int
    retransmissions: int | None
    """None: the gradients went past the switch."""

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def deviation(self) -> float:
        """Between seeds, of the sample; 0 for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0


def by_method(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs of every method, in the order in which they came."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.training.label, []).append(result)
    return groups


def rows(results: Sequence[Result]) -> list[Row]:
    return [_row(method, runs) for method, runs in by_method(results).items()]


def _row(method: str, runs: list[Result]) -> Row:
    return Row(
        method=method,
        metric=metric_name(runs[0]),
        scores=[run.score for run in runs],
        milliseconds={
            phase: fmean(run.milliseconds[phase] for run in runs) for phase in PHASES
        },
        path=path_name(runs[0]),
        kilobytes_up=fmean(run.bytes_up for run in runs) / 1e3,
        kilobytes_down=fmean(run.bytes_down for run in runs) / 1e3,
        bits_per_coordinate=fmean(run.bits_per_coordinate for run in runs),
        largest_integer=max(run.largest_integer for run in runs),
        clips=sum(run.total("clips") for run in runs),
        overflows=sum(run.total("overflows") for run in runs),
        retransmissions=None
        if runs[0].training.compressor == "exact"
        else sum(run.total("retransmissions") for run in runs),
    )


def path_name(result: Result) -> str:
    """How the gradients travel."""
    if result.training.compressor == "exact":
        return PAST_THE_SWITCH
    return str(result.training.options.get("path", "network"))


def metric_name(result: Result) -> str:
    return (
        "test accuracy"
        if result.started.metric == "accuracy"
        else result.started.loss_name
    )


def score_text(row: Row) -> str:
    if row.metric == "test accuracy":
        return f"{100 * row.mean:.2f} ± {100 * row.deviation:.2f} %"
    if row.mean >= 0.01:
        return f"{row.mean:.4f} ± {row.deviation:.4f}"
    return f"{row.mean:.1e} ± {row.deviation:.0e}"


def caption(results: Sequence[Result]) -> str:
    """What was trained, above the table."""
    first = results[0]
    seeds = len({result.training.seed for result in results})
    return (
        f"{first.training.workload}, {first.num_workers} workers, "
        f"{first.started.steps} steps, {seeds} seed{'s' * (seeds > 1)}"
    )


def tabulate(results: Sequence[Result], console: Console) -> None:
    """The end of `intswitch compare`: one table, or three where one is too wide."""
    lines = rows(results)
    console.print(f"\n{caption(results)}\n{LEGEND}", highlight=False)
    parts = ((lines[0].metric, *FIGURES), (PATH, *TRAFFIC), PHASES)
    whole = _table(lines, [each for part in parts for each in part], space=1)
    fits = console.measure(whole, options=console.options.update(max_width=999))
    if fits.maximum <= console.width:
        console.print(whole, highlight=False)
    else:
        for part in parts:
            console.print(_table(lines, part, space=0), highlight=False)


def _table(lines: Sequence[Row], headings: Sequence[str], *, space: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, space))
    table.add_column("method", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(line.method, *(_cell(line, heading) for heading in headings))
    return table


def _cell(line: Row, heading: str) -> str:
    if heading == line.metric:
        return score_text(line)
    if heading in line.milliseconds:
        return f"{line.milliseconds[heading]:.2f}"
    if heading == PATH:
        return line.path
    if heading in TRAFFIC:
        return f"{getattr(line, TRAFFIC[heading]):,.{2 if heading == BITS else 1}f}"
    if not any((line.largest_integer, line.clips, line.overflows)):
        return "-"
    return count(getattr(line, FIGURES[heading]))


def count(value: int) -> str:
    """Whole as long as one can take it in."""
    return f"{value:,}" if value < 1_000_000 else f"{value:.2e}".replace("e+", "e")


def write_csv(results: Sequence[Result], path: Path) -> None:
    """The table, a line a method; times in ms."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_cells(rows(results)[0])))
        writer.writeheader()
        writer.writerows(_cells(row) for row in rows(results))


def _cells(row: Row) -> dict[str, str | int | float | None]:
    return {
        "method": row.method,
        "metric": row.metric,
        "mean": row.mean,
        "std": row.deviation,
        "seeds": len(row.scores),
        **{f"{phase}_ms": round(row.milliseconds[phase], 4) for phase in PHASES},
        "path": row.path,
        "kilobytes_up": round(row.kilobytes_up, 4),
        "kilobytes_down": round(row.kilobytes_down, 4),
        "bits_per_coordinate": round(row.bits_per_coordinate, 4),
        "largest_integer": row.largest_integer,
        "clips": row.clips,
        "overflows": row.overflows,
        "retransmissions": row.retransmissions,
    }


def write_markdown(results: Sequence[Result], path: Path) -> None:
    """The table, for a page."""
    lines = rows(results)
    headings = (lines[0].metric, *FIGURES, PATH, *TRAFFIC, *PHASES)
    cells = [
        ["method", *headings],
        ["---", *("---:" for _ in headings)],
        *([line.method, *(_cell(line, each) for each in headings)] for line in lines),
    ]
    table = "".join("| " + " | ".join(row) + " |\n" for row in cells)
    path.write_text(f"{caption(results)}\n\n{table}\n{LEGEND}\n", encoding="utf-8")


def write_json(results: Sequence[Result], path: Path) -> None:
    """Every run with its whole history."""
    document = [result.as_dict() for result in results]
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
