"""Trees of switches: what the children of one switch of a job are, and whole trees."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from switch.config import Address, JobConfig, TreePlace
from switch.protocol import EVERY_WORKER

MAX_JOB_WORKERS = EVERY_WORKER  # ranks are below it

Tree = tuple[Any, ...]
"""A switch, by what is below it: workers by their ranks, and switches, Trees too."""
Path = tuple[int, ...]
"""Which switch: the root is (), the root's third child (2,), its first child (2, 0)."""


def switches_of(tree: Tree, at: Path = ()) -> Iterator[tuple[Path, Tree]]:
    """Every switch of a tree, those above first."""
    yield at, tree
    for place, child in enumerate(tree):
        if not isinstance(child, int):
            yield from switches_of(child, (*at, place))


def ranks_of(child: int | Tree) -> tuple[int, ...]:
    if isinstance(child, int):
        return (child,)
    return tuple(rank for each in child for rank in ranks_of(each))


def height_of(tree: Tree) -> int:
    """Switches on the longest way down, this one included."""
    switches = (each for each in tree if not isinstance(each, int))
    return 1 + max(map(height_of, switches), default=0)


def jobs_of(
    tree: Tree, job: JobConfig, switches: Mapping[Path, Address]
) -> dict[Path, JobConfig]:
    """A job, whose workers are those of the whole tree, as each switch has it.

    A switch waits for stragglers twice as long as those below it, and those at the
    bottom for `straggler_timeout`: whatever is late at every level, what is there comes
    up in time, for 1 + 2 + ... + 2^(h - 1) is less than 2^h.
    """
    jobs = {}
    for at, below in switches_of(tree):
        children = tuple(
            job.workers[child] if isinstance(child, int) else switches[*at, place]
            for place, child in enumerate(below)
        )
        place_in_tree = TreePlace(
            num_workers=len(job.workers),
            ranks=tuple(
                child if isinstance(child, int) else ranks_of(child) for child in below
            ),
            parent=switches[at[:-1]] if at else None,
        )
        patience = 2 ** (height_of(below) - 1) * job.straggler_timeout
        jobs[at] = replace(
            job, workers=children, tree=place_in_tree, straggler_timeout=patience
        )
    return jobs


def ranks_behind(job: JobConfig) -> list[tuple[int, ...]]:
    """The workers that each child leads to; a worker leads to itself."""
    if job.tree is None:
        return [(rank,) for rank in range(len(job.workers))]
    return [(each,) if isinstance(each, int) else each for each in job.tree.ranks]


def switches_below(job: JobConfig) -> int:
    """How many of the children are switches."""
    ranks = () if job.tree is None else job.tree.ranks
    return sum(not isinstance(each, int) for each in ranks)


def worker_fields(job: JobConfig) -> list[int]:
    """What each child writes into the worker field: a worker its rank, a switch how
    many workers it stands for."""
    if job.tree is None:
        return list(range(len(job.workers)))
    return [each if isinstance(each, int) else len(each) for each in job.tree.ranks]


def objections_to_tree(job: JobConfig) -> Iterator[str]:
    """Why a switch cannot have this place in a tree."""
    tree = job.tree
    if tree is None:
        return
    if not 1 <= tree.num_workers <= MAX_JOB_WORKERS:
        yield f"num_workers {tree.num_workers}: allowed are 1 to {MAX_JOB_WORKERS}"
    if len(tree.ranks) != len(job.workers):
        yield f"ranks for {len(tree.ranks)} children, but it has {len(job.workers)}"
    if tree.parent in job.workers:
        yield f"{tree.parent} is a child and the parent"
    times = Counter(rank for behind in ranks_behind(job) for rank in behind)
    for rank in sorted(times):
        if not 0 <= rank < tree.num_workers:
            yield f"rank {rank}: allowed are 0 to {tree.num_workers - 1}"
        elif times[rank] > 1:
            yield f"rank {rank} is behind several children"
    if () in tree.ranks:
        yield f"child {tree.ranks.index(())} leads to no worker"
    if tree.parent is None and len(times) < tree.num_workers:
        missing = min(set(range(tree.num_workers)) - set(times))
        yield f"no child of the root leads to rank {missing}"
