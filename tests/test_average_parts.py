"""`ScaledCompressor.average_parts`: every part's mean where it is wanted, and nowhere
else."""

from typing import Any

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors import base, compressor
from host.compressors.scaled import ScaledCompressor

N = 3
SCATTERING: dict[str, dict[str, Any]] = {
    "block_exponent": {},
    "block_exponent first": {"exponents": "first"},
    "fixed": {"bound": 4.0},
    "heuristic": {"element_type": "int32"},
}
Outcome = tuple[NDArray[np.float32], ScaledCompressor]


def made(name: str, **options: Any) -> ScaledCompressor:
    found = compressor(name.split()[0], **SCATTERING[name] | options)
    assert isinstance(found, ScaledCompressor)
    assert found.scatters
    return found


def parts_of(
    gradients: NDArray[np.float32], name: str, owners: list[int], **options: Any
) -> list[Outcome]:
    def work(network: LocalNetwork) -> Outcome:
        by = made(name, **options)
        own = gradients[network.rank].copy()
        return by.average_parts(own, network, np.array(owners)), by

    return results_of(run_workers(len(gradients), work))


def gradients(count: int, size: int) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    found = random.uniform(-1, 1, (N, count, size)).astype(np.float32).clip(-0.5, 0.5)
    found[0, 0, 0] = 0.5  # heuristic clips what is larger than this power of two
    return found


@pytest.mark.parametrize("size", [1, 15, 16, 33, 400])
@pytest.mark.parametrize("name", SCATTERING)
def test_each_worker_has_the_mean_of_its_part(name: str, size: int) -> None:
    """A slot has 16 elements: parts end within a chunk, and with one. Chunks of zeros
    come without payload, before their neighbours and after."""
    given = gradients(N, size)
    for start in range(16, size - 16, 48):
        given[..., start : start + 16] = 0
    exact = given.mean(axis=0)
    for rank, (mean, _) in enumerate(parts_of(given, name, [0, 1, 2])):
        assert mean.shape == (1, size)
        np.testing.assert_allclose(mean[0], exact[rank], atol=1e-6)


@pytest.mark.parametrize("rounding", ["deterministic", "random"])
@pytest.mark.parametrize(
    "name", [name for name in SCATTERING if name != "block_exponent"]
)
def test_tensors_on_devices_are_as_arrays(
    name: str, rounding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors on the CPU stand for a device's. Parts of one chunk and a half, of int8:
    random numbers go by places in chunks, padded or not."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(base, "is_on_device", lambda tensor: True)
    options = {"rounding": rounding, "element_type": "int8"}
    given, owners = gradients(N, 96), [0, 1, 1]

    def work(network: LocalNetwork) -> Outcome:
        own, by = torch.from_numpy(given[network.rank]), made(name, **options)
        mean = by.average_parts(own, network, np.array(owners))
        assert isinstance(mean, torch.Tensor)
        return mean.numpy(), by

    expected = parts_of(given, name, owners, **options)
    for one, other in zip(expected, results_of(run_workers(N, work)), strict=True):
        assert one[0].tobytes() == other[0].tobytes()
        assert one[1].statistics == other[1].statistics
        share = np.asarray(other[1].share()).reshape(N, -1)[:, :96]
        assert one[1].share().tobytes() == share.tobytes()
    assert [len(mean) for mean, _ in expected] == [1, 2, 0]


def test_what_is_clipped_is_counted_as_it_was_rounded() -> None:
    """At random, to the largest integer or beyond: 42.5 of at most 42."""
    given = np.full((N, N, 80), 42.5 / 84, np.float32)
    options = {"element_type": "int8", "rounding": "random"}
    outcomes = parts_of(given, "heuristic", [0, 1, 2], **options)
    clips = [by.statistics.clips for _, by in outcomes]

    def work(network: LocalNetwork) -> int:
        """The same elements where 64 of them are a chunk: padded by zeros."""
        by, padded = made("heuristic", **options), np.zeros((N, 128), np.float32)
        padded[:, :80] = given[network.rank]
        by.average(padded, network)
        return by.statistics.clips

    assert clips == results_of(run_workers(N, work))
    assert all(0 < each < 240 for each in clips)


@pytest.mark.parametrize("name", SCATTERING)
def test_one_worker_may_have_all_and_others_none(name: str) -> None:
    given = gradients(2, 20)
    outcomes = parts_of(given, name, [1, 1])
    assert [len(mean) for mean, _ in outcomes] == [0, 2, 0]
    np.testing.assert_allclose(outcomes[1][0], given.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("owners", [[0], [0, 0, 0], [1, 0], [0, 2], [-1, 0]])
def test_parts_are_for_workers_that_there_are(owners: list[int]) -> None:
    """The switch drops what is for nobody, and all would wait."""
    with pytest.raises(ValueError, match="must be 2 ranks below 2, ascending"):
        parts_of(gradients(2, 20)[:2], "heuristic", owners)


@pytest.mark.parametrize("name", SCATTERING)
def test_what_others_get_does_not_come(name: str) -> None:
    """Of three parts of 320 elements one comes: 20 payloads of 64 bytes."""
    given = gradients(N, 320)

    def work(network: LocalNetwork) -> tuple[int, int]:
        whole, by_parts = made(name), made(name)
        whole.average(given[network.rank], network)
        by_parts.average_parts(given[network.rank], network, np.arange(N))
        assert by_parts.statistics.steps == 1
        return whole.statistics.bytes_down, by_parts.statistics.bytes_down

    for all_bytes, bytes_down in results_of(run_workers(N, work)):
        assert all_bytes - bytes_down == 2 * 20 * 64


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", SCATTERING)
def test_a_weighed_mean(
    name: str, on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and of parts; by a power of two to the last bit, and what is remembered
    and told of it is the mean's."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(base, "is_on_device", lambda tensor: on_device)
    given = gradients(N, 24)

    def work(network: LocalNetwork) -> None:
        own = torch.from_numpy(given[network.rank])
        by, weighed = made(name), made(name)
        for _ in range(2):
            mean = by.average(own, network)
            with weighed.weighing(4):
                assert torch.equal(weighed.average(own, network), 4 * mean)
            np.testing.assert_array_equal(weighed.share(), by.share())
        with weighed.weighing(3):
            found = weighed.average_parts(own, network, np.arange(N))
        torch.testing.assert_close(found, 3 * mean[network.rank :][:1])
        assert torch.equal(weighed.average(own, network), mean)

    results_of(run_workers(N, work))


def test_a_mean_after_parts_is_everybodys_again() -> None:
    given = gradients(N, 40)

    def work(network: LocalNetwork) -> NDArray[np.float32]:
        by = made("heuristic")
        by.average_parts(given[network.rank], network, np.arange(N))
        return by.average(given[network.rank], network)

    for mean in results_of(run_workers(N, work)):
        np.testing.assert_allclose(mean, given.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", SCATTERING)
def test_what_is_not_finite_is_named_by_its_part(
    name: str, on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device parts are padded."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(base, "is_on_device", lambda tensor: on_device)
    given = gradients(N, 20)
    given[1, 2, 7] = np.nan

    def work(network: LocalNetwork) -> str:
        by, own = made(name), torch.from_numpy(given[network.rank])
        if not by.devices:
            own = given[network.rank]
        with pytest.raises(ValueError, match="not finite") as caught:
            by.average_parts(own, network, np.arange(N))
        by.average(np.ones(3, np.float32), network)
        return str(caught.value)

    told = results_of(run_workers(N, work))
    assert "parts[2][7] is not finite" in told[1]
    assert all("of another worker is not finite" in told[rank] for rank in (0, 2))
