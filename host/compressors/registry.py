"""Compressors by name."""

import inspect
import sys
from typing import Any

from host.compressors.base import Compressor
from host.compressors.block_exponent import BlockExponent
from host.compressors.exact import Exact
from host.compressors.fastsgd import FastSGD
from host.compressors.feedback import Feedback
from host.compressors.fixed import FixedScale
from host.compressors.heuristic import Heuristic
from host.compressors.intdiana import IntDIANA
from host.compressors.intsgd import IntSGD
from host.compressors.memsgd import MemSGD
from host.compressors.natural import Natural
from host.compressors.nuqsgd import NUQSGD
from host.compressors.qsgd import QSGD
from host.compressors.qsgdinf import QSGDinf
from host.compressors.signsgd import SignSGD

COMPRESSORS: dict[str, type[Compressor]] = {
    "exact": Exact,
    "intsgd": IntSGD,
    "intdiana": IntDIANA,
    "fixed": FixedScale,
    "block_exponent": BlockExponent,
    "heuristic": Heuristic,
    "fastsgd": FastSGD,
    "natural": Natural,
    "nuqsgd": NUQSGD,
    "qsgd": QSGD,
    "qsgdinf": QSGDinf,
    "memsgd": MemSGD,
    "signsgd": SignSGD,
}

FEEDBACK = inspect.Parameter(
    "feedback", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool
)
"""Option of every compressor that tells its share: error feedback around it."""


def names() -> tuple[str, ...]:
    """Of all compressors."""
    return tuple(COMPRESSORS)


def options(name: str) -> dict[str, inspect.Parameter]:
    """A compressor's options, each with default and type.

    Raises ValueError for a name that does not exist.

    A class that passes **options on to its base has the base's options too.
    """
    if name not in COMPRESSORS:
        raise ValueError(f"compressor {name!r}: must be one of {', '.join(names())}")
    found: dict[str, inspect.Parameter] = {}
    for base in COMPRESSORS[name].__mro__:
        parameters = inspect.signature(base).parameters.values()
        keywords = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
        found = {each.name: each for each in keywords} | found
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    if COMPRESSORS[name].tells_share():
        found[FEEDBACK.name] = FEEDBACK
    return found


def is_a(value: object, expected: Any) -> bool:
    """Whether a value is of an option's type: an integer is a number too, unless it is
    too large for one; a truth value is neither."""
    if isinstance(value, bool):
        return expected is bool
    number = isinstance(value, int) and abs(value) <= sys.float_info.max
    return isinstance(value, expected) or (number and isinstance(0.0, expected))


def compressor(name: str, **chosen: Any) -> Compressor:
    """A new compressor. Raises ValueError for a name, an option or a value of one that
    does not exist, with those that do."""
    allowed = options(name)
    for option, value in chosen.items():
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            raise ValueError(f"{name} has no option {option!r}: it has {known}")
        expected = allowed[option].annotation
        if not is_a(value, expected):
            kind = getattr(expected, "__name__", None) or str(expected)
            raise ValueError(f"{name}: {option} is {value!r}: must be {kind}")
    feedback = chosen.pop(FEEDBACK.name, FEEDBACK.default)
    made = COMPRESSORS[name](**chosen)
    return Feedback(made) if feedback else made
