"""`intswitch explore`: options in, exit status out."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from rich.console import Console
from rich.status import Status

from intswitch.explore.parties import Shape, parties_of
from intswitch.explore.report import table, trace
from intswitch.explore.search import Outcome, explore
from switch.protocol import SEQUENCE_MASK, Rule

SHAPES = (
    Shape(Rule.SAFE, 2, 1, (4,)),
    Shape(Rule.SAFE, 2, 1, (3, 4), SEQUENCE_MASK - 3),
    Shape(Rule.SAFE, 2, 2, (6,)),
    Shape(Rule.SAFE, 2, 2, (6,), SEQUENCE_MASK - 2, 1),
    Shape(Rule.SAFE, 3, 1, (4,)),
    Shape(Rule.SWITCHML, 2, 1, (4,)),
)
"""What is explored when nothing is asked for: seconds each."""

Found = list[tuple[Shape, Outcome, float]]


def run(shapes: Sequence[Shape], most_states: int, console: Console) -> int:
    """Explore, print the traces and the table; 1 if `safe` failed."""
    found: Found = []
    for shape in shapes:
        began = perf_counter()
        with console.status("exploring") as status:
            outcome = explore(parties_of(shape), most_states, shown(status, shape))
        found.append((shape, outcome, perf_counter() - began))
        for finding in (outcome.stuck, outcome.wrong):
            if finding:
                console.print(f"{shape.rule.name.lower()}: the shortest way to it")
                console.print(trace(finding, shape.num_slots), highlight=False)
    console.print(table(found))
    failed = any(
        shape.rule == Rule.SAFE and (outcome.wrong or outcome.stuck)
        for shape, outcome, _ in found
    )
    return int(failed)


class shown:  # noqa: N801
    """Tells how many states are known."""

    def __init__(self, status: Status, shape: Shape) -> None:
        self.status, self.shape = status, shape

    def __call__(self, states: int) -> None:
        self.status.update(
            f"{self.shape.rule.name.lower()}, {self.shape.num_workers} workers, "
            f"{self.shape.num_slots} slots: {states:,} states"
        )
