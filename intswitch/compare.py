"""Several compressors on one workload: same seeds, same data, same initial weights.

Or several jobs at the same time, on the same switches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from intswitch.experiment import Result, Training
from intswitch.fabrics import open_fabric
from intswitch.fabrics.course import FabricError
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
from intswitch.train import run, run_jobs


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
                console.print(f"wrote {path}", highlight=False, markup=False)


def run_at_once(
    training: Training,
    topology: Topology,
    fabric: str,
    folder: Path | None,
    console: Console,
) -> None:
    """Train all jobs of a topology at the same time; show, and write, each by itself.

    Raises FabricError for those that failed, once the others are done. An interrupt
    leaves the results of those that are.
    """
    names = [job.name for job in topology.jobs]
    folders = {name: folder_of(folder, name) for name in names} if folder else {}
    for each in folders.values():
        each.mkdir(parents=True, exist_ok=True)  # as in `run_all`
    results: dict[str, Result] = {}
    try:
        with (
            Display(console) as display,
            open_fabric(fabric, topology, display.status) as opened,
        ):
            done = [partial(results.__setitem__, name) for name in names]
            failures = run_jobs(opened, training, display.of_jobs(names), done)
    finally:
        for name in [name for name in names if name in results]:
            console.print(f"\njob {name}", style="bold", highlight=False, markup=False)
            summarize(results[name], console)
            for path in write([results[name]], folders[name]) if folders else ():
                console.print(f"wrote {path}", highlight=False, markup=False)
    told = [
        f"job {name} failed\n{failure}"
        for name, failure in zip(names, failures, strict=True)
        if failure is not None
    ]
    if told:
        raise FabricError("\n".join(told))


def folder_of(folder: Path, name: str) -> Path:
    """Of a job. Raises ValueError for a name that cannot be a folder's."""
    if name != Path(name).name or name == "..":
        raise ValueError(f"jobs: --output cannot make a folder named {name!r}")
    return folder / name


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
