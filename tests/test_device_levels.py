"""host/compressors/device_levels.py: torch makes the levels that the compiled kernels
make, bit for bit. Tensors on the CPU stand for those of a device; see test_device.py
for whole trainings."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray
from quantizing import filled

pytest.importorskip("torch")

import torch
from test_device import SPECIAL, WORKERS, answer, equal, on_devices

import host.compressors.device as device
import host.compressors.device_sum as device_sum
from host.compressors import compressor
from host.compressors.device_levels import DeviceLevelSum, position
from host.compressors.level_sum import LevelSum
from host.compressors.leveled import Leveled
from host.compressors.levels import BITS, grid_of, scales_of
from host.compressors.levels import position as position_here
from host.compressors.norms import LARGEST_NORM_BITS, block_ends
from host.compressors.norms import block_norms as block_norms_here
from host.compressors.quantize import LARGEST_BITS, random_key

__all__ = ["on_devices"]

GRIDS = [(kind, bits) for kind, each in BITS.items() for bits in each]
FINITE = [value for value in SPECIAL if np.isfinite(value)]
SMALL = [0.0, -0.0, 1e-42, 1e-42, 1.5]


def vector_of(seed: int, size: int, special: list[float]) -> NDArray[np.float32]:
    """Of all magnitudes, a tenth of it special."""
    random = np.random.default_rng(seed)
    usual = random.normal(size=size) * np.exp2(-random.integers(0, 20, size))
    chosen = random.choice(special, size)
    return np.where(random.random(size) < 0.1, chosen, usual).astype(np.float32)


@st.composite
def methods(draw: Any) -> Leveled:
    kind, bits = draw(st.sampled_from(GRIDS))
    return Leveled(
        kind,
        draw(st.sampled_from(["l2", "linf"])),
        bits=bits,
        common="max",
        block_size=draw(st.sampled_from([1, 7, 16, 33, 200])),
        result_type=draw(st.sampled_from([None, "int32"])),
        levels=draw(st.sampled_from(["paper", "authors"])),
        wire=draw(st.sampled_from(["codes", "integers"])),
    )


def pair_of(
    made: Leveled,
    vector: NDArray[np.float32],
    seed: int,
    largest: int = LARGEST_NORM_BITS,
) -> tuple[LevelSum, DeviceLevelSum]:
    """The sums of a vector, with norms that are its own, larger, or 0 where it has been
    made 0."""
    network: Any = SimpleNamespace(num_workers=WORKERS, slot_bytes=32)
    ends = block_ends(len(vector), made.block_size)
    which = np.random.default_rng(seed).integers(0, 8, len(ends))
    none = np.repeat(which == 7, np.diff(ends, prepend=0))
    vector = np.where(none, np.copysign(np.float32(0), vector), vector)
    own = np.minimum(block_norms_here(vector, ends, made.norm), largest)
    more = np.minimum(own + (1 << 23), largest).astype(np.int32)
    norms = np.select([which < 5, which < 7], [own, more], np.int32(0))
    options: dict[str, Any] = {
        "form": made.form_for(WORKERS),
        "block_ends": ends,
        "scales": scales_of(norms, made.grid),
        "key": random_key(0, 1, seed),
    }
    mean = np.full_like(vector, np.nan)
    tensor = torch.from_numpy(vector)
    return (
        LevelSum(vector, mean, network, made.grid, **options),
        DeviceLevelSum(
            tensor, torch.from_numpy(mean.copy()), network, made.grid, **options
        ),
    )


@settings(max_examples=40, deadline=None)
@example(Leveled("uniform", "linf", bits=2, common="max", block_size=33), 91, 24, 0)
@example(Leveled("exponential", "l2", bits=4, common="max", block_size=7), 91, 1, 1)
@example(
    Leveled("uniform", "l2", bits=8, common="max", levels="authors", block_size=16),
    *(91, 24, 2),
)
@example(
    Leveled(
        "exponential", "linf", bits=5, common="max", levels="authors", wire="integers"
    ),
    *(33, 1 << 22, 3),
)
@given(
    methods(),
    st.integers(1, 150),
    st.sampled_from([1, 24, 1 << 22]),
    st.integers(0, 1000),
)
def test_all_is_as_the_kernels_make_it(
    made: Leveled, size: int, part: int, seed: int
) -> None:
    """The packets, what is counted, the mean, the share."""
    # with SPECIAL, nearly all blocks have the largest norm there is
    vector = vector_of(seed, size, SPECIAL if seed % 4 == 0 else SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_sum, "PART", part)
        here, there = pair_of(made, vector, seed)
        for one, other in zip(filled(here), filled(there), strict=True):
            equal(one, other)
        answer(here, seed)
        answer(there, seed)
        equal(here.share(), there.share())
    equal(here.scaled.mean, there.mean)
    for name in ("beyond", "empty", "tally"):
        equal(getattr(here, name), getattr(there, name))


@pytest.mark.parametrize("authors", [False, True])
@pytest.mark.parametrize(("kind", "bits"), GRIDS)
def test_positions(kind: str, bits: int, authors: bool) -> None:
    """To the last of their bits, which hardly ever decide."""
    grid = grid_of(kind, bits, authors=authors)
    random = np.random.default_rng(0)
    x = random.random(40) * float(grid.top) * np.exp2(-random.integers(0, 26, 40))
    x[:6] = [0, grid.top, 2.0**-24, 1.5 * 2.0**-23, 2.5 * 2.0**-23, 1]
    expected = [position_here(each, grid) for each in x.astype(np.float32)]
    found = position(torch.from_numpy(x.astype(np.float32)), grid)
    equal(np.array(expected, np.int32), found)


@pytest.mark.parametrize("kind", BITS)
def test_nothing_but_zeros_is_sent_empty(kind: str) -> None:
    """Also where the levels have no 0."""
    made = Leveled(kind, "l2", bits=4, common="max", levels="authors", block_size=9)
    for stream in pair_of(made, np.zeros(70, np.float32), 0, largest=0):
        assert not filled(stream).element_count.any()
        assert stream.tally[LARGEST_BITS] == 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 500),
    st.sampled_from([1, 2, 63, 64, 65, 128, 200, 10**9]),
    st.sampled_from([1, 130, 1 << 22]),
    st.sampled_from([SPECIAL, FINITE, [0.0]]),
    st.integers(0, 1000),
)
def test_norms(
    size: int, block_size: int, part: int, special: list[float], seed: int
) -> None:
    vector, ends = vector_of(seed, size, special), block_ends(size, block_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "PART", part)
        for norm in ("l2", "linf"):
            found = device.block_norms(torch.from_numpy(vector), ends, norm)
            equal(block_norms_here(vector, ends, norm), found)


ONE_BITS = 0x3F800000
# Squares that add up to that of 1 + 2^-24, half-way between two float32: 1 is nearer to
# it by the rule of ties. Of each of what follows the square is 2^-54, and lost if it is
# added after that, but not if eight of them are added up before.
HALF_WAY = [1, 2.0**-12, 2.0**-12, 2.0**-24]
TINY = [2.0**-27] * 8


@pytest.mark.parametrize(
    ("in_order", "last_bit"), [(HALF_WAY + TINY, 0), (TINY + HALF_WAY, 1)]
)
@pytest.mark.parametrize("apart", [64, 1], ids=["one running sum", "many"])
def test_squares_are_added_in_the_kernels_order(
    in_order: list[float], last_bit: int, apart: int
) -> None:
    block = np.zeros(64 * 12, np.float32)
    block[: 12 * apart : apart] = in_order
    vector, ends = np.tile(block, 3), block_ends(3 * len(block), len(block))
    equal(block_norms_here(vector, ends, "l2"), [np.int32(ONE_BITS + last_bit)] * 3)
    equal(
        block_norms_here(vector, ends, "l2"),
        device.block_norms(torch.from_numpy(vector), ends, "l2"),
    )


@pytest.mark.parametrize("wire", ["codes", "integers"])
def test_what_is_beyond_the_largest_norm_is_clipped(
    wire: str, on_devices: None
) -> None:
    gradient = np.linspace(-3e38, 3e38, 100, dtype=np.float32)

    def make() -> Leveled:
        made = compressor("nuqsgd", common="max", wire=wire, block_size=30)
        assert isinstance(made, Leveled)
        return made

    def work(network: LocalNetwork) -> list[Any]:
        vectors: list[Any] = [gradient, torch.from_numpy(gradient)]
        outcomes = []
        for vector in vectors:
            made = make()
            mean = made.average(vector, network)
            share = np.asarray(made.share()).tobytes()
            outcomes.append((np.asarray(mean).tobytes(), share, made.statistics))
        return outcomes

    for here, there in results_of(run_workers(2, work, **make().tables(2))):
        assert here == there
        assert here[2].clips > 0
        assert here[2].largest_integer == 64


def test_a_share_is_told_where_the_mean_is_written_over_the_gradient(
    on_devices: None,
) -> None:
    """The integers are there yet."""
    made = compressor("qsgdinf", common="max", wire="integers", bits=8)
    with pytest.raises(RuntimeError, match="there has been no average yet"):
        made.share()
    gradient = torch.linspace(-1, 1, 100)

    def work(network: LocalNetwork) -> None:
        mean = made.average(gradient, network, out=gradient)
        equal(mean, made.share())

    results_of(run_workers(1, work))


def test_options_decide_whether_there_may_be_devices() -> None:
    taken = {
        (path, common): compressor("qsgd", path=path, common=common).devices
        for path in ("network", "gather")
        for common in ("exponent", "max")
    }
    assert [which for which, devices in taken.items() if devices] == [
        ("network", "max")
    ]
