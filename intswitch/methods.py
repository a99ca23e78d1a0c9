"""A compressor and its options as people write them: `intsgd:element_type=int8`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from intswitch.experiment import Option

if TYPE_CHECKING:
    from host.compressors.base import Compressor


NAMED = ("element_type",)
"""Options that a method's label tells even where they have their default."""


OF_THE_TRAINING = ("lr", "momentum")
"""Options that stand among a compressor's and are of the training with it: where the
estimate is no mean, or comes late, another learning rate is right."""


@dataclass(frozen=True, slots=True)
class Method:
    """What averages the gradients."""

    compressor: str
    options: dict[str, Option] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    """Its own choices of `OF_THE_TRAINING`."""

    @classmethod
    def parse(cls, text: str) -> Method:
        """`name` or `name:option=value,option=value`. Raises ValueError."""
        name, _, options = text.partition(":")
        return cls(name.strip()).extended(options.split(",") if options else [])

    def extended(self, texts: Iterable[str], **shorthands: Option | None) -> Method:
        """With options from `name=value` texts, and from shorthands that are given."""
        given = {name: value for name, value in shorthands.items() if value is not None}
        options = {**self.options, **given, **parse_options(texts)}
        training = dict(self.training)
        for name in OF_THE_TRAINING:
            if name in options:
                training[name] = positive(name, options.pop(name))
        return Method(self.compressor, options, training)

    def checked(self) -> Method:
        """Itself, with the element type said even if it is the default.

        Raises ValueError unless there is such a compressor with such options.
        """
        from host.compressors.registry import options

        self.create(seed=0)
        defaults = options(self.compressor)
        chosen = {name: defaults[name].default for name in NAMED if name in defaults}
        return Method(self.compressor, {**chosen, **self.options}, self.training)

    def create(self, seed: int) -> Compressor:
        """The compressor itself. `seed` counts if it takes one, and none is given."""
        from host.compressors.registry import compressor, options

        chosen = dict(self.options)
        if "seed" in options(self.compressor):
            chosen.setdefault("seed", seed)
        return compressor(self.compressor, **chosen)


def parse_options(texts: Iterable[str]) -> dict[str, Option]:
    """['beta=0.9', 'rounding=random'] -> {'beta': 0.9, 'rounding': 'random'}."""
    options: dict[str, Option] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ValueError(f"option {text!r}: expected name=value, as in beta=0.9")
        options[name.replace("-", "_")] = parse_value(value)
    return options


def positive(name: str, value: Option) -> float:
    """The value, if it is a number of at least 0. Raises ValueError."""
    if isinstance(value, bool | str) or not 0 <= value < math.inf:
        raise ValueError(f"option {name}={value}: expected a number of at least 0")
    return float(value)


def parse_value(text: str) -> Option:
    """An integer, a number, true or false, else a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


SCALINGS = (
    "exact",
    "intsgd:element_type=int8,rounding=random",
    "intsgd:element_type=int32,rounding=random",
    "intsgd:element_type=int8,rounding=deterministic",
    "fixed:element_type=int32",
    "block_exponent:element_type=int32",
    "heuristic:element_type=int8",
    "heuristic:element_type=int32",
)
HETEROGENEOUS = (
    "exact",
    "intsgd:element_type=int8",
    "intsgd:element_type=int32",
    "intdiana:element_type=int8",
    "intdiana:element_type=int32",
)


PAPERS = (
    "exact",
    "intsgd:element_type=int8,rounding=random",
    "intsgd:element_type=int8,rounding=deterministic",
    "intsgd:element_type=int32,rounding=random",
    "intdiana:element_type=int8,rounding=random",
    "fixed:element_type=int32",
    "block_exponent:element_type=int8",
    "heuristic:element_type=int8",
    "nuqsgd",
    "nuqsgd:path=gather",
    "qsgd",
    "qsgd:path=gather",
    "qsgdinf",
    "qsgdinf:path=gather",
    "fastsgd",
    "fastsgd:path=gather",
    "natural",
    "natural:path=gather",
    "memsgd:select=top",
    "memsgd:select=top,path=gather",
    "memsgd:select=rand,lr=0.1,momentum=0",
    "memsgd:select=rand,lr=0.1,momentum=0,path=gather",
    "signsgd:lr=0.0005,momentum=0",
    "signsgd:lr=0.0005,momentum=0,path=gather",
)
SETS = {"scalings": SCALINGS, "heterogeneous": HETEROGENEOUS, "papers": PAPERS}
"""What `intswitch compare --set` knows by name."""


def chosen_texts(
    workload: str, named: str | None, given: Sequence[str]
) -> tuple[str, ...]:
    """What `intswitch compare` compares: a set, or the methods given, or both."""
    if named is None and given:
        return tuple(given)
    default = "heterogeneous" if workload == "logistic" else "scalings"
    return (*SETS[named or default], *given)
