"""host/compressors/device_codes.py, codewise.py and what leads there: signs and codes
that torch makes are those of the kernels. Tensors on the CPU stand for those of a
device; `test_device.COMPRESSORS` has whole trainings."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray
from quantizing import filled

pytest.importorskip("torch")

import torch
from test_device import answer, equal

import host.compressors.base as base
import host.compressors.device_codes as device_codes
import host.compressors.device_sum as device_sum
from host.compressors import compressor
from host.compressors.code_sum import CodeSum
from host.compressors.codewise import HERE, codewise
from host.compressors.integers import IntegerFormat
from host.compressors.logcodes import LogCodes
from host.compressors.quantize import random_key
from host.compressors.selection import top_k
from switch.protocol import ElementType

Made = dict[str, Any]
Place = Callable[[NDArray[np.float32]], Any]
SPECIAL = [0.0, -0.0, 1e-42, -1e-42, 1e-38, 0.5, -1.0, 1.0, 3.0, -3e38]


@pytest.fixture(autouse=True)
def on_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor counts as one on a device."""
    monkeypatch.setattr(base, "is_on_device", lambda tensor: True)


def outcomes(options: Made, vectors: list[Any], **tables: Any) -> list[tuple[Any, ...]]:
    """Of every worker: the mean's bytes or the error's text, its share's if it tells
    it, and its statistics."""

    def work(network: LocalNetwork) -> tuple[Any, ...]:
        made = compressor(**options)
        try:
            mean = made.average(vectors[network.rank], network)
        except ValueError as error:
            return str(error), made.statistics
        tells = made.tells_share() and len(mean) > 0
        share = np.asarray(made.share()).tobytes() if tells else None
        return np.asarray(mean).tobytes(), share, made.statistics

    return list(results_of(run_workers(len(vectors), work, **tables)))


def assert_same_anywhere(options: Made, vectors: NDArray[np.float32]) -> None:
    """On arrays, on tensors, and on one tensor beside arrays."""
    here, there = np.asarray, torch.from_numpy
    tables = compressor(**options).tables(len(vectors))

    def found(kinds: list[Place]) -> list[tuple[Any, ...]]:
        placed = [kind(row) for kind, row in zip(kinds, vectors.copy(), strict=True)]
        return outcomes(options, placed, **tables)

    expected = found([here, here, here])
    assert found([there, there, there]) == expected
    assert found([here, there, here]) == expected


