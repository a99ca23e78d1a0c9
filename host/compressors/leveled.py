"""What NUQSGD, QSGD and QSGDinf share: all but the levels and the norm.

Two paths lead to the mean. `network`: a norm common to all workers, and one level of
each element, which the switch adds; see `level_sum`. `gather`: the papers' own, norms
of each worker's own and coded messages for everybody; see `level_messages`.
"""

from collections.abc import Callable
from typing import Any

from host.compressors.base import Gradient, Layout, Network, is_tensor
from host.compressors.integers import (
    INTEGER_TYPES,
    IntegerFormat,
    integer_format,
    one_of,
)
from host.compressors.level_messages import gather_mean, message_of
from host.compressors.level_sum import LevelBlockSum, LevelSum, Rounded
from host.compressors.levels import grid_of, most_workers, scales_of, table_of
from host.compressors.norms import NORMS, block_ends, block_norms, exponents_of
from host.compressors.quantize import (
    FIRST_NON_FINITE,
    INFINITY_BITS,
    NON_FINITE,
)
from host.compressors.scaled import PATHS, WIRES, ScaledCompressor, elementwise
from host.compressors.stream import (
    IntegerSum,
    first_non_finite,
    non_finite_error,
)
from switch.protocol import ELEMENT_BITS, ElementType

COMMON_NORMS = ("exponent", "max")
LEVELS = ("paper", "authors")
BLOCK_SIZE = 512  # what a slot of 1024 bytes holds of int16 sums


def level_sum(vector: Any) -> Callable[..., IntegerSum]:
    """`LevelSum`, where the vector lies; see `elementwise`."""
    if not is_tensor(vector):
        return LevelSum
    from host.compressors.device_levels import DeviceLevelSum  # needs torch

    return DeviceLevelSum


def size_of_blocks(block_size: int | None, by_packet: bool) -> int:
    """What the option says, or ValueError; by_packet: a block is what a packet holds,
    and the size counts for nothing."""
    if by_packet and block_size is not None:
        raise ValueError(
            f"block_size is {block_size}: with common=exponent a block is what a "
            "packet holds; leave it out, or take common=max"
        )
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size is {block_size}: must be 1 or more")
    return block_size or BLOCK_SIZE


