"""`intswitch explore`: options in, exit status out."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.status import Status

from intswitch.explore.parties import parties_of
from intswitch.explore.report import table, trace
from intswitch.explore.search import Outcome, explore
from intswitch.explore.shapes import Shape
from switch.protocol import SEQUENCE_MASK, Rule
from switch.tree import Tree, ranks_of

SHAPES = (
    Shape(Rule.SAFE, 2, 1, (4,)),
    Shape(Rule.SAFE, 2, 1, (3, 4), SEQUENCE_MASK - 3),
    Shape(Rule.SAFE, 2, 2, (5,)),
    Shape(Rule.SAFE, 2, 2, (6,), SEQUENCE_MASK - 2, 1),
    Shape(Rule.SAFE, 3, 1, (4,)),
    Shape(Rule.SAFE, 4, 1, (3,), SEQUENCE_MASK - 1, tree=((0, 1), (2, 3))),
    Shape(Rule.SAFE, 3, 1, (2, 2), tree=(((0, 1),), 2)),
    Shape(Rule.SAFE, 2, 2, (3,), tree=((0,), (1,))),
    Shape(Rule.SAFE, 2, 1, (3,), stragglers=True),
    Shape(Rule.SAFE, 3, 1, (1,), tree=((0, 1), 2), stragglers=True),
    Shape(Rule.SAFE, 2, 1, (1, 1, 1), tree=((0,), 1), stragglers=True, rejoin=True),
    Shape(Rule.SWITCHML, 2, 1, (4,)),
)
"""What is explored when nothing is asked for: seconds each."""
LARGER = (
    Shape(Rule.SAFE, 2, 1, (9,), SEQUENCE_MASK - 4),
    Shape(Rule.SAFE, 2, 2, (7,)),
    Shape(Rule.SAFE, 4, 1, (5,), tree=((0, 1), (2, 3))),
    Shape(Rule.SAFE, 4, 1, (3,), tree=(((0,), (1,)), (2, 3))),
    Shape(Rule.SAFE, 2, 1, (5,), stragglers=True),
    Shape(Rule.SAFE, 3, 1, (2,), stragglers=True),
    Shape(Rule.SAFE, 3, 1, (2,), tree=((0, 1), 2), stragglers=True),
    Shape(Rule.SAFE, 2, 1, (3,), tree=((0,), (1,)), stragglers=True),
    Shape(Rule.SAFE, 2, 1, (3,), tree=(((0,),), 1), stragglers=True),
    Shape(Rule.SAFE, 2, 1, (1,) * 5, tree=((0,), 1), stragglers=True, rejoin=True),
)
"""Besides, with --large: some minutes in all."""


def check_options(
    workers: int | None,
    tree: str | None,
    given: Mapping[str, object],
    stragglers: bool,
    rejoin: bool,
) -> None:
    """Raises ValueError for options of one shape, given where there is none, and for
    options that exclude each other. `given`: options, None where they are not."""
    if workers is not None and tree is not None:
        raise ValueError("--workers: not beside --tree, which says who they are")
    lone = [f"--{name}" for name, value in given.items() if value is not None]
    flags = {"--stragglers": stragglers, "--rejoin": rejoin}
    lone += [name for name, is_given in flags.items() if is_given]
    if lone and workers is None and tree is None:
        raise ValueError(f"{', '.join(lone)}: only with --workers or --tree")
    if rejoin and not stragglers:
        raise ValueError("--rejoin: only with --stragglers: else nobody is left behind")


def shape(
    rule: str | None,
    workers: int,
    slots: int,
    chunks: str,
    first: int,
    limit: int | None,
    tree: str | None,
    stragglers: bool = False,
    rejoin: bool = False,
) -> Shape:
    """Of the command's options. Raises ValueError for chunks that are no numbers, or a
    tree that is none."""
    try:
        aggregations = tuple(int(each) for each in chunks.split("+"))
    except ValueError:
        raise ValueError(f"--chunks {chunks}: must be as 4 or 3+4") from None
    kept = Rule[(rule or "safe").upper()]
    switches = None if tree is None else tree_of(tree)
    workers = workers if switches is None else len(ranks_of(switches))
    return Shape(
        kept, workers, slots, aggregations, first, limit, switches, stragglers, rejoin
    )


def tree_of(text: str) -> Tree:
    """((0, 1), (2, 3)): a root with two switches of two workers each."""
    try:
        found = literal_eval(text)
    except (ValueError, SyntaxError):
        found = None
    if _is_tree(found):
        return tuple(found)
    raise ValueError(f"--tree {text}: must be as ((0, 1), (2, 3))")


def _is_tree(found: Any) -> bool:
    return isinstance(found, tuple) and all(
        type(each) is int or _is_tree(each) for each in found
    )


Found = list[tuple[Shape, Outcome, float]]


def run(shapes: Sequence[Shape], most_states: int, console: Console) -> int:
    """Explore, print the traces and the table; 1 if `safe` failed."""
    found: Found = []
    for shape in shapes:
        began = perf_counter()
        with console.status("exploring") as status:
            outcome = explore(parties_of(shape), most_states, shower(status, shape))
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


def shower(status: Status, shape: Shape) -> Callable[[int], None]:
    """Tells how many states it has gone through."""
    what = f"{shape.rule.name.lower()}, {shape.num_workers} workers"
    return lambda states: status.update(f"{what}: {states:,} states")
