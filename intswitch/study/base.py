"""What a study is: cases, what each comes to, a figure of it all. Plain data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from intswitch.sim.cables import Cable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
"""A line of the CSV: of a case, then what was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user chooses."""

    quick: bool = False
    """Fewer cases, smaller vectors."""
    seed: int = 0
    rate: float = 100e9
    """bit/s of every link."""
    delay: float = 1e-6
    """Seconds of every link, one way."""

    @property
    def cable(self) -> Cable:
        return Cable(rate=self.rate, delay=self.delay)


class Study(ABC):
    """One question."""

    @abstractmethod
    def cases(self, options: Options) -> list[Row]:
        """What to vary; a case's numbers are columns of the CSV."""

    @abstractmethod
    def measure(self, case: Row, options: Options) -> Row:
        """Run one case; what it came to."""

    @abstractmethod
    def draw(self, rows: Sequence[Row], figure: Figure) -> None: ...

    @abstractmethod
    def findings(self, rows: Sequence[Row]) -> list[str]:
        """What the numbers say, a line each."""


def matching(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    return [
        row for row in rows if all(row[name] == each for name, each in wanted.items())
    ]


def values(rows: Sequence[Row], name: str) -> list[Any]:
    """All values of a column, in the order in which they come, each once."""
    return list(dict.fromkeys(row[name] for row in rows))


def line(
    rows: Sequence[Row], x: str, y: str, **wanted: Any
) -> tuple[list[float], list[float]]:
    """Where a line of a figure goes: the mean of y over the rows of each x."""
    points = list(_points(matching(rows, **wanted), x, y))
    return [point[0] for point in points], [point[1] for point in points]


def _points(rows: Sequence[Row], x: str, y: str) -> Iterator[tuple[float, float]]:
    for value in sorted(values(rows, x)):
        yield value, fmean(row[y] for row in matching(rows, **{x: value}))


def mean(rows: Sequence[Row], name: str, **wanted: Any) -> float:
    """Of a column. Raises StatisticsError where no row matches."""
    return fmean(row[name] for row in matching(rows, **wanted))
