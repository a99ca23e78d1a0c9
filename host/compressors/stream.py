"""The two aggregations that compressors are made of: a scaled sum, and a maximum of
exponents. Both know the packets' contents, and nothing of algorithms."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, Layout, Network, Statistics
from host.compressors.integers import IntegerFormat
from host.compressors.quantize import (
    FIRST_NON_FINITE,
    FLOAT_BELOW_2_31,
    LARGEST_BITS,
    LARGEST_SUM,
    NO_LIMIT,
    NON_FINITE,
    NON_FINITE_CHUNKS,
    OVERFLOWS,
    PAYLOADS_DOWN,
    TALLIES,
    Plan,
    dequantize,
    float_at_most,
    quantize,
)
from host.packetizer import (
    EVERYBODY,
    Contributions,
    Integers,
    Results,
    Stream,
    make_ready,
    new_contributions,
)
from host.segments import Parts, whole_of
from switch.compiled import kernel
from switch.protocol import (
    HEADER_BYTES,
    NO_EXPONENT,
    ElementType,
    Flag,
    Reduction,
    kind_of,
)

NO_KEY = np.zeros(2, np.uint32)
BATCH = 128  # chunks


class Wanted(NamedTuple):
    """What is to become of the sums."""

    parts: Parts | None = None
    """How the vector is cut, and who gets which part. None: everybody gets all."""
    weight: float = 1.0
    """Of the mean."""


MEAN = Wanted()


class IntegerSum(Stream):
    """What sums of scaled vectors have in common, wherever the vectors lie."""

    def __init__(
        self,
        elements: int,
        network: Network,
        form: IntegerFormat,
        block_ends: Integers,
        clip: bool,
        wanted: Wanted,
    ) -> None:
        """elements: d, of the vector. clip, wanted: as `ScaledSum`."""
        self.elements = elements
        self.form = form
        self.kind = form.kind
        self.elements_per_chunk = form.elements_per_chunk(network.slot_bytes)
        segments = whole_of(elements, self.elements_per_chunk)
        self.recipients = EVERYBODY
        parts = wanted.parts
        if parts is not None:
            segments, self.recipients = parts.segments, parts.recipients
        self.num_chunks = segments.all_chunks
        self.starts, self.ends = segments.starts(), segments.ends()
        self.first_block = np.searchsorted(block_ends, self.starts, side="right")
        largest = form.clip_bound(network.num_workers) if clip else form.largest_element
        self.bound = min(float_at_most(largest), FLOAT_BELOW_2_31)
        self.limit = np.int32(largest) if clip else NO_LIMIT
        self.flag_beyond = int(Flag.CLIPPED if clip else Flag.OVERFLOW)
        # see `Plan`
        self.beyond = np.zeros(self.num_chunks, np.int64)
        self.empty = np.zeros(self.num_chunks, np.bool_)
        self.squares = np.zeros((len(block_ends), 2), np.int64)
        self.tally = np.zeros(TALLIES, np.int64)
        self.tally[FIRST_NON_FINITE] = -1
        self.own_chunks = np.arange(self.num_chunks)
        """Those whose sums this worker gets."""
        if parts is not None:
            self.own_chunks = np.flatnonzero(self.recipients == network.rank)
        own = self.own_chunks
        self.own = (self.starts[own[0]], self.ends[own[-1]]) if len(own) else (0, 0)
        """Which of the elements are theirs: from, and up to."""

    def finish(self) -> None:
        """What is left to do once all results are in."""

    def share(self) -> Any:
        """[d] what this worker sent, divided by the scales: see `Compressor.share`."""
        raise NotImplementedError

    @property
    def square_sums(self) -> list[int]:
        """[blocks] sum of squares of the integer sums, exactly."""
        return [(high << 32) + low for high, low in self.squares.tolist()]

    @property
    def non_finite(self) -> bool:
        """Whether some worker had a NaN or an infinity."""
        return bool(self.tally[NON_FINITE_CHUNKS])

    @property
    def first_non_finite(self) -> int | None:
        """Index of this worker's first one."""
        first = int(self.tally[FIRST_NON_FINITE])
        return None if first < 0 else first

    @property
    def overflows(self) -> int:
        """Results with the overflow flag."""
        return int(self.tally[OVERFLOWS])

    def add_to(self, statistics: Statistics, *, clip: bool = True) -> None:
        """Count what this aggregation did."""
        largest_bits = np.array(self.tally[LARGEST_BITS], np.int32)
        largest = float(largest_bits.view(np.float32))
        if np.isfinite(largest):  # infinite: a scale times an element, once in a life
            statistics.largest_integer = max(statistics.largest_integer, int(largest))
        largest_sum = int(self.tally[LARGEST_SUM])
        statistics.largest_sum = max(statistics.largest_sum, largest_sum)
        statistics.clips += int(self.beyond.sum()) if clip else 0
        statistics.overflows += self.overflows
        up, down = self.form.bytes_up, self.form.bytes_down
        empty_up, full_down = int(self.empty.sum()), int(self.tally[PAYLOADS_DOWN])
        full_up, empty_down = self.num_chunks - empty_up, self.num_chunks - full_down
        width = self.elements_per_chunk
        statistics.bytes_up += full_up * up(width) + empty_up * up(0)
        statistics.bytes_down += full_down * down(width) + empty_down * down(0)


