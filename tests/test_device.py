"""host/compressors/device.py, device_sum.py and what leads there: torch makes what the
compiled kernels make, bit for bit. Tensors on the CPU stand for those of a device."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from local_network import Fabric, LocalNetwork, results_of, run_workers
from numpy.typing import NDArray
from quantizing import filled

pytest.importorskip("torch")

import torch

import host.compressors.base as base
import host.compressors.device as device
import host.compressors.device_sum as device_sum
import host.compressors.norms as norms
from host.compressors import compressor
from host.compressors.device import first_non_finite, largest_bits_of
from host.compressors.device_sum import DeviceScaledSum
from host.compressors.integers import integer_format
from host.compressors.quantize import NON_FINITE, random_key
from host.compressors.stream import IntegerSum, ScaledSum
from host.packetizer import Results
from host.staging import staged
from switch.protocol import NO_EXPONENT, Flag

MAX = torch.distributed.ReduceOp.MAX

FORMATS = [
    integer_format(element, result)
    for element, result in (
        *(("int8", None), ("int16", None), ("int32", None)),
        *(("int8", "int16"), ("int8", "int32"), ("int16", "int32")),
    )
]
SPECIAL = [0.0, -0.0, 1e-42, 0.5, 1.5, -2.5, 126.5, 3e9, -3e9, 3e38, np.inf, np.nan]
WORKERS = 3


@st.composite
def cases(draw: Any) -> dict[str, Any]:
    """A vector and all that is asked of its sum."""
    size = draw(st.integers(1, 90))
    usual = st.floats(-300, 300, width=32)
    finite = draw(st.sampled_from([usual, usual | st.sampled_from(SPECIAL)]))
    cuts = draw(st.lists(st.integers(0, size), max_size=3))
    scale = st.sampled_from([0.0, 2.0**-126, 0.37, 1.0, 1.0, 40.0, 3e7])
    return {
        "vector": draw(arrays(np.float32, size, elements=finite)),
        "block_ends": np.array([*sorted(cuts), size], np.int64),
        "scales": np.array(
            draw(st.lists(scale, min_size=len(cuts) + 1, max_size=len(cuts) + 1)),
            np.float32,
        ),
        "key": draw(st.sampled_from([None, random_key(1, 2, 3), random_key(-1, 0, 9)])),
        "form": draw(st.sampled_from(FORMATS)),
        "clip": draw(st.booleans()),
    }


def alone(made: base.Compressor | None = None) -> LocalNetwork:
    """The network of a job of one worker, with the tables that the compressor needs."""
    tables: Any = made.tables(1) if made else {}
    return LocalNetwork(Fabric(1, num_slots=4, slot_bytes=64, **tables), 0)


def pair_of(case: dict[str, Any]) -> tuple[ScaledSum, DeviceScaledSum]:
    network: Any = SimpleNamespace(num_workers=WORKERS, slot_bytes=32)
    case = dict(case)
    vector = case.pop("vector")
    here = ScaledSum(vector, np.full_like(vector, np.nan), network, **case)
    there = DeviceScaledSum(
        torch.from_numpy(vector), torch.full((len(vector),), torch.nan), network, **case
    )
    return here, there


def answer(stream: IntegerSum, seed: int) -> None:
    """Results of any sums; some without payload, some without a worker, some marked."""
    random = np.random.default_rng(seed)
    rows = stream.num_chunks
    width = stream.elements_per_chunk * stream.form.result_bytes
    full = random.random(rows) < 0.8
    stream.drain(
        random.permutation(rows),
        Results(
            random.integers(0, 256, rows * width, np.uint8),
            np.arange(rows) * width,
            np.where(full, stream.elements_per_chunk, 0),
            random.integers(1, WORKERS + 1, rows) if seed % 2 else np.full(rows, 3),
            np.where(random.random(rows) < 0.1, NON_FINITE, NO_EXPONENT),
            np.where(random.random(rows) < 0.1, int(Flag.OVERFLOW), 0),
        ),
    )
    stream.finish()


def equal(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


SPECIAL_CASE = {
    # chunks of 32: whole numbers, what is finite, what is not
    "vector": np.array(
        [*np.arange(32), *SPECIAL[:10], *np.zeros(22), *SPECIAL], np.float32
    ),
    "block_ends": np.array([60, 76]),
    "scales": np.array([40.0, 0.0], np.float32),
    "key": random_key(0, 0, 0),
    "form": FORMATS[0],
    "clip": True,
}


@settings(max_examples=60, deadline=None)
@example(SPECIAL_CASE, 24, 1)
@example(SPECIAL_CASE | {"clip": False, "key": None}, 24, 2)
@example(SPECIAL_CASE | {"scales": np.array([1.5, 1.5], np.float32)}, 24, 3)
@given(cases(), st.sampled_from([1, 24, 1 << 22]), st.integers(0, 100))
def test_all_is_as_the_kernels_make_it(
    case: dict[str, Any], part: int, seed: int
) -> None:
    """The packets, what is counted, the mean."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_sum, "PART", part)
        here, there = pair_of(case)
        for one, other in zip(filled(here), filled(there), strict=True):
            equal(one, other)
        # marks of chunks that are not finite end a step; nobody asks for a mean then
        answer(here, seed)
        answer(there, seed)
        if here.first_non_finite is None:
            equal(here.share(), there.share())
    equal(here.scaled.mean, there.mean)
    for name in ("beyond", "empty", "squares", "tally"):
        equal(getattr(here, name), getattr(there, name))
    assert here.first_non_finite == there.first_non_finite


