"""intswitch/alltoall.py: what gloo is not asked to do.

What ranks do not do alike is in tests/torch_failures.py.
"""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from intswitch.alltoall import Parts, parts_of_lists, parts_of_rows
from intswitch.beside import BesideTheSwitch

FOUR, TWO_BY_THREE = torch.zeros(4), torch.zeros(2, 3)


def test_parts_of_rows() -> None:
    given = TWO_BY_THREE, torch.zeros(4, 3)
    assert parts_of_rows(*given, [2, 0], [1, 3], 2) == Parts([3, 9], [6, 0])
    assert parts_of_rows(*given, [], [], 2) == Parts([6, 6], [3, 3])
    nothing = torch.zeros(0, 3)
    assert parts_of_rows(nothing, nothing, [], [0, 0], 2) == Parts([0, 0], [0, 0])


def test_parts_of_lists() -> None:
    outputs = [TWO_BY_THREE, torch.zeros(0)]
    assert parts_of_lists(outputs, [FOUR, FOUR]) == Parts([4, 4], [6, 0])
    text = "all_to_all: tensors of torch.float32, torch.float64: expected one type"
    with pytest.raises(ValueError, match=re.escape(text)):
        parts_of_lists(outputs, [FOUR, FOUR.double()])


@pytest.mark.parametrize(
    ("tensors", "received", "sent", "said"),
    [
        ((FOUR, FOUR.double()), [], [], "torch.float64 to torch.float32: expected one"),
        ((FOUR, TWO_BY_THREE.t()), [], [], "input with strides (1, 3): expected conti"),
        ((torch.zeros(5), FOUR), [], [], "output of 5 rows in parts of [2, 2]: expe"),
        (
            (FOUR, FOUR),
            [2, 2],
            [1, 2],
            "input of 4 rows in parts of [1, 2]: expected 2",
        ),
        ((FOUR, FOUR), [5, -1], [2, 2], "output of 4 rows in parts of [5, -1]: expect"),
        ((FOUR, FOUR), [2, 2], [2, 1, 1], "input of 4 rows in parts of [2, 1, 1]: exp"),
    ],
)
def test_what_cannot_be(tensors: Any, received: Any, sent: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"all_to_all_single: {said}")):
        parts_of_rows(*tensors, received, sent, 2)


def test_without_check_gloo_begins_in_the_order_of_the_calls() -> None:
    """Not when the switch is through with what was before, here sooner, there later."""
    log: list[str] = []
    later: list[Callable[[], None]] = []

    def exchange(out: torch.Tensor, given: torch.Tensor, *_: Any) -> Any:
        log.append("begun")
        return SimpleNamespace(wait=lambda: (log.append("done"), out.copy_(given)))

    class Alone(BesideTheSwitch):
        _size = 1
        job: Any = SimpleNamespace(setup=SimpleNamespace(check=False))
        gloo: Any = SimpleNamespace(alltoall_base=exchange)

        def submit(self, what: Any, op: Any, tensors: Any, work: Any, *_: Any) -> Any:
            later.append(work)

    out = torch.zeros(4)
    Alone(0, 1).alltoall([out], [FOUR + 1])
    assert log == ["begun"]
    later[0]()
    assert log == ["begun", "done"]
    assert out.tolist() == [1, 1, 1, 1]
