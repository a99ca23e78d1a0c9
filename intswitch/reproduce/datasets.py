"""Samples and labels: LIBSVM files, and synthetic twins of the sets that papers use.

A twin has the shape of the set (how dense it is, how frequent its features are, how
hard to separate it is) at a size for a laptop, and nothing of its content.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
FIELD = re.compile(r"\d+:[^\s:]+")
LINE = re.compile(r"\s*[^\s:]+(?:\s+\d+:[^\s:]+)*\s*")


class Samples(NamedTuple):
    """Rows of a matrix, for kernels. A dense matrix has no indices."""

    values: Vector
    """[elements] one row after the other: all of it, or its non-zeros."""
    indices: NDArray[np.int32]
    """[elements] column of each, ascending in a row. Empty: the matrix is dense."""
    starts: Integers
    """[rows + 1] where each row begins in `values`."""
    num_features: int

    @property
    def num_samples(self) -> int:
        return self.starts.size - 1

    @property
    def is_dense(self) -> bool:
        return self.indices.size == 0

    @property
    def density(self) -> float:
        """Share of the matrix that is stored."""
        return self.values.size / max(1, self.num_samples * self.num_features)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples of two classes."""

    name: str
    samples: Samples
    labels: Vector
    """[samples] -1 or 1."""

    def told(self) -> str:
        """For the notes of a reproduction."""
        samples = self.samples
        density = "dense" if samples.is_dense else f"density {samples.density:.2%}"
        return (
            f"{self.name}: {samples.num_samples:,} samples of "
            f"{samples.num_features:,} features, {density}"
        )


def dense(matrix: NDArray[np.float64]) -> Samples:
    """[samples, features]"""
    rows, columns = matrix.shape
    return Samples(
        np.ascontiguousarray(matrix, np.float64).reshape(-1),
        np.zeros(0, np.int32),
        np.arange(rows + 1, dtype=np.int64) * columns,
        columns,
    )


def normalized(samples: Samples) -> Samples:
    """With rows of norm 1; rows of zeros stay."""
    norms = np.sqrt(row_sums(samples, samples.values**2))
    factors = 1.0 / np.where(norms > 0, norms, 1.0)
    values = samples.values * np.repeat(factors, np.diff(samples.starts))
    return samples._replace(values=values)


def row_sums(samples: Samples, elements: Vector) -> Vector:
    """[rows] sums of what stands in the places of `samples.values`."""
    sums = np.zeros(samples.num_samples)
    filled = np.flatnonzero(np.diff(samples.starts))  # reduceat takes no empty row
    if len(filled):
        sums[filled] = np.add.reduceat(elements, samples.starts[filled])
    return sums


def row_products(samples: Samples, x: Vector) -> Vector:
    """[rows] products of the matrix with x."""
    columns = (
        np.tile(x, samples.num_samples) if samples.is_dense else x[samples.indices]
    )
    return row_sums(samples, samples.values * columns)


def rows_of(samples: Samples, first: int, last: int) -> Samples:
    """Rows first to last - 1: one worker's share of a contiguous split."""
    begin, end = samples.starts[first], samples.starts[last]
    indices = samples.indices if samples.is_dense else samples.indices[begin:end]
    return Samples(
        samples.values[begin:end],
        indices,
        samples.starts[first : last + 1] - begin,
        samples.num_features,
    )


def read_libsvm(path: Path) -> Dataset:
    """A file of lines `label index:value index:value ...`, as LIBSVM's; `#` begins a
    comment. Plain, or compressed where it ends in .gz, .bz2 or .xz.

    The smaller of the two labels becomes -1. Rows are kept as they are. Raises OSError,
    and ValueError, which names the file, the line and what is wrong.
    """
    labels, values = array("d"), array("d")
    indices, ends, numbers = array("q"), array("q"), array("q")
    for number, text in lines_of(path):
        try:
            if not LINE.fullmatch(text):
                raise ValueError
            fields = text.replace(":", " ").split()
            labels.append(float(fields[0]))
            indices.extend(map(int, fields[1::2]))
            values.extend(map(float, fields[2::2]))
        except ValueError:
            raise ValueError(f"{path}:{number}: {what_is_wrong(text)}") from None
        ends.append(len(values))
        numbers.append(number)
    if not numbers:
        raise ValueError(f"{path}: has no samples")
    starts = np.concatenate([[0], np.frombuffer(ends, np.int64)])
    columns, elements = np.frombuffer(indices, np.int64), np.frombuffer(values)
    check(path, np.frombuffer(numbers, np.int64), starts, columns, elements)
    features = int(columns.max(initial=0))
    samples = Samples(elements, (columns - 1).astype(np.int32), starts, features)
    return Dataset(path.name, samples, signs(path, np.frombuffer(labels)))


