"""What the tests of all reproductions make: outcomes of which there are only some, and
trainings that never were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from intswitch.reproduce.claims import Claim

if TYPE_CHECKING:
    from intswitch.reproduce.training import Curve

Outcomes = TypeVar("Outcomes")


def some(outcomes: type[Outcomes], **given: Any) -> Outcomes:
    """A paper's `Found`, with nothing where nothing is given."""
    nothing = dict.fromkeys(field.name for field in fields(outcomes))  # type: ignore[arg-type]
    return outcomes(**nothing | given)


def verdicts(claims: Iterable[Claim]) -> list[bool]:
    return [claim.holds for claim in claims]


def curves(
    losses: Sequence[float],
    *,
    accuracy: float = 0.5,
    down: float = 1.0,
    diverged: int | None = None,
) -> list[Curve]:
    """A training for every final loss."""
    from intswitch.experiment import Evaluated
    from intswitch.reproduce.training import Curve  # needs torch

    return [
        Curve(
            losses=[2.0, loss],
            evaluations=[Evaluated(step=2, loss=1.0, accuracy=accuracy)],
            largest_integers=[1, 1],
            bytes_down=down,
            clips=0,
            diverged=diverged,
        )
        for loss in losses
    ]
