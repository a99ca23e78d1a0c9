"""host/compressors/device_codes.py, codewise.py and what leads there: signs and codes
that torch makes are those of the kernels. Tensors on the CPU stand for those of a
device; `test_device.COMPRESSORS` has whole trainings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch

import host.compressors.base as base
from host.compressors import compressor
from host.compressors.codewise import HERE, codewise

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
    name, options = options["name"], {k: v for k, v in options.items() if k != "name"}

    def work(network: LocalNetwork) -> tuple[Any, ...]:
        made = compressor(name, **options)
        try:
            mean = made.average(vectors[network.rank], network)
        except ValueError as error:
            return str(error), made.statistics
        share = np.asarray(made.share()).tobytes() if made.tells_share() else None
        return np.asarray(mean).tobytes(), share, made.statistics

    return list(results_of(run_workers(len(vectors), work, **tables)))


def places(vectors: NDArray[np.float32], kinds: list[Place]) -> list[Any]:
    return [kind(row.copy()) for kind, row in zip(kinds, vectors, strict=True)]


def assert_same_anywhere(options: Made, vectors: NDArray[np.float32]) -> None:
    """On arrays, on tensors, and on one tensor beside arrays."""
    here, there = np.asarray, torch.from_numpy
    made = compressor(**options)
    tables = made.tables(len(vectors))
    expected = outcomes(options, places(vectors, [here] * len(vectors)), **tables)
    for kinds in ([there] * len(vectors), [here, there, here]):
        assert outcomes(options, places(vectors, kinds), **tables) == expected


SIGNS: list[Made] = [
    {"name": "signsgd", "path": path} for path in ("network", "gather")
]


@pytest.mark.parametrize("options", SIGNS, ids=str)
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


@pytest.mark.parametrize("d", [0, 1, 7, 8, 9, 1000])
def test_bits_are_packed_as_numpy_packs_them(d: int) -> None:
    bits = np.random.default_rng(d).random(d) < 0.5
    found = codewise(torch.from_numpy(bits)).packbits(torch.from_numpy(bits))
    np.testing.assert_array_equal(found, HERE.packbits(bits))
    assert found.dtype == np.uint8
