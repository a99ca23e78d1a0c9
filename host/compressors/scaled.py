"""What compressors by scaled integer sums share: types, rounding, steps, errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Compressor, Layout, Network, is_tensor
from host.compressors.integers import integer_format, one_of
from host.compressors.norms import exponents_of, largest_bits_of
from host.compressors.quantize import random_key
from host.compressors.stream import (
    ExponentMax,
    IntegerSum,
    ScaledSum,
    first_non_finite,
    non_finite_error,
)
from host.packetizer import Integers

ROUNDINGS = ("random", "deterministic")
PATHS = ("network", "gather")
"""The sum in the switch, or everybody's message to everybody."""
WIRES = ("codes", "integers")
"""What goes to the switch: codes that it looks up, or what it would find there."""


class Elementwise(NamedTuple):
    """What touches every element of a vector, by where it lies."""

    sum: Callable[..., IntegerSum]
    largest_bits_of: Callable[[Any, Integers], NDArray[np.int32]]
    first_non_finite: Callable[[Any], int | None]


HERE = Elementwise(ScaledSum, largest_bits_of, first_non_finite)


def elementwise(vector: Any) -> Elementwise:
    """Flat vectors are tensors where they lie on a device, and arrays here."""
    if not is_tensor(vector):
        return HERE
    from host.compressors import device, device_sum  # need torch

    return Elementwise(
        device_sum.DeviceScaledSum, device.largest_bits_of, device.first_non_finite
    )


class ScaledCompressor(Compressor):
    """A compressor that sends round(scale * x)."""

    def __init__(
        self,
        element_type: str,
        result_type: str | None,
        rounding: str,
        seed: int,
        clip: bool = True,
    ) -> None:
        """element_type: of the contributions, int8, int16 or int32. result_type: of
        the sums, as wide or wider; None: the same. rounding: random or deterministic.
        seed: of random rounding; the workers' numbers differ all the same. clip: clip
        integers where no sum can overflow; else a sum that does is an OverflowError.
        """
        super().__init__()
        self.form = integer_format(element_type, result_type)
        self.rounding = one_of("rounding", rounding, ROUNDINGS)
        self.seed = seed
        self.clip = clip
        self.sent: IntegerSum | None = None
        """The last sum that came out well."""

    def key(self, network: Network) -> NDArray[np.uint32] | None:
        """Of this piece's random numbers on this worker; None: none are needed."""
        if self.rounding == "deterministic":
            return None
        return self.random_key(network)

    def random_key(self, network: Network) -> NDArray[np.uint32]:
        """The same, whether they are needed or not."""
        return random_key(self.seed, network.rank, self.step, self.piece.number)

    def max_exponents(
        self, vector: Any, network: Network, layout: Layout, block_ends: Integers
    ) -> Integers:
        """[blocks] each block's largest exponent over all workers, in one round."""
        own = exponents_of(elementwise(vector).largest_bits_of(vector, block_ends))
        return self.agreed_exponents(own, vector, network, layout)

    def agreed_exponents(
        self, own: Integers, vector: Any, network: Network, layout: Layout
    ) -> Integers:
        """[k] the largest of all workers' exponents. vector: what these are of, for the
        error that NON_FINITE is."""
        stream = ExponentMax(own)
        network.aggregate(stream)
        stream.add_to(self.statistics)
        if stream.non_finite:
            first = elementwise(vector).first_non_finite(vector)
            raise non_finite_error(first, layout, network.rank, self.step)
        return stream.maxima

    def complete(self, stream: IntegerSum, network: Network, layout: Layout) -> None:
        """Run the aggregation that ends a step; raise what all workers must raise."""
        network.aggregate(stream)
        stream.finish()
        stream.add_to(self.statistics, clip=self.clip)
        if stream.non_finite:
            raise non_finite_error(
                stream.first_non_finite, layout, network.rank, self.step
            )
        if stream.overflows:
            self.overflowed(stream.overflows)
        self.sent = stream

    def share(self) -> Any:
        if self.sent is None:
            raise RuntimeError("share: there has been no average yet")
        return self.sent.share()

    def overflowed(self, chunks: int) -> None:
        """What to do when so many results had the overflow flag."""
        raise OverflowError(
            f"step {self.step}: the sums of {chunks} chunks left the range of "
            f"{self.form.result.name.lower()}: clip, or take a wider result_type"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
