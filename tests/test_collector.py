"""Python's garbage collector rests during an aggregation, and only then."""

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from real_switch import RealSwitch, attempt, run_workers, running

from host.agent import Network
from host.packetizer import Barrier


@pytest.fixture(scope="module")
def switch() -> Iterator[RealSwitch]:
    with running() as switch:
        yield switch


@pytest.fixture(autouse=True)
def _enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


class Watching(Barrier):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def fill(self, *arguments: Any) -> None:
        self.seen.append(gc.isenabled())
        super().fill(*arguments)


class Failing(Barrier):
    def fill(self, *arguments: Any) -> None:
        raise KeyError("on purpose")


@pytest.mark.parametrize("enabled", [True, False])
def test_it_rests_during_an_aggregation(switch: RealSwitch, enabled: bool) -> None:
    def work(network: Network) -> tuple[list[bool], bool]:
        watching = Watching()
        if not enabled:
            gc.disable()  # the user's own choice
        network.aggregate(watching)
        return watching.seen, gc.isenabled()

    [(seen, after)] = run_workers(switch, 1, work)
    assert set(seen) == {False}
    assert after is enabled


def test_it_works_again_after_a_failure(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        try:
            network.aggregate(Failing())
        finally:
            assert gc.isenabled()

    [value] = attempt(switch, 1, work).values
    assert isinstance(value, KeyError)


def test_it_works_again_after_workers_side_by_side(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        for size in range(1, 2000, 97):
            network.sum(np.ones(size, np.int32))

    run_workers(switch, 4, work, num_slots=16)
    assert gc.isenabled()
