"""What a reproduction is asked for, and what it brings back. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Item = TypeVar("Item")
Outcomes = TypeVar("Outcomes", bound="Noted")
Cell = str | int | float


class Basis(StrEnum):
    """Where a statement was read; its value is the mark in the table."""

    PAPER = ""
    """In the paper's text or abstract."""
    CODE = "c"
    """In the authors' code, or computed from result files that they published."""
    RECONSTRUCTED = "r"
    """From memory or inference: the text could not be had."""
    DERIVED = "d"
    """Ours: it follows from the algorithm, and the paper need not say it."""


LEGEND = {
    Basis.CODE: "from the authors' code or published result files, not from the text",
    Basis.RECONSTRUCTED: "reconstructed: the paper's text could not be read",
    Basis.DERIVED: "our own statement: it follows from the algorithm",
}
"""What the marks mean, for below the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement, and what came of it."""

    source: str
    """Where the paper has it: `section 4.1`, `theorem 2`, `abstract`; short."""
    basis: Basis = Basis.PAPER
    says: str
    """The statement, with its number. One line or two."""
    measured: str
    """The number, with its confidence interval where it is an estimate."""
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a reproduction found."""

    claims: Sequence[Claim]
    rows: Sequence[Mapping[str, Cell]]
    """The numbers of the figure, for a CSV file: a row for every point that is drawn.
    Rows need not have the same columns."""
    draw: Callable[[Figure], None]
    """Draws the paper's figure, from the same numbers, on an empty figure."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What one must know to read the table: sizes, data, differences to the paper."""


class Noted(Protocol):
    """The outcomes of a paper's experiments, of which `Evidence` has the notes."""

    @property
    def notes(self) -> Sequence[str]: ...


def judged(
    found: Outcomes,
    parts: Sequence[Callable[[Outcomes], Iterator[Claim]]],
    rows: Callable[[Outcomes], Iterator[Mapping[str, Cell]]],
    draw: Callable[[Figure, Outcomes], None],
) -> Evidence:
    """All claims of all parts, and the figure, from what the experiments found."""
    return Evidence(
        claims=[claim for part in parts for claim in part(found)],
        rows=list(rows(found)),
        draw=lambda figure: draw(figure, found),
        notes=found.notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was told."""

    seed: int = 0
    quick: bool = False
    """Fewer draws and steps, so that it ends soon, with wider intervals."""
    data: Path | None = None
    """A LIBSVM file, in place of synthetic data. None: there is none."""


class Progress(Protocol):
    """Shows how far a reproduction is. `Quiet` does not; see `command.py` for one that
    does."""

    def over(self, items: Sequence[Item], text: str) -> Iterator[Item]:
        """The items, one after the other; `text` says what is done with them."""
        ...


class Quiet:
    """A progress that shows nothing."""

    def over(self, items: Sequence[Item], text: str) -> Iterator[Item]:
        yield from items