OPTIONS: list[Made] = [
    {"name": "signsgd"},
    {"name": "signsgd", "path": "gather"},
    {"name": "memsgd", "k": 9, "rounding": "random"},
    {"name": "memsgd", "memory": False, "k": 0.5, "select": "rand"},
    {"name": "memsgd", "k": 9, "path": "gather"},
    {"name": "natural"},
    {"name": "natural", "path": "gather"},
    {"name": "fastsgd", "threshold": 4},
    {"name": "fastsgd", "base": 1.3, "scale": "max", "wire": "integers"},
    {"name": "fastsgd", "path": "gather", "rounding": "random", "threshold": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("bad", [None, np.nan, -np.inf])
def test_all_are_as_on_the_cpu(options: Made, bad: float | None) -> None:
    """The mean, the share, what is counted, and the error's words."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(3, 77)).astype(np.float32)
    vectors[:, : len(SPECIAL)] = SPECIAL
    vectors[2, 1 : len(SPECIAL)] *= -1
    if bad is not None:
        vectors[1, [50, 60]] = bad
    assert_same_anywhere(options, vectors)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_zeros_need_no_sums(options: Made) -> None:
    """Everywhere; where one worker alone has something; and where all is too small."""
    vectors = np.zeros((3, 40), np.float32)
    assert_same_anywhere(options, vectors)
    vectors[1, 33] = -0.25
    assert_same_anywhere(options, vectors)
    assert_same_anywhere(options, np.full_like(vectors, 1e-20))
    assert_same_anywhere(options, vectors[:, :0])


@pytest.mark.parametrize("d", [0, 1, 7, 8, 9, 1000])
def test_bits_are_packed_as_numpy_packs_them(d: int) -> None:
    bits = np.random.default_rng(d).random(d) < 0.5
    found = codewise(torch.from_numpy(bits)).packbits(torch.from_numpy(bits))
    equal(HERE.packbits(bits), found)


def test_places_may_lie_beyond_an_int32() -> None:
    for indices in ([0, 5, 7], [2**31 - 1], [3, 2**31], [2**40], []):
        found = device_codes.places(np.array(indices, np.int64), torch.zeros(1))
        assert found.tolist() == indices


@settings(max_examples=60, deadline=None)
@example([0.0, -0.0, 1e-42], 3)
@example([1, -1, 2, 1, -1, 1], 3)
@given(
    st.lists(st.sampled_from([0, 1, -1, 2, 3]) | st.floats(width=32), max_size=40),
    st.integers(0, 45),
)
def test_the_largest_are_those_of_the_kernels(numbers: list[float], k: int) -> None:
    """Of equal ones the first; no zeros; NaNs above all."""
    vector = np.array(numbers, np.float32)
    equal(top_k(vector, k), device_codes.top_k(torch.from_numpy(vector), k))


# codes


def near_bounds(log: LogCodes, exponent: int) -> NDArray[np.float32]:
    """Floats of all sizes, and those at and next to every bound, of both signs; as many
    as there may be for M = 2^exponent."""
    random = np.random.default_rng(0)
    sizes = np.ldexp(random.random(252) + 1, np.arange(-125, 127))
    bounds = log.places.bounds[1:-1].astype(np.float64)
    bounds = np.ldexp([*bounds, *log.levels, 1, 2], exponent)
    at = np.concatenate([bounds, sizes, np.abs(SPECIAL)])
    most = min(np.ldexp(0.99, exponent + 128), 3.4e38)
    found = at[at <= most].astype(np.float32)
    around = [np.nextafter(found, np.float32(side)) for side in (0, np.inf)]
    found = np.concatenate([found, *around])
    found = found[found <= most]
    return random.permutation(np.concatenate([found, -found]))


def encoded_alike(log: LogCodes, vector: NDArray[np.float32], exponent: int) -> None:
    key = random_key(4, 1, 2)
    found = device_codes.encode(log, torch.from_numpy(vector), exponent, key)
    equal(log.encode(vector, exponent, key), found)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    ("radix", "threshold", "bits"),
    [
        *((2.0, 0, -1), (2.0, 14, -1), (2.0, 126, -1), (1.01, 99, -1)),
        *((1.3, 60, 29), (16.0, 31, -1), (3.0, 6, 13)),
    ],
)
def test_codes_are_those_of_the_kernels(
    radix: float,
    threshold: int,
    bits: int,
    dense: bool,
    random: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On all sides of every bound, whatever M; in parts."""
    monkeypatch.setattr(device_codes, "PART", 1000)
    log = LogCodes(radix, threshold, random, dense, bits)
    for exponent in (-126, -1, 126):
        encoded_alike(log, near_bounds(log, exponent), exponent)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int32, st.integers(1, 50)),
    st.sampled_from([1.2, 2.0, 5.0]),
    st.integers(0, 40),
    st.booleans(),
    st.booleans(),
)
def test_codes_of_any_patterns(
    patterns: NDArray[np.int32],
    radix: float,
    threshold: int,
    random: bool,
    dense: bool,
) -> None:
    vector = np.nan_to_num(patterns.view(np.float32), nan=1, posinf=2, neginf=-2)
    encoded_alike(LogCodes(radix, threshold, random, dense), vector, 0)


# sums

TABLE = LogCodes(2.0, 6, False, False, 6).table
SOME = [int(code) for code in np.flatnonzero(TABLE)]
FORMS = [
    IntegerFormat(ElementType[element], ElementType[result])
    for element, result in (
        *(("INT8", "INT8"), ("INT8", "INT32"), ("INT16", "INT16"), ("INT32", "INT32")),
        *(("CODE4", "INT8"), ("CODE4", "INT32"), ("CODE8", "INT8"), ("CODE8", "INT32")),
    )
]


def sums_of(codes: NDArray[np.uint8], form: IntegerFormat) -> tuple[Any, Any]:
    network: Any = SimpleNamespace(num_workers=3, slot_bytes=32)
    mean = np.full(len(codes), np.nan, np.float32)
    told: dict[str, Any] = {"table": TABLE, "scale": 0.37}
    here = CodeSum(codes, mean, network, form, **told)
    vector, out = torch.from_numpy(codes), torch.from_numpy(mean.copy())
    return here, device_codes.DeviceCodeSum(vector, out, network, form, **told)


@settings(max_examples=40, deadline=None)
@example(SOME * 9, FORMS[4], 0)
@example([1, 129, 0] * 30 + [0] * 100 + [7, 135], FORMS[6], 1)
@example([0] * 3, FORMS[0], 1)
@given(
    st.lists(st.sampled_from([0, 0, *SOME]), min_size=1, max_size=99),
    st.sampled_from(FORMS),
    st.integers(0, 100),
)
def test_sums_are_those_of_the_kernels(
    codes: list[int], form: IntegerFormat, seed: int
) -> None:
    """The packets, the mean, what is counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_sum, "PART", 40)
        here, there = sums_of(np.array(codes, np.uint8), form)
        packets = filled(here), filled(there)
        for each in packets:
            each.packets[each.element_count == 0] = 0  # nothing of them is sent
        for one, other in zip(*packets, strict=True):
            equal(one, other)
        answer(here, seed)
        answer(there, seed)
    equal(here.scaled.mean, there.mean)
    for name in ("beyond", "empty", "squares", "tally"):
        equal(getattr(here, name), getattr(there, name))
    counts = base.Statistics(), base.Statistics()
    for stream, statistics in zip((here, there), counts, strict=True):
        stream.add_to(statistics)
    assert counts[0] == counts[1]
