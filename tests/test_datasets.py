"""Data for the reproductions: LIBSVM files as they come, and synthetic twins."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from intswitch.reproduce import datasets
from intswitch.reproduce.datasets import Dataset, read_libsvm

TEXT = b"""# two samples, and an empty one
+1 1:0.5 3:-2e1  # a comment
-1 2:4

1
"""


def matrix_of(dataset: Dataset) -> np.ndarray:
    samples = dataset.samples
    if samples.is_dense:
        return samples.values.reshape(samples.num_samples, samples.num_features)
    matrix = np.zeros((samples.num_samples, samples.num_features))
    rows = np.repeat(np.arange(samples.num_samples), np.diff(samples.starts))
    matrix[rows, samples.indices] = samples.values
    return matrix


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
    ],
)
def test_a_file_is_read(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(compress(TEXT))
    dataset = read_libsvm(path)
    assert matrix_of(dataset).tolist() == [[0.5, 0, -20], [0, 4, 0], [0, 0, 0]]
    assert dataset.labels.tolist() == [1, -1, 1]
    assert dataset.told() == f"data{suffix}: 3 samples of 3 features, density 33.33%"


WRONG = {
    "one 1:2": "3: label 'one': expected a number",
    "1:2 3:4": "3: label '1:2': expected a number",
    "1 2": "3: '2': expected index:value, as in 7:0.5",
    "1 2:": "3: '2:': expected index:value",
    "1 2:3:4": "3: '2:3:4': expected index:value",
    "1 qid:4 2:3": "3: 'qid:4': expected index:value",
    "1 2:1 3:much": "3: '3:much': expected index:value",
    "1 -2:1": "3: '-2:1': expected index:value",
    "1 0:1": "3: '0:1': indices must ascend, from 1",
    "1 2:1 2:3": "3: '2:3': indices must ascend, from 1",
    "1 7:1 2:3": "3: '2:3': indices must ascend, from 1",
    "1 3000000000:1": "3: '3000000000:1': indices must ascend, from 1, and stay below",
    "1 1:1 2:nan": "3: '2:nan': values must be finite",
    "1 1:1 2:-inf": "3: '2:-inf': values must be finite",
    "2 1:1": " its labels are of 3 kinds (-1, 1, 2): must be of two",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "data"
    path.write_text(f"# begins at 2\n+1 1:1\n{line}\n-1 9:1\n")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_libsvm(path)
    assert str(caught.value).startswith(f"{path}:{WRONG[line]}")


@pytest.mark.parametrize(
    ("text", "error"),
    [("\n# nothing\n", "has no samples"), ("1 1:1\n1 2:1\n", "of 1 kinds (1)")],
)
def test_a_file_that_teaches_nothing_is_refused(
    tmp_path: Path, text: str, error: str
) -> None:
    path = tmp_path / "data"
    path.write_text(text)
    with pytest.raises(ValueError, match="data: ") as caught:
        read_libsvm(path)
    assert error in str(caught.value)


def test_labels_zero_and_one_are_classes_too(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("0 1:1\n1 2:1\n0 1:2\n")
    assert read_libsvm(path).labels.tolist() == [-1, 1, -1]


TWINS: dict[str, Callable[[int], Dataset]] = {
    "epsilon": lambda seed: datasets.epsilon_twin(seed, samples=500, features=300),
    "power law": lambda seed: datasets.power_law(seed, samples=500, features=50),
    "rcv1": lambda seed: datasets.rcv1_twin(seed, samples=300, features=3000),
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_rows_of_norm_one_and_both_classes(name: str) -> None:
    dataset = TWINS[name](3)
    norms = np.linalg.norm(matrix_of(dataset), axis=1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-12)
    assert set(dataset.labels) == {-1.0, 1.0}
    assert 0.3 < (dataset.labels > 0).mean() < 0.7


@pytest.mark.parametrize("name", TWINS)
def test_twins_come_from_their_seed(name: str) -> None:
    first, again, other = (TWINS[name](seed).samples.values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_rcv1_has_its_density_and_zipfs_law() -> None:
    samples = datasets.rcv1_twin(0, samples=2000).samples
    assert samples.num_features == 47_236
    assert samples.density == pytest.approx(0.0015, rel=0.1)
    counts = np.sort(np.bincount(samples.indices, minlength=samples.num_features))[::-1]
    assert counts[0] > 10 * counts[200] > 50 * counts[10_000]
    rows = np.repeat(np.arange(samples.num_samples), np.diff(samples.starts))
    keys = rows * samples.num_features + samples.indices
    assert (np.diff(keys) > 0).all(), "a feature twice in a sample"


@pytest.mark.parametrize("name", ["power law", "rcv1"])
def test_a_share_is_some_of_the_rows(name: str) -> None:
    dataset = TWINS[name](0)
    part = datasets.rows_of(dataset.samples, 100, 130)
    share = Dataset("part", part, dataset.labels[100:130])
    np.testing.assert_array_equal(matrix_of(share), matrix_of(dataset)[100:130])
