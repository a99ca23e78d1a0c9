"""host/compressors/level_sum.py: sums of levels, exact up to the last worker."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from leveling import METHODS, SLOT, D, Gradients, N, gaussian, make, run, train
from local_network import LocalNetwork, results_of, run_workers
from world import Link, World

from host.compressors.level_sum import LevelSum
from host.compressors.leveled import Leveled
from host.compressors.quantize import LARGEST_SUM, random_key
from switch.protocol import HEADER_BYTES

LIMITS = [
    ("nuqsgd", 3, "int8", 31),
    ("nuqsgd", 4, "int8", 1),
    ("nuqsgd", 4, "int16", 511),
    ("nuqsgd", 5, "int16", 1),
    ("qsgdinf", 4, "int8", 18),
    ("qsgdinf", 8, "int16", 258),
]


@pytest.mark.parametrize("wire", ["codes", "integers"])
@pytest.mark.parametrize(("name", "bits", "result_type", "limit"), LIMITS)
def test_the_largest_number_of_workers_and_one_more(
    name: str, bits: int, result_type: str, limit: int, wire: str
) -> None:
    """All elements of all workers are the largest level: the sum is exact, and the
    network here detects overflows. One worker more is refused, with the reason."""
    linf = {"norm": "linf"} if name == "nuqsgd" else {}
    options = {
        "bits": bits,
        "result_type": result_type,
        "common": "max",
        "wire": wire,
    } | linf
    gradient = np.tile(np.array([1, -1], np.float32), 20)

    def work(network: LocalNetwork) -> tuple[Gradients, Leveled]:
        made = make((name, options))
        return made.average(gradient, network), made

    outcome = results_of(run(limit, work, make((name, options))))
    for mean, made in (outcome[0], outcome[-1]):
        np.testing.assert_allclose(mean, gradient, rtol=1e-6)
        assert made.statistics.largest_sum == limit * int(made.grid.top)
        assert made.statistics.overflows == 0
    with pytest.raises(ValueError, match=rf"does not fit: it allows {limit} workers"):
        make((name, options)).form_for(limit + 1)


def test_without_a_result_type_the_narrowest_is_taken() -> None:
    taken = {
        (name, bits, n): make((name, {"bits": bits})).form_for(n).result.name.lower()
        for name, bits, n in [
            *(("nuqsgd", 3, 31), ("nuqsgd", 3, 32), ("nuqsgd", 4, 1)),
            *(("nuqsgd", 4, 2), ("nuqsgd", 4, 512), ("nuqsgd", 5, 1)),
            *(("nuqsgd", 5, 2), ("qsgd", 4, 18), ("qsgd", 4, 19), ("qsgd", 8, 4)),
        ]
    }
    assert list(taken.values()) == [
        *("int8", "int16", "int8", "int16", "int32", "int16"),
        *("int32", "int8", "int16", "int16"),
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"bits": 3}, {"bits": 5}, {"common": "max", "block_size": 33}],
    ids=str,
)
@pytest.mark.parametrize("levels", ["paper", "authors"])
def test_codes_and_integers_are_the_same_sum(
    options: dict[str, Any], levels: str
) -> None:
    """Bit for bit, with the same blocks: a block that codes and integers share."""
    gradients, method = gaussian(3), ("nuqsgd", options | {"levels": levels})
    codes, integers = (
        train(gradients, method, wire=wire, result_type="int32")[0]
        for wire in ("codes", "integers")
    )
    assert codes[0].tobytes() == integers[0].tobytes()
    assert codes[1].statistics.largest_sum == integers[1].statistics.largest_sum
    assert codes[1].statistics.bytes_up < integers[1].statistics.bytes_up
    assert codes[1].statistics.bytes_down == integers[1].statistics.bytes_down


@pytest.mark.parametrize(("bits", "width"), [(3, 16), (4, 16), (5, 32)])
def test_four_bits_go_up_and_eight_where_levels_need_them(
    bits: int, width: int
) -> None:
    gradients = np.ones((1, N, 32), np.float32)
    options = {"bits": bits, "common": "max", "result_type": "int32"}
    made = train(gradients, ("nuqsgd", options))[0][1]
    chunks, norms = 2, HEADER_BYTES + SLOT
    assert made.statistics.bytes_up == norms + chunks * HEADER_BYTES + width


@pytest.mark.parametrize("method", ["nuqsgd", "nuqsgd, common max"])
def test_a_job_without_the_table_is_an_error_that_says_how_to_join(method: str) -> None:
    gradient = np.ones(D, np.float32)
    table = make(METHODS["qsgd"]).tables(N)

    def work(network: LocalNetwork) -> str:
        with pytest.raises(
            ValueError, match=r"join with \*\*compressor.tables"
        ) as error:
            make(METHODS[method]).average(gradient, network)
        return str(error.value)

    for text in results_of(run_workers(N, work, slot_bytes=SLOT)):
        assert "the job has no code4 table" in text
    for text in results_of(run_workers(N, work, slot_bytes=SLOT, **table)):
        assert "the job has another code4 table" in text


def test_tables_are_asked_for_where_codes_are_sent() -> None:
    assert make(METHODS["nuqsgd, gather"]).tables(4) == {}
    assert make(METHODS["nuqsgd, integers"]).tables(4) == {}
    levels = (0, 1, 2, 4, 8, 16, 32, 64)
    expected = levels + tuple(-level for level in levels)
    assert make(METHODS["nuqsgd"]).tables(4) == {"code4": expected}
    assert len(make(METHODS["qsgdinf of 8 bits"]).tables(4)["code8"]) == 256
    with pytest.raises(ValueError, match="it allows 1 workers"):
        make(METHODS["nuqsgd"], result_type="int8").tables(2)


@pytest.mark.parametrize("method", ["nuqsgd", "nuqsgd of 5 bits", "nuqsgd, integers"])
def test_the_emulated_switch_has_the_same_sums(method: str) -> None:
    """The real pipeline and window, packets lost, repeated and late; at worst inputs:
    every element at the largest level, in all combinations of signs."""
    n, d = 3, 400
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, -1]], np.float32)
    gradients = np.tile(signs, d // 4)
    made = make(METHODS[method])
    world = World(
        n,
        link=Link(jitter=5e-3, loss=0.05, repeat=0.05),
        slot_bytes=SLOT,
        **made.tables(n),
    )
    streams = [
        LevelSum(
            gradients[rank],
            np.full(d, np.nan, np.float32),
            SimpleNamespace(rank=rank, num_workers=n, slot_bytes=SLOT),
            made.grid,
            form=made.form_for(n),
            block_ends=np.array([d]),
            scales=np.array([made.grid.top]),
            key=random_key(0, rank, 0),
        )
        for rank in range(n)
    ]
    world.aggregate(streams)
    exact = (gradients.sum(axis=0) * made.grid.top / (n * made.grid.top)).astype(float)
    for stream in streams:
        np.testing.assert_allclose(stream.scaled.mean, exact, rtol=1e-6)
        assert stream.scaled.mean.tobytes() == streams[0].scaled.mean.tobytes()
        assert stream.scaled.tally[LARGEST_SUM] == n * int(made.grid.top)
        assert stream.overflows == 0
