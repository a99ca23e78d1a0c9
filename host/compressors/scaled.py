"""What compressors by scaled integer sums share: types, rounding, steps, errors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import (
    ENTIRE,
    Compressor,
    Layout,
    Network,
    flat_view,
    is_tensor,
    new_mean,
    padded_rows,
    shaped_like,
)
from host.compressors.integers import integer_format, one_of
from host.compressors.norms import (
    block_norms,
    exponents_of,
    largest_bits_of,
    squared_norm,
)
from host.compressors.quantize import random_key
from host.compressors.stream import (
    MEAN,
    ExponentMax,
    IntegerSum,
    ScaledSum,
    Wanted,
    first_non_finite,
    non_finite_error,
)
from host.packetizer import Integers
from host.segments import Parts, Segments, whole_of
from switch.protocol import HEADER_BYTES

ROUNDINGS = ("random", "deterministic")
PATHS = ("network", "gather")
"""The sum in the switch, or everybody's message to everybody."""
WIRES = ("codes", "integers")
"""What goes to the switch: codes that it looks up, or what it would find there."""


class Elementwise(NamedTuple):
    """What touches every element of a vector, by where it lies."""

    sum: Callable[..., IntegerSum]
    """As `ScaledSum`."""
    largest_bits_of: Callable[[Any, Integers], NDArray[np.int32]]
    block_norms: Callable[[Any, Integers, str], NDArray[np.int32]]
    """On a device, of blocks of one size, but for the last one."""
    squared_norm: Callable[[Any], float]
    first_non_finite: Callable[[Any], int | None]


HERE = Elementwise(
    ScaledSum, largest_bits_of, block_norms, squared_norm, first_non_finite
)


def elementwise(vector: Any) -> Elementwise:
    """Flat vectors are tensors where they lie on a device, and arrays here."""
    if not is_tensor(vector):
        return HERE
    from host.compressors import device, device_sum  # need torch

    return Elementwise(
        device_sum.DeviceScaledSum,
        device.largest_bits_of,
        device.block_norms,
        device.squared_norm,
        device.first_non_finite,
    )


def check_owners(owners: Integers, count: int, num_workers: int) -> None:
    """Raise ValueError unless there are so many, ascending: the switch would drop what
    is for nobody."""
    within = np.diff(owners, prepend=0, append=num_workers - 1)
    if owners.shape != (count,) or (within < 0).any():
        raise ValueError(
            f"owners {owners.tolist()}: must be {count} ranks below {num_workers}, "
            "ascending"
        )


def largest_bits(vector: Any) -> int:
    """`norms.largest_bits`, wherever the vector lies."""
    whole = np.array([len(vector)])
    return int(elementwise(vector).largest_bits_of(vector, whole)[0])


class ScaledCompressor(Compressor):
    """A compressor that sends round(scale * x)."""

    scatters: ClassVar[bool] = False
    """Whether it has `average_parts` and `weighing`: what it remembers, if anything, is
    not of the mean."""

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
        self.wanted = MEAN
        """Of the aggregation that ends the step."""

    def key(self, network: Network) -> NDArray[np.uint32] | None:
        """Of this piece's random numbers on this worker; None: none are needed."""
        if self.rounding == "deterministic":
            return None
        return self.random_key(network)

    def random_key(self, network: Network) -> NDArray[np.uint32]:
        """The same, whether they are needed or not."""
        return random_key(self.seed, network.rank, self.step, self.piece.number)

    def average_parts(self, parts: Any, network: Network, owners: Integers) -> Any:
        """Means of parts of a gradient, each on one worker alone.

        parts: float32 [k, m], k and m > 0, as `average` takes a gradient. owners: [k]
        ranks of the workers that get the parts' means, the same on every worker, and
        ascending. They are one gradient, and each begins with a chunk of its own.
        Returns [own parts, m] in the kind of the parts. Raises what `average` does, and
        ValueError for other owners.
        """
        count, size = parts.shape
        check_owners(owners, count, network.num_workers)
        vector = flat_view(parts, "parts", self.devices)
        per_chunk = self.form.elements_per_chunk(network.slot_bytes)
        width = size
        if is_tensor(vector):  # chunks are rows there
            width = -(-size // per_chunk) * per_chunk
            vector = padded_rows(vector, count, width)
        names = tuple(f"parts[{number}]" for number in range(count))
        layout = Layout(names, np.arange(1, count + 1) * width)
        own = int((owners == network.rank).sum())
        mean = new_mean(vector[: own * width])
        cut = Parts(Segments(count, width, per_chunk), owners)
        with self.wanting(self.wanted._replace(parts=cut)):
            self.take(vector, mean, network, layout, ENTIRE)
        self.statistics.steps += 1
        rows = mean.reshape(own, width)[:, :size]
        return shaped_like(parts[:own], rows.reshape(-1))

    def weighing(self, weight: float) -> AbstractContextManager[None]:
        """In it, means come out as so many times the mean."""
        return self.wanting(self.wanted._replace(weight=weight))

    @contextmanager
    def wanting(self, wanted: Wanted) -> Iterator[None]:
        before, self.wanted = self.wanted, wanted
        try:
            yield
        finally:
            self.wanted = before

    def segments(self, vector: Any, network: Network) -> Segments:
        """How the vector is cut into chunks."""
        if self.wanted.parts is not None:
            return self.wanted.parts.segments
        return whole_of(len(vector), self.form.elements_per_chunk(network.slot_bytes))

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
            self.not_finite(vector, network, layout)
        return stream.maxima

    def agreed_maxima(
        self,
        own: NDArray[Any],
        not_finite: int,
        vector: Any,
        network: Network,
        layout: Layout,
    ) -> NDArray[Any]:
        """The same of int8 or int32, as payloads. not_finite: the least that is of a
        vector with a NaN or an infinity."""
        maxima = network.max(own)
        per_chunk = network.slot_bytes // own.itemsize
        sent = -(-len(own) // per_chunk) * (HEADER_BYTES + per_chunk * own.itemsize)
        self.statistics.bytes_up += sent
        self.statistics.bytes_down += sent
        if int(maxima.max()) >= not_finite:
            self.not_finite(vector, network, layout)
        return maxima

    def not_finite(self, vector: Any, network: Network, layout: Layout) -> NoReturn:
        first = elementwise(vector).first_non_finite(vector)
        raise non_finite_error(first, layout, network.rank, self.step)

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
