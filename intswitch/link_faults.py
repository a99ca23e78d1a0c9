"""What a link does to packets, as topologies and switches' files have it.

{loss: 0.01, burst_enter: 0.001, burst_leave: 0.1, burst_loss: 1, duplication: 0.001,
 reordering: 0.01, overtaken_by: 3, held_for: 10 ms, delay: 50 us,
 corruption: 0.0001, flipped_bits: 1}

Every field may be left out. See `switch.config.LinkFaults`, which has the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from intswitch.yaml_model import expect
from switch.config import LinkFaults
from switch.faults import MOST_FLIPPED

TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
DEFAULTS = LinkFaults()
MOST_OVERTAKING = 1_000_000
TIMED = ("held_for", "delay")


def quantity(value: object, units: dict[str, float]) -> float:
    """'10 Gbit/s' -> 1e10. A unit is asked for: nobody remembers the default."""
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([A-Za-z/]+)\s*", str(value))
    try:
        if match and match[2] in units and float(match[1]) >= 0:
            return float(match[1]) * units[match[2]]
    except ValueError:
        pass
    low = ", not below 0" if str(value).strip().startswith("-") else ""
    raise ValueError(f"expected a number and one of the units {', '.join(units)}{low}")


def is_probability(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def whole(low: int, high: int) -> BeforeValidator:
    text = f"an integer from {low} to {high}"
    return expect(text, lambda value: is_whole(value, low, high))


Delay = Annotated[float, BeforeValidator(lambda value: quantity(value, TIMES))]
Probability = Annotated[float, expect("a probability from 0 to 1", is_probability)]


class FaultsPart(BaseModel):
    """One direction of a link."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Probability = DEFAULTS.loss
    burst_enter: Probability = DEFAULTS.burst_enter
    burst_leave: Probability = DEFAULTS.burst_leave
    burst_loss: Probability = DEFAULTS.burst_loss
    duplication: Probability = DEFAULTS.duplication
    reordering: Probability = DEFAULTS.reordering
    overtaken_by: Annotated[int, whole(0, MOST_OVERTAKING)] = DEFAULTS.overtaken_by
    held_for: Delay = DEFAULTS.held_for
    delay: Delay = DEFAULTS.delay
    corruption: Probability = DEFAULTS.corruption
    flipped_bits: Annotated[int, whole(1, MOST_FLIPPED)] = DEFAULTS.flipped_bits

    def faults(self) -> LinkFaults:
        """For a switch, or the simulator."""
        return LinkFaults(**self.model_dump(include=set(FaultsPart.model_fields)))

    def changed(self, part: FaultsPart) -> FaultsPart:
        """The same where `part` says nothing."""
        said = {name: getattr(part, name) for name in part.model_fields_set}
        own = {name: getattr(self, name) for name in FaultsPart.model_fields}
        return FaultsPart.model_construct(**own | said)

    def without(self, names: Collection[str]) -> FaultsPart:
        """The same, that says nothing of these fields."""
        said = {
            name: getattr(self, name)
            for name in self.model_fields_set
            if name not in names
        }
        return FaultsPart.model_construct(set(said), **said)

    def as_text(self) -> dict[str, object]:
        """The fields that a file would have."""
        fields = self.model_dump(exclude_defaults=True)
        times = {name: f"{fields[name]!r} s" for name in TIMED if name in fields}
        return fields | times
