"""The switch in a process of its own, as users of the public API start it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import intswitch
from intswitch.switch_process import Switch


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    with intswitch.Switch("127.0.0.1", 0) as switch:
        yield switch


def test_takes_a_free_port(switch: Switch) -> None:
    assert switch.port > 0
    assert switch.endpoint == f"127.0.0.1:{switch.port}"


def test_adds_what_two_workers_send(switch: Switch) -> None:
    def work(rank: int) -> np.ndarray:
        with intswitch.join(
            switch.endpoint, job="demo", rank=rank, num_workers=2, timeout=30.0
        ) as network:
            return network.sum(np.arange(1000, dtype=np.int32) * (rank + 1))

    with ThreadPoolExecutor() as pool:
        for total in pool.map(work, range(2)):
            np.testing.assert_array_equal(total, np.arange(1000) * 3)


def test_says_why_it_does_not_start(switch: Switch) -> None:
    second = Switch("127.0.0.1", switch.port)
    text = rf"did not start: .*, port {switch.port} .UDP.: Address already in use"
    with pytest.raises(RuntimeError, match=text):
        second.start()
    assert second.child is None


def test_refuses_options_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="no option colour: it has rule, num_slots"):
        Switch(colour="red")


def test_hands_its_options_on() -> None:
    with pytest.raises(RuntimeError, match="--loss-in"):
        Switch(port=0, loss_in=2.0).start()


def test_close_ends_the_process_and_can_be_repeated() -> None:
    switch = Switch(port=0)
    switch.start()
    assert switch.child is not None
    process = switch.child.process
    switch.close()
    switch.close()
    assert process.poll() == 0
