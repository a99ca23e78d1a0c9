"""Options of `intswitch study`, with the texts that `--help` shows."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Argument, Option

Study = Annotated[
    Literal["loss", "slots", "collectives", "depth", "jobs"],
    Argument(metavar="STUDY", help="loss, slots, collectives, depth or jobs."),
]
QuickStudy = Annotated[
    bool, Option("--quick", help="Fewer cases and smaller vectors: seconds.")
]
LinkRate = Annotated[
    str, Option("--rate", metavar="RATE", help="Of every link, each way.")
]
LinkDelay = Annotated[
    str, Option("--delay", metavar="TIME", help="Of every link, one way.")
]
