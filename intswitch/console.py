"""Where results are printed, and what several commands print."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rich.console import Console

from host.controller import Lateness

PIPE_WIDTH = 150  # columns, where the output is no terminal
COUNTERS = (
    "accepted", "results", "copies", "replays", "statuses", "malformed", "unknown_job",
    "unknown_source", "opcode", "ahead", "stale", "mismatch", "duplicate",
)  # fmt: skip


def new_console() -> Console:
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def show_address(address: tuple[str, int]) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    print(f"listening {host}:{address[1]}", flush=True)


def show_lateness(lateness: Sequence[Lateness]) -> None:
    """A line for each worker that others have waited for, the worst first."""
    for each in sorted(lateness, key=lambda each: (-each.missed, -each.seconds)):
        if each.last or each.missed:
            ranks = ", ".join(map(str, each.ranks))
            mean = 1e3 * each.seconds / max(each.last, 1)
            text = f"the last in {each.last:,} chunks, {mean:.2f} ms after the others"
            if each.missed:
                text += f"; {each.missed:,} results went out without it"
            print(f"worker {ranks}: {text}", flush=True)


def show_counters(values: Mapping[str, int]) -> None:
    """What became of packets first, then why others were dropped or lost."""
    known = [name for name in COUNTERS if name in values]
    width = max(map(len, values), default=0)
    # what faults have not done is not worth a line
    others = sorted(name for name in set(values) - set(known) if values[name])
    for name in [*known, *others]:
        print(f"{name:{width}}  {values[name]:>14,}", flush=True)
