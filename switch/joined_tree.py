"""A job whose workers joined through switches below: the job as each switch has it.

Every request names the switches that it has passed, from the worker's own upward.
"""

from collections.abc import Sequence

from switch.admission import JoinRequest, Refusal, numeric, text_of
from switch.config import Address, JobConfig
from switch.protocol import MAX_WORKERS
from switch.tree import Path, Tree, jobs_of

Ways = dict[int, tuple[Address, ...]]
"""By rank: the switches on the way from this one down to the worker."""


def way_to(request: JoinRequest) -> tuple[Address, ...]:
    """The switches from this one down to the worker that asks."""
    return tuple(numeric(each) for each in reversed(request.via))


def jobs_at(
    root: Address, job: JobConfig, requests: Sequence[JoinRequest]
) -> dict[Address, JobConfig]:
    """`job`, of all workers by rank, as each switch has it; by the data addresses of
    the switches, of which `root` is this one.

    Raises Refusal if a switch would have more children than a slot has bits.
    """
    ways = {request.rank: way_to(request) for request in requests}
    if not any(ways.values()):
        return {root: job}
    at: dict[Path, Address] = {(): root}
    tree = _below(ways, (), at)
    jobs = {at[path]: each for path, each in jobs_of(tree, job, at).items()}
    for switch, each in jobs.items():
        if len(each.workers) > MAX_WORKERS:
            raise Refusal(
                f"job {requests[0].job!r}: {len(each.workers)} workers and switches are"
                f" at the switch {text_of(switch)}: allowed are {MAX_WORKERS}"
            )
    return jobs


def _below(ways: Ways, path: Path, at: dict[Path, Address]) -> Tree:
    """What is below the switch at `path`: the branch to the lowest rank first."""
    children: list[int | Tree] = []
    branches: dict[Address, int] = {}
    ranks = [rank for rank in sorted(ways) if _passes(ways[rank], path, at)]
    for rank in ranks:
        way = ways[rank]
        if len(way) == len(path):
            children.append(rank)
        elif way[len(path)] not in branches:
            branches[way[len(path)]] = len(children)
            at[(*path, len(children))] = way[len(path)]
            children.append(())
    for place in branches.values():
        children[place] = _below(ways, (*path, place), at)
    return tuple(children)


def _passes(way: Sequence[Address], path: Path, at: dict[Path, Address]) -> bool:
    """Whether the way to a worker goes through the switch at `path`."""
    steps = [at[path[: depth + 1]] for depth in range(len(path))]
    return list(way[: len(path)]) == steps
