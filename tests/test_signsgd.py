"""host/compressors/signsgd.py: the majority decides, whoever counts."""

import numpy as np
import pytest
from local_network import LocalNetwork, results_of, run_workers
from numpy.typing import NDArray

from host.compressors import compressor
from host.compressors.signsgd import SignSGD
from switch.protocol import HEADER_BYTES

Gradients = NDArray[np.float32]

each_path = pytest.mark.parametrize("path", ["network", "gather"])


def votes(n: int, d: int = 100) -> Gradients:
    """[n, d], a third of them zeros."""
    rng = np.random.default_rng(n)
    return (rng.integers(-1, 2, (n, d)) * rng.random((n, d))).astype(np.float32)


def estimates(gradients: Gradients, path: str) -> list[tuple[Gradients, SignSGD]]:
    def work(network: LocalNetwork) -> tuple[Gradients, SignSGD]:
        made = SignSGD(path=path)
        return made.average(gradients[network.rank], network), made

    return results_of(run_workers(len(gradients), work))


@each_path
@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_the_majority_decides(path: str, n: int) -> None:
    gradients = votes(n)
    gradients[:, :2] = [1e-45, -3e38]  # all agree, however small or large
    expected = np.sign(np.sign(gradients).sum(axis=0))
    assert set(expected) == {-1, 0, 1}
    for estimate, made in estimates(gradients, path):
        np.testing.assert_array_equal(estimate, expected)
        assert estimate.dtype == np.float32
        assert made.statistics.overflows == made.statistics.clips == 0


def test_a_vote_takes_eight_bits_in_the_network_and_two_in_a_message() -> None:
    gradients = np.ones((3, 256), np.float32)
    for path, chunks, payloads in (("network", 4, 4), ("gather", 4, 2)):
        for _, made in estimates(gradients, path):
            sent = made.statistics.bytes_up
            assert sent == chunks * HEADER_BYTES + payloads * 64


@each_path
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_workers_raise_when_one_gradient_is_not_finite(
    path: str, bad: float
) -> None:
    gradients = votes(3)

    def work(network: LocalNetwork) -> bool:
        made, broken = SignSGD(path=path), gradients[network.rank].copy()
        broken[7] = bad if network.rank == 1 else 1
        text = r"gradient\[7\]" if network.rank == 1 else "another worker"
        with pytest.raises(ValueError, match=f"step 0: .*{text}"):
            made.average(broken, network)
        return made.average(gradients[network.rank], network).tobytes() == expected

    expected = estimates(gradients, path)[0][0].tobytes()
    assert results_of(run_workers(3, work)) == [True] * 3


@each_path
@pytest.mark.parametrize("d", [0, 1, 7, 65])
def test_any_number_of_elements(path: str, d: int) -> None:
    gradients = np.full((3, d), -2, np.float32)
    for estimate, _ in estimates(gradients, path):
        assert estimate.tolist() == [-1] * d
    for estimate, _ in estimates(0 * gradients, path):
        assert not estimate.any()


def test_there_is_no_feedback_around_votes() -> None:
    with pytest.raises(ValueError, match="signsgd has no option 'feedback'"):
        compressor("signsgd", feedback=True)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_message_of_another_length_is_an_error_on_every_worker(change: int) -> None:
    class Garbling(LocalNetwork):
        def gather(self, message: bytes) -> list[bytes]:
            return super().gather((message + b"?")[: len(message) + change])

    gradients = votes(3)

    def work(network: LocalNetwork) -> None:
        if network.rank == 1:
            network = Garbling(network.fabric, 1)
        with pytest.raises(ValueError, match="message of worker 1 has"):
            SignSGD(path="gather").average(gradients[network.rank], network)

    results_of(run_workers(3, work))
