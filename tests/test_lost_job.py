"""After an aggregation that did not end, a job is of no more use: and says so."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from real_switch import RealSwitch, attempt, running

from host.agent import AggregationError, Network


@pytest.fixture(scope="module")
def switch() -> Iterator[RealSwitch]:
    with running() as switch:
        yield switch


def test_a_job_is_lost_once_an_aggregation_did_not_end(switch: RealSwitch) -> None:
    """The workers may be one aggregation apart: a second try would add wrong chunks."""

    def work(network: Network) -> None:
        if network.rank == 1:
            time.sleep(1.0)
            network.barrier()  # completes with the barrier that worker 0 gave up
            return
        network.timeout = 0.3
        with pytest.raises(AggregationError, match="timeout"):
            network.barrier()
        with pytest.raises(AggregationError, match="did not end; join anew"):
            network.sum(np.ones(3, np.int32))
        time.sleep(1.5)

    assert attempt(switch, 2, work, job="lost").values == [None, None]
