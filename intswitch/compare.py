"""Several compressors on one workload: same seeds, same data, same initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from intswitch.experiment import Result, Training
from intswitch.fabrics import open_fabric
from intswitch.methods import Method
from intswitch.progress import Display
from intswitch.report import (
    summarize,
    tabulate,
    write_csv,
    write_json,
    write_markdown,
)
from intswitch.topology import Topology
from intswitch.train import run


def plan(base: Training, methods: Sequence[Method], seeds: int) -> list[Training]:
    """Every method with every seed; all methods of a seed before the next seed."""
    return [
        replace(
            base,
            compressor=method.compressor,
            options=method.options,
            **method.training,
            seed=base.seed + number,
        )
        for number in range(seeds)
        for method in methods
    ]


def compare(
    base: Training,
    methods: Sequence[Method],
    seeds: int,
    topology: Topology,
    fabric: str,
    display: Display,
) -> Iterator[Result]:
    """Do one training after the other on the same processes."""
    trainings = plan(base, methods, seeds)
    with open_fabric(fabric, topology, display.status) as opened:
        for number, training in enumerate(trainings, start=1):
            if len(trainings) > 1:
                display.prefix = f"{number}/{len(trainings)} "
            yield run(opened, training, display)


def run_all(
    base: Training,
    methods: Sequence[Method],
    seeds: int,
    topology: Topology,
    fabric: str,
    folder: Path | None,
    console: Console,
) -> None:
    """Train, show, write. Also when interrupted: what is finished is not lost."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)  # or fail now rather than at the end
    results: list[Result] = []
    try:
        with Display(console) as display:
            for result in compare(base, methods, seeds, topology, fabric, display):
                results.append(result)
    finally:
        if results:
            show(results, console)
        if results and folder:
            for path in write(results, folder):
                console.print(f"wrote {path}", highlight=False)


def show(results: Sequence[Result], console: Console) -> None:
    """One run: its summary. Several: the table."""
    if len(results) == 1:
        summarize(results[0], console)
    else:
        tabulate(results, console)


def write(results: Sequence[Result], folder: Path) -> list[Path]:
    """table.md, table.csv, results.json, figure.png, figure.svg; the paths."""
    page, table = folder / "table.md", folder / "table.csv"
    everything = folder / "results.json"
    write_markdown(results, page)
    write_csv(results, table)
    write_json(results, everything)
    try:
        from intswitch.figure import draw

        figures = draw(results, folder)
    except ModuleNotFoundError:  # matplotlib comes with an extra
        figures = []
    return [page, table, everything, *figures]
