"""The options of `intswitch explore`."""

from __future__ import annotations

from typing import Annotated

from typer import Option

Workers = Annotated[
    int | None,
    Option(metavar="N", min=1, max=4, help="Explore this shape alone: N workers."),
]
Slots = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="A power of two. With --workers or --tree. Default: 1.",
    ),
]
Chunks = Annotated[
    str | None,
    Option(metavar="N+N", help="Of each aggregation, one after the other. Default: 4."),
]
FirstSequence = Annotated[
    int | None,
    Option(
        metavar="N",
        min=0,
        max=2**32 - 1,
        help="Of the job's first chunk. Default: 0.",
    ),
]
Tree = Annotated[
    str | None,
    Option(
        metavar="TREE",
        help="Explore this tree of switches alone: ((0,1),(2,3)) is a root with two"
        " switches of two workers each.",
    ),
]
Stragglers = Annotated[
    bool,
    Option(
        "--stragglers",
        help="Let results go out without workers that are late, at any moment. With"
        " --workers or --tree.",
    ),
]
Rejoin = Annotated[
    bool,
    Option(
        "--rejoin",
        help="Have workers that were left behind go on with an aggregation that another"
        " has begun. With --stragglers.",
    ),
]
Limit = Annotated[
    int | None,
    Option(metavar="N", min=1, help="Packets in flight of a worker: its window."),
]
Large = Annotated[bool, Option("--large", help="Larger shapes too: some minutes.")]
MostStates = Annotated[
    int, Option(metavar="N", min=1, help="Stop after so many states.")
]
