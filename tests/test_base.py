"""host/compressors/base.py: what goes into `average`, and how it comes out."""

from typing import Any

import numpy as np
import pytest
import torch

from host.compressors.base import Compressor, Gradient, Layout, Network, layout_of

NETWORK: Any = None


class Double(Compressor):
    """Twice the vector; keeps what it was given."""

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        self.vector, self.layout = vector, layout
        np.multiply(vector, 2, out=mean)


@pytest.mark.parametrize("shape", [(0,), (1,), (), (7,), (2, 3), (2, 0, 3)])
def test_arrays_and_tensors_keep_kind_and_shape(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.float32)
    mean = Double().average(array, NETWORK)
    assert isinstance(mean, np.ndarray)
    assert (mean.shape, mean.dtype) == (shape, np.float32)
    np.testing.assert_array_equal(mean, 2 * array)
    tensor = Double().average(torch.from_numpy(array), NETWORK)
    assert isinstance(tensor, torch.Tensor)
    assert (tuple(tensor.shape), tensor.dtype) == (shape, torch.float32)
    assert (tensor == 2).all()


def test_nothing_is_copied_and_nothing_changed() -> None:
    for given in (np.ones(4, np.float32), torch.ones(4, requires_grad=True)):
        double = Double()
        double.average(given, NETWORK)
        plain = given if isinstance(given, np.ndarray) else given.detach().numpy()
        assert np.shares_memory(double.vector, plain)
        assert (plain == 1).all()


def test_what_does_not_lie_in_a_row_is_copied() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    np.testing.assert_array_equal(Double().average(array, NETWORK), 2 * array)
    tensor = torch.from_numpy(array)
    assert (Double().average(tensor, NETWORK) == 2 * tensor).all()


def test_out_is_written_and_returned() -> None:
    array = np.ones(4, np.float32)
    assert Double().average(array, NETWORK, out=array) is array
    assert (array == 2).all()
    tensor = torch.ones(2, 2)
    assert Double().average(tensor, NETWORK, out=tensor) is tensor
    assert (tensor == 2).all()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.ones(3), "float64: must be float32"),
        (np.ones(3, ">f4"), "must be float32"),
        (np.ones(3, np.int8), "int8: must be float32"),
        (torch.ones(3, dtype=torch.float16), "must be torch.float32"),
        (torch.ones(3).to_sparse(), "must be dense"),
        (torch.ones(3, device="meta"), "on the CPU"),
        ([1.0, 2.0], "list: must be a float32 NumPy array or torch tensor"),
        (None, "NoneType"),
    ],
)
def test_other_types_are_told_the_right_one(given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Double().average(given, NETWORK)


def test_unusable_outs_are_refused() -> None:
    memory = np.ones(5, np.float32)
    array = memory[:4]
    locked = np.ones(4, np.float32)
    locked.flags.writeable = False
    for out, text in (
        (np.ones(5, np.float32), "5 elements: must have 4"),
        (np.ones(8, np.float32)[::2], "not contiguous"),
        (locked, "read-only"),
        (memory[1:], "overlaps the gradient"),
    ):
        with pytest.raises(ValueError, match=text):
            Double().average(array, NETWORK, out=out)
    for wrong in ([0.0], np.ones(4)):
        with pytest.raises(TypeError, match="out "):
            Double().average(array, NETWORK, out=wrong)  # type: ignore[arg-type]


def test_blocks_must_fit() -> None:
    array = np.ones(4, np.float32)
    double = Double()
    double.average(array, NETWORK, blocks=[("weight", 3), ("bias", 1)])
    assert double.layout.names == ("weight", "bias")
    assert double.layout.ends.tolist() == [3, 4]
    for blocks, text in (
        ([("weight", 3)], "add up to 3, and the gradient has 4"),
        ([("weight", 2), ("weight", 2)], "names must differ"),
        ([("weight", 5), ("bias", -1)], "bias has -1 elements"),
    ):
        with pytest.raises(ValueError, match=text):
            double.average(array, NETWORK, blocks=blocks)


def test_elements_are_found_in_their_block() -> None:
    layout = layout_of([("a", 2), ("empty", 0), ("b", 3)], 5)
    found = [layout.locate(i) for i in range(5)]
    assert found == ["a[0]", "a[1]", "b[0]", "b[1]", "b[2]"]
    assert [name for name, _ in layout.split(np.zeros(5, np.float32))] == [
        *("a", "empty", "b")
    ]
    assert layout_of(None, 7).locate(6) == "gradient[6]"


def test_steps_count_only_what_came_out() -> None:
    double = Double()
    double.average(np.ones(1, np.float32), NETWORK)
    with pytest.raises(TypeError):
        double.average([1.0], NETWORK)
    assert double.statistics.steps == 1
