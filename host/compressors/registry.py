"""Compressors by name."""

import inspect
from typing import Any

from host.compressors.base import Compressor
from host.compressors.block_exponent import BlockExponent
from host.compressors.exact import Exact
from host.compressors.fixed import FixedScale
from host.compressors.heuristic import Heuristic
from host.compressors.intdiana import IntDIANA
from host.compressors.intsgd import IntSGD

COMPRESSORS: dict[str, type[Compressor]] = {
    "exact": Exact,
    "intsgd": IntSGD,
    "intdiana": IntDIANA,
    "fixed": FixedScale,
    "block_exponent": BlockExponent,
    "heuristic": Heuristic,
}


def names() -> tuple[str, ...]:
    """Of all compressors."""
    return tuple(COMPRESSORS)


def options(name: str) -> dict[str, Any]:
    """A compressor's options and their defaults. Raises ValueError for another name.

    A class that passes **options on to its base has the base's options too.
    """
    if name not in COMPRESSORS:
        raise ValueError(f"compressor {name!r}: must be one of {', '.join(names())}")
    found: dict[str, Any] = {}
    for base in COMPRESSORS[name].__mro__:
        parameters = inspect.signature(base).parameters.values()
        keywords = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
        found = {each.name: each.default for each in keywords} | found
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return found


def compressor(name: str, **chosen: Any) -> Compressor:
    """A new compressor. Raises ValueError for a name, an option or a value of one that
    does not exist, with those that do."""
    allowed = options(name)
    for option in chosen:
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            raise ValueError(f"{name} has no option {option!r}: it has {known}")
    return COMPRESSORS[name](**chosen)