def test_random_numbers_go_on_where_a_part_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where indices leave the range of an int32."""
    key = random_key(3, 1, 4)
    start = 2**31 - 5
    found = device.uniform(start, torch.zeros(10), key)
    from host.compressors.quantize import uniform

    expected = [uniform(np.uint32(start + i), key) for i in range(10)]
    equal(np.array(expected, np.float32), found)


def test_kernels_compile_without_a_device() -> None:
    seen: list[Any] = []
    network: Any = SimpleNamespace(
        num_workers=1, slot_bytes=64, aggregate=lambda stream: seen.append(stream)
    )
    device_sum.compile_kernels(network)
    (stream,) = seen
    assert isinstance(stream, DeviceScaledSum)
    assert filled(stream).payload[0, 0] == 1


def test_largest_elements() -> None:
    vector = np.array([1, -4, np.nan, 0, -0.0, 3e38, 2, 1e-42], np.float32)
    ends = np.array([2, 2, 3, 5, 6, 8])
    found = largest_bits_of(torch.from_numpy(vector), ends)
    equal(norms.largest_bits_of(vector, ends), found)
    assert first_non_finite(torch.from_numpy(vector)) == 2
    assert first_non_finite(torch.from_numpy(vector[:2])) is None


@pytest.mark.parametrize("size", [1, 63, 64, 200, 4096, 300_000])
def test_squares_add_up_to_the_same_bits(size: int) -> None:
    vector = 10 ** np.random.default_rng(7).uniform(-5, 5, size).astype(np.float32)
    there = torch.from_numpy(vector)
    assert device.squared_norm(there) == norms.squared_norm(vector)


# compressors


COMPRESSORS = {
    "intsgd": {},
    "intsgd blockwise": {"scale": "blockwise", "element_type": "int16"},
    "intsgd deterministic": {"rounding": "deterministic", "result_type": "int32"},
    "intsgd from a constant": {"first": "constant", "alpha_init": 5.0, "clip": False},
    "fixed": {"profile_steps": 2},
    "heuristic": {"element_type": "int32"},
    "signsgd": {},
    "signsgd by messages": {"path": "gather"},
    "memsgd": {"ratio": 0.1},
    "memsgd at random": {"memory": False, "ratio": 0.2, "select": "rand"},
    "memsgd by messages": {"path": "gather", "ratio": 0.1, "shift": 3.0},
    "natural": {},
    "natural of integers": {"wire": "integers", "result_type": "int16"},
    "natural by messages": {"path": "gather"},
    "fastsgd": {"feedback": True},
    "fastsgd of 4 bits": {"threshold": 5, "rounding": "random"},
    "fastsgd of another base": {"base": 1.5, "scale": "max", "wire": "integers"},
    "fastsgd by messages": {"base": 1.7, "rounding": "random", "path": "gather"},
    "intdiana": {"feedback": False},
    "intdiana blockwise": {"scale": "blockwise", "element_type": "int32"},
    "intsgd with feedback": {"feedback": True},
    "block_exponent": {"exponents": "first"},
    "block_exponent random": {
        "exponents": "first",
        "rounding": "random",
        "element_type": "int8",
        "result_type": "int16",
    },
    "nuqsgd": {"common": "max", "block_size": 20},
    "nuqsgd of 5 bits": {"common": "max", "bits": 5, "norm": "linf", "block_size": 33},
    "qsgd": {"common": "max", "wire": "integers", "levels": "authors"},
    "qsgdinf": {"common": "max", "bits": 8, "levels": "authors", "block_size": 1},
}


@pytest.fixture
def on_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor counts as one on a device."""
    monkeypatch.setattr(base, "is_on_device", lambda tensor: True)


