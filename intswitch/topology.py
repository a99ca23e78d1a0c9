"""What is connected to what: switches, hosts, links, jobs. Knows no fabric.

A topology is a YAML file. Where it runs is decided elsewhere (`fabrics/`); a fabric
that cannot honour a field of it refuses to start, and says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from intswitch.yaml_model import FileError, read_model

_HERE = Path(__file__).resolve().parent
FOLDERS = (_HERE / "topologies", _HERE.parent / "topologies")
"""Where the topologies that come with intswitch lie: installed, or in the sources."""

RATES = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}
TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def quantity(value: object, units: dict[str, float]) -> float:
    """'10 Gbit/s' -> 1e10. A unit is asked for: nobody remembers the default."""
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([A-Za-z/]+)\s*", str(value))
    try:
        if match and match[2] in units and float(match[1]) >= 0:
            return float(match[1]) * units[match[2]]
    except ValueError:
        pass
    raise ValueError(f"expected a number and one of the units {', '.join(units)}")


Rate = Annotated[float, BeforeValidator(lambda value: quantity(value, RATES))]
Delay = Annotated[float, BeforeValidator(lambda value: quantity(value, TIMES))]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


def power_of_two(value: int) -> int:
    if value < 1 or value & (value - 1):
        raise ValueError("expected a power of two")
    return value


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return names


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SwitchPart(Part):
    rule: Literal["safe", "switchml"] = "safe"
    num_slots: int = Field(16384, ge=1)
    """Slots of all jobs together."""
    slot_bytes: int = Field(1408, ge=4)
    """The widest slot that a job can ask for."""


class LinkPart(Part):
    """A cable. What it does to packets, it does in either direction."""

    between: tuple[str, str]
    rate: Rate | None = None
    """bit/s. None: as fast as the fabric can."""
    delay: Delay | None = None
    """Seconds, one way."""
    loss: Probability = 0.0
    duplication: Probability = 0.0
    reordering: Probability = 0.0


class JobPart(Part):
    name: str = Field(min_length=1)
    workers: Annotated[tuple[str, ...], AfterValidator(distinct)] = Field(
        min_length=1, max_length=64
    )
    """The host of rank 0, of rank 1, ..."""
    num_slots: Annotated[int, AfterValidator(power_of_two)] = 512
    slot_bytes: int = Field(1024, ge=4)
    overflow: Literal["wrap", "saturate", "detect"] = "detect"


class Topology(Part):
    switches: dict[str, SwitchPart] = Field(min_length=1)
    hosts: tuple[str, ...] = Field(min_length=1)
    links: tuple[LinkPart, ...]
    jobs: tuple[JobPart, ...]
    seed: int = 0
    """Of the links' faults."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        mistakes = [*self._names(), *self._loose_ends(), *self._unconnected()]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _names(self) -> Iterator[str]:
        """Every mistake begins with the path of its field, see `yaml_model`."""
        if not self.jobs:
            yield "jobs: expected at least one"
        for number, host in enumerate(self.hosts):
            if host in self.switches or host in self.hosts[:number]:
                yield f"hosts.{number}: {host} has been named before"
        names = [job.name for job in self.jobs]
        for number, name in enumerate(names):
            if name in names[:number]:
                yield f"jobs.{number}.name: {name} has been named before"

    def _loose_ends(self) -> Iterator[str]:
        known = [*self.switches, *self.hosts]
        for number, link in enumerate(self.links):
            for end in link.between:
                if end not in known:
                    yield f"links.{number}.between: {end} is none of {', '.join(known)}"

    def _unconnected(self) -> Iterator[str]:
        linked = {end for link in self.links for end in link.between}
        for number, job in enumerate(self.jobs):
            for rank, host in enumerate(job.workers):
                path = f"jobs.{number}.workers.{rank}"
                if host not in self.hosts:
                    yield f"{path}: {host} is none of {', '.join(self.hosts)}"
                elif host not in linked:
                    yield f"{path}: {host} has no link"

    def with_loss(self, loss: float) -> Self:
        """The same with `loss` on every link. Raises ValueError out of range."""
        if not 0.0 <= loss < 1.0:
            raise ValueError(f"loss: expected a probability below 1, not {loss}")
        links = tuple(link.model_copy(update={"loss": loss}) for link in self.links)
        return self.model_copy(update={"links": links})


def available() -> dict[str, Path]:
    """Name and file of the topologies that come with intswitch."""
    files = [path for folder in FOLDERS for path in sorted(folder.glob("*.yaml"))]
    return {path.stem: path for path in files}


def load(name: str) -> Topology:
    """A topology by the name of one that comes along, or by its file.

    Raises FileError, one line a mistake: file, line, field, what is allowed.
    """
    path = available().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(available())
        raise FileError(f"topology: {name!r} is no file, and none of {known}")
    return read_model(path, Topology)