def read_normalized(path: Path) -> Dataset:
    """A LIBSVM file with rows of norm 1, as the synthetic sets have them."""
    read = read_libsvm(path)
    return Dataset(read.name, normalized(read.samples), read.labels)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text, without comment, of every line that is not blank."""
    opener = OPENERS.get(path.suffix, open)
    file: IO[str]
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:  # type: ignore[operator]
        for number, line in enumerate(file, start=1):
            text = line.partition("#")[0]
            if text.strip():
                yield number, text


def what_is_wrong(text: str) -> str:
    """The first field of a line that cannot be read."""
    label, *fields = text.split()
    try:
        float(label)
    except ValueError:
        return f"label {label!r}: expected a number"
    for field in fields:
        try:
            float(field.partition(":")[2] if FIELD.fullmatch(field) else "no number")
        except ValueError:
            return f"{field!r}: expected index:value, as in 7:0.5"
    raise AssertionError(text)


def check(
    path: Path, numbers: Integers, starts: Integers, columns: Integers, values: Vector
) -> None:
    """Raise ValueError for the first element that cannot be. numbers: [rows] lines."""
    follows = np.diff(columns, prepend=0)
    begins = starts[:-1][starts[:-1] < len(columns)]
    follows[begins] = columns[begins]
    wrong = np.flatnonzero(
        (follows <= 0) | (columns > 2**31 - 1) | ~np.isfinite(values)
    )
    if len(wrong) == 0:
        return
    at = wrong[0]
    line = numbers[np.searchsorted(starts, at, side="right") - 1]
    text = f"{path}:{line}: '{columns[at]}:{values[at]:g}'"
    if not np.isfinite(values[at]):
        raise ValueError(f"{text}: values must be finite")
    raise ValueError(f"{text}: indices must ascend, from 1, and stay below 2^31")


def signs(path: Path, labels: Vector) -> Vector:
    """The smaller label becomes -1, the larger one 1."""
    kinds = np.unique(labels)
    if len(kinds) != 2:
        few = ", ".join(f"{kind:g}" for kind in kinds[:5])
        raise ValueError(
            f"{path}: its labels are of {len(kinds)} kinds ({few}): must be of two"
        )
    return np.where(labels == kinds[1], 1.0, -1.0)


def epsilon_twin(seed: int, samples: int = 8000, features: int = 2000) -> Dataset:
    """As `epsilon` of the PASCAL challenge (400,000 samples of 2,000 features): dense,
    features of one scale, rows of norm 1, nearly nine in ten separable."""
    chance = np.random.default_rng([seed, 1])
    matrix = chance.normal(size=(samples, features))
    separator = chance.normal(size=features)
    return labelled("epsilon twin", normalized(dense(matrix)), separator, 0.5, chance)


def power_law(seed: int, samples: int = 8000, features: int = 200) -> Dataset:
    """Dense, the feature j of scale 1/j, rows of norm 1: a problem with few strong
    directions and many weak ones, on which sparsification is tried in small."""
    chance = np.random.default_rng([seed, 2])
    scale = 1.0 / np.arange(1, features + 1)
    matrix = chance.normal(size=(samples, features)) * scale
    separator = chance.normal(size=features)
    return labelled("power law", normalized(dense(matrix)), separator, 0.5, chance)


def rcv1_twin(seed: int, samples: int = 20_000, features: int = 47_236) -> Dataset:
    """As RCV1 (677,399 test samples of 47,236 features): about 70 of the features in a
    sample, whatever their number; frequencies by Zipf's law; rows of norm 1; nearly
    separable. A feature's value falls with its frequency, as in tf-idf."""
    chance = np.random.default_rng([seed, 3])
    frequency = 1.0 / (np.arange(features) + 10.0)
    cumulated = np.cumsum(frequency / frequency.sum())
    lengths = chance.poisson(80, size=samples) + 1
    rows = np.repeat(np.arange(samples), lengths)
    drawn = np.searchsorted(cumulated, chance.random(len(rows)) * cumulated[-1])
    keys = np.unique(rows * features + drawn)  # a feature once in a row
    rows, columns = np.divmod(keys, features)
    counts = np.bincount(columns, minlength=features)
    rarity = np.log(samples / np.maximum(counts, 1)) + 0.1
    values = rarity[columns] * chance.lognormal(0.0, 0.3, size=len(columns))
    starts = np.searchsorted(rows, np.arange(samples + 1)).astype(np.int64)
    found = Samples(values, columns.astype(np.int32), starts, features)
    separator = chance.normal(size=features)
    return labelled("RCV1 twin", normalized(found), separator, 0.2, chance)


def labelled(
    name: str,
    samples: Samples,
    separator: Vector,
    noise: float,
    chance: np.random.Generator,
) -> Dataset:
    """With labels by the separator, after noise of so many times its margins."""
    margins = row_products(samples, separator)
    margins += noise * margins.std() * chance.normal(size=len(margins))
    return Dataset(name, samples, np.where(margins > 0, 1.0, -1.0))