def plain(state: Any) -> Any:
    """A state that `==` compares."""
    if isinstance(state, dict):
        return {name: plain(each) for name, each in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def trained(
    name: str, kind: Callable[[NDArray[np.float32]], Any]
) -> list[tuple[Any, ...]]:
    """Four steps of three workers, two pieces each: means, what is remembered."""
    blocks = [[("a", 40), ("b", 0), ("c", 17)], [("d", 30)]]

    def make() -> base.Compressor:
        options = {"scale": "plain"} if name == "intsgd deterministic" else {}
        return compressor(name.split()[0], **COMPRESSORS[name], **options)

    def work(network: LocalNetwork) -> tuple[Any, ...]:
        made = make()
        random = np.random.default_rng(network.rank)
        means = []
        for _ in range(4):
            for number, part in enumerate(blocks):
                size = sum(each for _, each in part)
                gradient = kind(random.normal(size=size).astype(np.float32))
                piece = base.Piece(number, number == 1)
                mean = made.average(gradient, network, part, gradient, piece)
                assert mean is gradient
                means.append(np.asarray(mean).tobytes())
        return means, plain(made.state_dict()), made.statistics

    tables: Any = make().tables(3)
    return list(results_of(run_workers(3, work, **tables)))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_trains_as_on_the_cpu(name: str, on_devices: None) -> None:
    assert trained(name, np.asarray) == trained(name, torch.from_numpy)


@pytest.mark.parametrize("name", ["intsgd", "nuqsgd", "qsgd"])
def test_workers_with_and_without_a_device_in_one_job(
    name: str, on_devices: None
) -> None:
    def work(network: LocalNetwork) -> bytes:
        made = compressor(name, **COMPRESSORS[name])
        gradient = np.linspace(-1, 1 + network.rank, 50, dtype=np.float32)
        vector = gradient if network.rank == 1 else torch.from_numpy(gradient)
        return np.asarray(made.average(vector, network)).tobytes()

    tables: Any = compressor(name, **COMPRESSORS[name]).tables(3)
    assert len(set(results_of(run_workers(3, work, **tables)))) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("intsgd", {"first": "constant"}),
        ("intsgd", {"first": "exponent"}),
        ("qsgd", {"common": "max", "wire": "integers"}),
        ("qsgdinf", {"common": "max", "wire": "integers"}),
    ],
)
def test_what_is_not_finite_is_named(
    name: str, options: dict[str, Any], on_devices: None
) -> None:
    def work(network: LocalNetwork) -> str:
        made = compressor(name, **options)
        vector = torch.zeros(70)
        if network.rank == 0:
            vector[68] = torch.inf
        with pytest.raises(ValueError, match="not finite") as caught:
            made.average(vector, network, [("a", 50), ("b", 20)])
        return str(caught.value)

    own, others = results_of(run_workers(2, work))
    assert "b[18] is not finite" in own
    assert "the gradient of another worker" in others


def test_a_mean_lies_where_its_gradient_does(on_devices: None) -> None:
    made, network = compressor("intsgd"), alone()
    mean = made.average(torch.ones(2, 3), network)
    assert mean.shape == (2, 3)
    equal(mean, compressor("intsgd").average(np.ones((2, 3), np.float32), network))
    with pytest.raises(TypeError, match="out is not on cpu: must be, as the gradient"):
        made.average(torch.ones(6), network, out=np.ones(6, np.float32))
    with pytest.raises(TypeError, match="out is not on cpu"):
        made.average(torch.ones(6), network, out=torch.ones(6, device="meta"))


def test_other_compressors_refuse_a_device(on_devices: None) -> None:
    class Elsewhere:
        type = "cuda"

        def __str__(self) -> str:
            return "cuda:0"

    tensor = SimpleNamespace(device=Elsewhere(), layout="torch.strided")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "is_tensor", lambda array: array is tensor)
        tensor.detach = lambda: tensor
        for name, options in (
            *(("block_exponent", {}), ("nuqsgd", {})),
            ("qsgd", {"path": "gather", "common": "max"}),
        ):
            with pytest.raises(TypeError, match=r"on cuda:0: .* move it with .cpu()"):
                compressor(name, **options).average(tensor, alone())


# where there is one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", COMPRESSORS)
def test_on_a_real_device(name: str) -> None:
    """A gradient is averaged where it lies."""

    def averaged(where: str) -> bytes:
        made = compressor(name.split()[0], **COMPRESSORS[name])
        network = alone(made)
        random = torch.Generator().manual_seed(0)
        for _ in range(3):
            values = torch.randn(100_003, generator=random)
            place = staged(values.to(where), torch.float32, made.devices)
            with place.working():
                gradient = place.get()
                made.average(gradient, network, out=gradient)
                place.put()
        assert place.tensor.device.type == where
        found: bytes = place.tensor.cpu().numpy().tobytes()
        return found

    assert averaged("cuda") == averaged("cpu")