class Leveled(ScaledCompressor):
    """A compressor that sends one level of a grid for each element. State: step."""

    def __init__(
        self,
        kind: str,
        norm: str,
        *,
        bits: int = 4,
        path: str = "network",
        common: str = "exponent",
        block_size: int | None = None,
        result_type: str | None = None,
        levels: str = "paper",
        wire: str = "codes",
        seed: int = 0,
    ) -> None:
        """kind: of the grid, exponential or uniform. norm: l2 or linf.

        bits: of a level, its sign included. path: network or gather. common, of the
        path network: where the workers' common norm comes from. exponent: a power of
        two for each packet, pipelined; max: one round before, which finds the largest
        norm of each block (gradients may lie on a CUDA device then). block_size:
        elements that share a norm; None: 512, or, for exponent, what a packet holds
        (nothing else is possible there). The authors' experiments have 8192.
        result_type: of the sums; None: the narrowest that holds those of all workers.
        levels: paper, or authors: without a level 0, as in their code. wire, of the
        path network: codes, of 4 bits if `bits` fit them, else of 8, for which the job
        needs `tables`; or integers, as narrow as the largest level allows. seed: of
        random rounding; the workers' numbers differ all the same.
        """
        authors = one_of("levels", levels, LEVELS) == "authors"
        self.grid = grid_of(kind, bits, authors=authors)
        self.types = [name for name in INTEGER_TYPES if most_workers(self.grid, name)]
        if result_type is not None:
            one_of("result_type", result_type, self.types)
        super().__init__(self.types[0], result_type, "random", seed)
        self.norm = one_of("norm", norm, NORMS)
        self.path = one_of("path", path, PATHS)
        self.common = one_of("common", common, COMMON_NORMS)
        self.wire = one_of("wire", wire, WIRES)
        self.code = "code4" if bits <= 4 else "code8"
        self.result_type = result_type
        by_packet = path == "network" and common == "exponent"
        self.block_size = size_of_blocks(block_size, by_packet)
        self.devices = path == "network" and common == "max"
        self.rounded: Rounded | None = None  # for the last message, see `exchange`

    def form_for(self, num_workers: int) -> IntegerFormat:
        """What travels, or ValueError if no type holds the workers' sum."""
        allowed = [self.result_type] if self.result_type else self.types
        for name in allowed:
            if num_workers <= most_workers(self.grid, name):
                return self.form_of(name)
        name, top = allowed[-1], int(self.grid.top)
        most = most_workers(self.grid, name)
        raise ValueError(
            f"result_type {name}: the sum of {num_workers} workers' largest level, "
            f"{num_workers} x {top}, does not fit: it allows {most} workers"
        )

    def form_of(self, result_type: str) -> IntegerFormat:
        if self.wire == "integers":
            return integer_format(self.types[0], result_type)
        return IntegerFormat(ElementType[self.code.upper()], INTEGER_TYPES[result_type])

    def tables(self, num_workers: int) -> dict[str, tuple[int, ...]]:
        if self.path == "gather" or self.wire == "integers":
            return {}
        form = self.form_for(num_workers)
        table = table_of(self.grid, ELEMENT_BITS[form.element])
        return {self.code: tuple(table.tolist())}

    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        if self.path == "gather":
            self.exchange(vector, mean, network, layout)
            return
        self.form = self.form_for(network.num_workers)
        self.check_tables(network)
        if self.common == "max":
            self.sum_in_known_units(vector, mean, network, layout)
        else:
            self.sum_in_blocks(vector, mean, network, layout)

    def sum_in_blocks(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        """As `BlockExponent.estimate`: exponents one window ahead."""
        ends = block_ends(len(vector), self.form.elements_per_chunk(network.slot_bytes))
        exponents = exponents_of(block_norms(vector, ends, self.norm))
        finite = not (exponents == NON_FINITE).any()
        first = None if finite else first_non_finite(vector)
        window = exponents[: network.num_slots]
        maxima = self.agreed_exponents(window, vector, network, layout)
        stream = LevelBlockSum(
            vector,
            mean,
            network,
            self.grid,
            exponents,
            maxima,
            form=self.form,
            block_ends=ends,
            key=self.key(network),
        )
        if first is not None:
            stream.scaled.tally[FIRST_NON_FINITE] = first
        self.complete(stream, network, layout)

    def sum_in_known_units(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        """A round for the largest norms, and one for the sum."""
        ends = block_ends(len(vector), self.block_size)
        own = elementwise(vector).block_norms(vector, ends, self.norm)
        norms = self.agreed_maxima(own, INFINITY_BITS, vector, network, layout)
        stream = level_sum(vector)(
            vector,
            mean,
            network,
            self.grid,
            form=self.form,
            block_ends=ends,
            scales=scales_of(norms, self.grid),
            key=self.key(network),
        )
        self.complete(stream, network, layout)

    def exchange(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        """The papers' path."""
        ends = block_ends(len(vector), self.block_size)
        norms = block_norms(vector, ends, self.norm)
        finite = int(norms.max()) < INFINITY_BITS
        first = None if finite else first_non_finite(vector)
        key = self.random_key(network)
        message = message_of(vector, ends, norms, self.grid, key, self.statistics)
        if not gather_mean(message, mean, ends, self.grid, network, self.statistics):
            raise non_finite_error(first, layout, network.rank, self.step)
        scales = scales_of(norms, self.grid)
        self.rounded = Rounded(vector, mean, ends, scales, self.grid, key)

    def share(self) -> Any:
        return self.rounded.share() if self.rounded else super().share()
