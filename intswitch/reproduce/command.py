"""`intswitch reproduce`: options in; table, files and exit status out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intswitch import reproduce
from intswitch.console import new_console
from intswitch.progress import Bar
from intswitch.reproduce.claims import LEGEND, Claim, Evidence, Item, Options

HEADINGS = ("source", "paper says", "we measured", "holds")


def run(paper: str, options: Options, folder: Path | None) -> bool:
    """Reproduce, show, write; whether every claim holds."""
    if options.data is not None:
        check_data(paper, options.data)
    folder = folder or Path("runs") / f"reproduce-{paper}"
    folder.mkdir(parents=True, exist_ok=True)  # or fail now rather than at the end
    console = new_console()
    with Stages(console) as progress:
        evidence = reproduce.load(paper)(options, progress)
    show(paper, evidence, console)
    for path in write(paper, evidence, folder):
        console.print(f"wrote {path}", highlight=False)
    return all(claim.holds for claim in evidence.claims)


def check_data(paper: str, data: Path) -> None:
    """Find mistakes while nothing has been computed."""
    takers = [name for name, each in reproduce.PAPERS.items() if each.takes_data]
    if paper not in takers:
        raise ValueError(
            f"--data {data}: {paper} needs no data file; {', '.join(takers)} take one"
        )
    with data.open("rb"):
        pass


class Stages(Bar):
    """A `claims.Progress`: the bar, or a line for every stage."""

    def over(self, items: Sequence[Item], text: str) -> Iterator[Item]:
        if not self.console.is_terminal:
            self.console.print(f"{text} ...", highlight=False)
        self.progress.reset(self.task, total=len(items), description=text)
        for item in items:
            yield item
            self.progress.advance(self.task)


def show(paper: str, evidence: Evidence, console: Console) -> None:
    """The end of the command: the table, what its marks mean, the notes."""
    console.print(f"\n{escape(reproduce.PAPERS[paper].citation)}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for claim in evidence.claims:
        verdict = "[green]yes[/]" if claim.holds else "[red]no[/]"
        texts = (marked(claim), claim.says, claim.measured)
        table.add_row(*map(escape, texts), verdict)
    console.print(table, highlight=False)
    for line in (*legend(evidence.claims), *evidence.notes):
        console.print(escape(line), highlight=False)


def marked(claim: Claim) -> str:
    """`section 3 [d]`"""
    return f"{claim.source} [{claim.basis}]" if claim.basis else claim.source


def legend(claims: Sequence[Claim]) -> list[str]:
    """A line for every mark that the table has."""
    used = {claim.basis for claim in claims}
    return [f"[{basis}] {text}" for basis, text in LEGEND.items() if basis in used]


def write(paper: str, evidence: Evidence, folder: Path) -> list[Path]:
    """claims.md, claims.json, figure.csv, figure.png; the paths."""
    table, document = folder / "claims.md", folder / "claims.json"
    table.write_text(markdown(paper, evidence), encoding="utf-8")
    claims = [asdict(claim) | {"basis": claim.basis.name} for claim in evidence.claims]
    everything = {"paper": paper, "claims": claims, "notes": list(evidence.notes)}
    document.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    numbers = folder / "figure.csv"
    write_rows(evidence, numbers)
    return [table, document, numbers, *draw(evidence, folder / "figure.png")]


def markdown(paper: str, evidence: Evidence) -> str:
    """The same table, for a page."""
    lines = [
        reproduce.PAPERS[paper].citation,
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|---|---|",
    ]
    for claim in evidence.claims:
        texts = (marked(claim), claim.says, claim.measured)
        cells = [" ".join(text.split()).replace("|", "\\|") for text in texts]
        verdict = "yes" if claim.holds else "**no**"
        lines.append("| " + " | ".join([*cells, verdict]) + " |")
    below = [*legend(evidence.claims), *evidence.notes]
    return "\n".join([*lines, "", *(f"- {line}" for line in below)]) + "\n"


def write_rows(evidence: Evidence, path: Path) -> None:
    """A cell that a row does not have stays empty."""
    columns = dict.fromkeys(name for row in evidence.rows for name in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(evidence.rows)


def draw(evidence: Evidence, path: Path) -> list[Path]:
    """The figure; none where matplotlib, which comes with an extra, is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return []
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    evidence.draw(figure)
    figure.savefig(path, dpi=150)
    return [path]
