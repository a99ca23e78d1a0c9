"""`intswitch study`: options in; figure, CSV and findings out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from intswitch import study
from intswitch.console import new_console
from intswitch.link_faults import TIMES, quantity
from intswitch.progress import Bar
from intswitch.study.base import Options, Row, Study
from intswitch.topology import RATES


def wanted(quick: bool, seed: int, rate: str, delay: str) -> Options:
    """Of the command's options. Raises ValueError for a rate or delay that is none."""
    return Options(
        quick=quick,
        seed=seed,
        rate=_quantity("--rate", rate, RATES),
        delay=_quantity("--delay", delay, TIMES),
    )


def _quantity(option: str, text: str, units: dict[str, float]) -> float:
    try:
        found = quantity(text, units)
    except ValueError as error:
        raise ValueError(f"{option} {text}: {error}") from None
    if found == 0:
        raise ValueError(f"{option} {text}: must be more than 0")
    return found


def run(name: str, options: Options, folder: Path | None) -> None:
    """Run a study, show what it says, write what it measured.

    What is finished is written also when it is interrupted.
    """
    chosen = study.load(name)
    folder = folder or Path("runs") / f"study-{name}"
    folder.mkdir(parents=True, exist_ok=True)  # or fail now rather than at the end
    console = new_console()
    console.print(f"{study.STUDIES[name]}.", highlight=False)
    rows: list[Row] = []
    try:
        measure(chosen, options, rows, console)
    finally:
        if rows:
            write(rows, folder / f"{name}.csv", console)
    for text in chosen.findings(rows):
        console.print(f"- {escape(text)}", highlight=False)
    draw(chosen, rows, folder / f"{name}.png", console)


def measure(chosen: Study, options: Options, rows: list[Row], console: Console) -> None:
    """Append a row for every case."""
    cases = chosen.cases(options)
    if not console.is_terminal:
        console.print(f"{len(cases)} simulations ...", highlight=False)
    with Bar(console) as bar:
        bar.progress.reset(bar.task, total=len(cases), description="simulating")
        for case in cases:
            shown = ", ".join(f"{name} {value}" for name, value in case.items())
            bar.progress.update(bar.task, description=shown)
            rows.append(case | chosen.measure(case, options))
            bar.progress.advance(bar.task)


def write(rows: Sequence[Row], path: Path, console: Console) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    console.print(f"wrote {path}", highlight=False)


def draw(chosen: Study, rows: Sequence[Row], path: Path, console: Console) -> None:
    """The figure; none where matplotlib, which comes with an extra, is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        console.print("no figure: pip install 'intswitch[plot]'", markup=False)
        return
    figure = Figure(figsize=(13, 5), layout="constrained")
    chosen.draw(rows, figure)
    figure.savefig(path, dpi=150)
    console.print(f"wrote {path}", highlight=False)
