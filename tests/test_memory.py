"""host/compressors/memory.py: a vector kept by block."""

import numpy as np
import pytest

from host.compressors.base import Gradient, layout_of
from host.compressors.memory import Memory

HERE = layout_of([("a", 2), ("none", 0), ("b", 3)], 5)
TURNED = layout_of([("b", 3), ("a", 2)], 5)


def vector(*elements: float) -> Gradient:
    return np.array(elements, np.float32)


def test_it_is_zero_at_first() -> None:
    kept = vector(1, 2, 3, 4, 5)
    Memory().add_to(kept, HERE, 1)
    assert kept.tolist() == [1, 2, 3, 4, 5]


def test_it_goes_by_the_name_of_the_block() -> None:
    memory = Memory()
    memory.store(vector(1, 2, 3, 4, 5), HERE)
    memory.add(vector(30, 40, 50, 10, 20), TURNED)
    assert memory.vector(HERE).tolist() == [11, 22, 33, 44, 55]
    assert memory.vector(layout_of([("b", 3)], 3)).tolist() == [33, 44, 55]
    out = vector(0, 0, 0, 0, 0)
    memory.add_to(out, TURNED, -1)
    assert out.tolist() == [-33, -44, -55, -11, -22]


def test_what_it_was_given_and_what_it_gave_are_copies() -> None:
    memory, given = Memory(), vector(1, 2, 3, 4, 5)
    memory.store(given, HERE)
    state, copy = memory.state_dict(), memory.vector(HERE)
    given[:] = 9
    other = Memory()
    other.load_state_dict(state)
    memory.add(vector(1, 1, 1, 1, 1), HERE)
    assert copy.tolist() == other.vector(HERE).tolist() == [1, 2, 3, 4, 5]
    other.add(vector(1, 1, 1, 1, 1), HERE)
    assert state["a"].tolist() == [1, 2]


def test_a_block_may_not_change_its_size() -> None:
    memory = Memory()
    memory.store(vector(1, 1, 1), layout_of([("a", 3)], 3))
    with pytest.raises(ValueError, match="a has 4 elements: must have 3"):
        memory.of("a", vector(1, 1, 1, 1))


def test_a_block_lies_where_it_is_wanted() -> None:
    """Tensors on the CPU stand for those of a device."""
    torch = pytest.importorskip("torch")
    memory = Memory()
    memory.store(vector(1, 2, 3, 4, 5), HERE)
    given = torch.ones(5)
    memory.add_to(given, TURNED, 2)
    assert given.tolist() == [7, 9, 11, 3, 5]
    assert torch.equal(memory.vector(TURNED), torch.tensor([3.0, 4, 5, 1, 2]))
    memory.add(given, TURNED)
    state = memory.state_dict()
    assert isinstance(state["b"], np.ndarray)
    assert state["b"].tolist() == [10, 13, 16]
    memory.add(vector(1, 1, 1, 1, 1), HERE)
    assert isinstance(memory.vector(HERE), np.ndarray)
    assert state["b"].tolist() == [10, 13, 16]