class ScaledSum(IntegerSum):
    """Sum of round(scale * vector) over the workers, divided by n * scale.

    vector, mean: float32[d], d > 0; may be the same. scales: float32[blocks], at least
    2^-126 and at most `scales.LARGEST_SCALE`, or 0 where all workers have zeros.
    key: None for deterministic rounding, else see `random_key`. clip: clip integers at
    `form.clip_bound`, where no sum can overflow, and set the clipped flag; else send
    their low bits, as a cast would, and set the overflow flag where they do not fit.
    wanted: see there; `mean` is of this worker's parts.
    """

    fill_rows: ClassVar[Callable[..., None]] = staticmethod(quantize)
    drain_rows: ClassVar[Callable[..., None]] = staticmethod(dequantize)

    def __init__(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        form: IntegerFormat,
        *,
        block_ends: Integers,
        scales: NDArray[np.float32],
        key: NDArray[np.uint32] | None,
        clip: bool = True,
        wanted: Wanted = MEAN,
    ) -> None:
        super().__init__(len(vector), network, form, block_ends, clip, wanted)
        self.scaled = self.plan = Plan(
            vector=vector,
            mean=mean,
            mean_start=self.own[0],
            weight=float(wanted.weight),  # an integer would compile all anew
            block_ends=block_ends,
            scales=scales,
            first_block=self.first_block,
            starts=self.starts,
            ends=self.ends,
            elements_per_chunk=self.elements_per_chunk,
            element_bytes=form.element_bytes,
            result_bytes=form.result_bytes,
            bound=self.bound,
            limit=self.limit,
            flag_beyond=self.flag_beyond,
            random=key is not None,
            key=NO_KEY if key is None else key,
            beyond=self.beyond,
            empty=self.empty,
            squares=self.squares,
            tally=self.tally,
            recipients=self.recipients,
        )

    def share(self) -> Gradient:
        """[d] q_i / alpha: what this worker sent, read as results of one worker.

        Rounded once more, to the same integers: that takes less time than to keep them.
        """
        form, plan = self.form, self.scaled
        check_kept(plan.vector, plan.mean)
        share = np.empty_like(plan.vector)
        sent = new_contributions(BATCH, self.elements_per_chunk * form.element_bytes)
        once_more = plan._replace(tally=plan.tally.copy(), beyond=plan.beyond.copy())
        as_results = once_more._replace(
            mean=share,
            mean_start=0,
            weight=1.0,
            result_bytes=form.element_bytes,
            squares=np.zeros_like(plan.squares),
        )
        payload_at = np.arange(BATCH) * sent.packets.shape[1] + HEADER_BYTES
        one = np.ones(BATCH, np.int64)
        for start in range(0, self.num_chunks, BATCH):
            chunks = np.arange(start, min(start + BATCH, self.num_chunks))
            make_ready(sent, len(chunks), self.elements_per_chunk)
            quantize(once_more, chunks, sent)
            results = Results(
                sent.packets.reshape(-1), payload_at, sent.element_count, one,
                sent.exponent, sent.flags,
            )  # fmt: skip
            dequantize(as_results, chunks, results)
        return share


@kernel
def drain_sum(plan: Any, chunks: Integers, results: Results) -> None:
    """Of a plan that has a ScaledSum's as its `sum`."""
    dequantize(plan.sum, chunks, results)


def check_kept(vector: Gradient, mean: Gradient) -> None:
    """Raise RuntimeError if the mean was written over the vector: there is no share to
    be told then."""
    if np.may_share_memory(mean, vector):
        raise RuntimeError("share: the mean has been written over the gradient (out=)")


class ExponentPlan(NamedTuple):
    """What the kernels of an ExponentMax need."""

    exponents: Integers
    """[chunks] this worker's, each NO_EXPONENT to 127."""
    maxima: Integers
    """[chunks]"""


@kernel
def fill_exponents(
    plan: ExponentPlan, chunks: Integers, contributions: Contributions
) -> None:
    for i in range(len(chunks)):
        contributions.element_count[i] = 0
        contributions.exponent[i] = plan.exponents[chunks[i]]


@kernel
def drain_exponents(plan: ExponentPlan, chunks: Integers, results: Results) -> None:
    for i in range(len(chunks)):
        plan.maxima[chunks[i]] = results.exponent[i]


class ExponentMax(Stream):
    """Maximum over the workers of one exponent a chunk, in empty contributions.

    exponents: int64[k], each NO_EXPONENT to 127. Afterwards `maxima` has the maxima.
    """

    elements_per_chunk = 0
    kind = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
    plan: ExponentPlan
    fill_rows = staticmethod(fill_exponents)
    drain_rows = staticmethod(drain_exponents)

    def __init__(self, exponents: Integers) -> None:
        self.maxima = np.full_like(exponents, NO_EXPONENT)
        self.plan = ExponentPlan(np.ascontiguousarray(exponents), self.maxima)
        self.num_chunks = len(exponents)

    @property
    def non_finite(self) -> bool:
        """Whether some worker had a NaN or an infinity."""
        return bool((self.maxima == NON_FINITE).any())

    def add_to(self, statistics: Statistics) -> None:
        """Count what this aggregation did."""
        statistics.bytes_up += self.num_chunks * HEADER_BYTES
        statistics.bytes_down += self.num_chunks * HEADER_BYTES


class NotFinite(ValueError):
    """Some worker's gradient has a NaN or an infinity."""


def non_finite_error(
    first: int | None, layout: Layout, rank: int, step: int
) -> NotFinite:
    """What every worker raises in a step in which some gradient was not finite.

    first: index of this worker's first NaN or infinity, if it has one.
    """
    where = f"worker {rank}, step {step}"
    if first is None:
        return NotFinite(
            f"{where}: the gradient of another worker is not finite; "
            "its error names the tensor"
        )
    return NotFinite(
        f"{where}: {layout.locate(first)} is not finite: "
        "gradients must have neither NaN nor infinity"
    )


def first_non_finite(vector: Gradient) -> int | None:
    """Index of the first NaN or infinity. Slow path, for errors."""
    bad = np.flatnonzero(~np.isfinite(vector))
    return int(bad[0]) if len(bad) else None
