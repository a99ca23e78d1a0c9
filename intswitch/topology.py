"""What is connected to what: switches, hosts, links, jobs. Knows no fabric.

A topology is a YAML file. Where it runs is decided elsewhere (`fabrics/`); a fabric
that cannot honour a field of it refuses to start, and says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from intswitch.configuration import WIDTH
from intswitch.link_faults import (
    MOST_OVERTAKING,
    Delay,
    FaultsPart,
    quantity,
    whole,
)
from intswitch.yaml_model import (
    FileError,
    Mistake,
    Numbered,
    expect,
    mapping,
    mappings,
    read_model,
)
from switch.tree import MAX_JOB_WORKERS

_HERE = Path(__file__).resolve().parent
FOLDERS = (_HERE / "topologies", _HERE.parent / "topologies")
"""Where the topologies that come with intswitch lie: installed, or in the sources."""

SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2}
RATES = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}


Rate = Annotated[float, BeforeValidator(lambda value: quantity(value, RATES))]
Size = Annotated[float, BeforeValidator(lambda value: quantity(value, SIZES))]

# before the parts: a wrong one is there, too
SOME = expect("at least one", lambda value: value not in ([], {}))
HOSTS = expect(
    f"a list of 1 to {MAX_JOB_WORKERS} hosts",
    lambda value: isinstance(value, list) and 1 <= len(value) <= MAX_JOB_WORKERS,
)


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
    slot_bytes: Annotated[int, WIDTH] = 1408
    """The widest slot that a job can ask for."""


class LinkPart(FaultsPart):
    """A cable. What it does to packets, it does in either direction, but for what
    `toward` says."""

    between: tuple[str, str]
    rate: Rate | None = None
    """bit/s. None: as fast as the fabric can."""
    queue: Size | None = None
    """Bytes that may wait for the link at a switch; more are dropped. None: any."""
    toward: dict[str, FaultsPart] = Field(default_factory=dict)
    """What is different on the way to one of the ends."""

    def to(self, end: str) -> FaultsPart:
        """What happens to packets on the way to an end."""
        return self.changed(self.toward.get(end, FaultsPart()))

    def both_ways(self, **fields: float) -> Self:
        """The same with these fields on the way to either end."""
        toward = {end: part.without(fields) for end, part in self.toward.items()}
        return self.model_copy(update={**fields, "toward": toward})


class JobPart(Part):
    name: str = Field(min_length=1)
    workers: Annotated[tuple[str, ...], HOSTS, AfterValidator(distinct)]
    """The host of rank 0, of rank 1, ..."""
    num_slots: Annotated[int, AfterValidator(power_of_two)] = 512
    slot_bytes: Annotated[int, WIDTH] = 1024
    overflow: Literal["wrap", "saturate", "detect"] = "detect"
    straggler_timeout: Delay = 0.0
    """Seconds after which results go out without workers that are late; 0: never."""
    packet_threshold: Annotated[int, whole(0, MOST_OVERTAKING)] = 0
    """Packets sent later, of which one has been answered, that make one lost; 0: such
    answers count by their time alone."""
    start: Delay = 0.0
    """Seconds after the others' begin at which its training begins."""


class Topology(Part):
    switches: Annotated[dict[str, SwitchPart], SOME]
    hosts: Annotated[tuple[str, ...], SOME]
    links: tuple[LinkPart, ...]
    jobs: Annotated[tuple[JobPart, ...], SOME]
    seed: int = 0
    """Of the links' faults."""

    def with_loss(self, loss: float) -> Self:
        """The same with `loss` on every link. Raises ValueError out of range."""
        if not 0.0 <= loss < 1.0:
            raise ValueError(f"loss: expected a probability below 1, not {loss}")
        return self._on_all_links(loss=loss)

    def without_delay(self) -> Self:
        """The same, for switches of a network that has the delay itself."""
        return self._on_all_links(delay=0.0)

    def _on_all_links(self, **fields: float) -> Self:
        links = tuple(link.both_ways(**fields) for link in self.links)
        return self.model_copy(update={"links": links})

    def tree(self) -> dict[str, str | None]:
        """Every switch with the one above it, those above first.

        The first that the file names is the root. Raises ValueError, with what is
        wrong, if links between switches form no tree, or a host has not one switch.
        """
        root = next(iter(self.switches))
        parents: dict[str, str | None] = {root: None}
        waiting = [root]
        while waiting:
            above = waiting.pop(0)
            for below in self._neighbours(above):
                if below in parents and parents[above] != below:
                    raise ValueError(f"links: a ring of switches goes through {below}")
                if below not in parents:
                    parents[below] = above
                    waiting.append(below)
        for switch in self.switches:
            if switch not in parents:
                raise ValueError(f"links: none leads from {switch} to {root}, the root")
        for host in self.hosts:
            self.switch_of(host)
        return parents

    def switch_of(self, host: str) -> str:
        """The one that a host is at. Raises ValueError if it is not one."""
        found = self._neighbours(host)
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            raise ValueError(
                f"hosts.{host}: expected a link to one switch, not {listed}"
            )
        return found[0]

    def _neighbours(self, name: str) -> list[str]:
        """The switches at the other ends of its links."""
        links = [link.between for link in self.links if name in link.between]
        ends = [one if other == name else other for one, other in links]
        return [end for end in ends if end in self.switches]

    def faults_at(self, switch: str, addresses: Mapping[str, str]) -> dict[str, Any]:
        """What a switch is to do at its ends of its links: `faults` of its file.

        `addresses`: IP of every host and switch that a link leads to. Between two
        switches, each does to packets what the link does on the way to it.
        """
        perfect = FaultsPart()
        links = {
            addresses[other]: {
                "inward": link.to(switch).as_text(),
                "outward": (
                    perfect if other in self.switches else link.to(other)
                ).as_text(),
            }
            for link in self.links
            if switch in link.between
            for other in link.between
            if other != switch
        }
        return {"links": links, "seed": self.seed}


def contradictions(document: dict[str, Any]) -> Iterator[Mistake]:
    """See `read_model`."""
    switches, hosts = _names(document.get("switches")), _names(document.get("hosts"))
    jobs, links = mappings(document, "jobs"), mappings(document, "links")
    yield from _repeated_names(switches, hosts, jobs)
    yield from _loose_ends([*switches.values(), *hosts.values()], links)
    yield from _too_wide(switches.values(), document, jobs)
    yield from _too_many_slots(switches, document, jobs)
    if hosts:
        yield from _unconnected(list(hosts.values()), links, jobs)


def _names(part: object) -> dict[int, str]:
    """Those in a list, by their place; or those of a mapping's fields."""
    listed = enumerate(part if isinstance(part, list | dict) else ())
    return {number: name for number, name in listed if isinstance(name, str)}


def _repeated_names(
    switches: dict[int, str], hosts: dict[int, str], jobs: Numbered
) -> Iterator[Mistake]:
    seen = set(switches.values())
    for number, host in hosts.items():
        if host in seen:
            yield ("hosts", number), host, "this name has been given before"
        seen.add(host)
    names = _names([job.get("name") for _, job in jobs])
    for number, name in names.items():
        if name in list(names.values())[:number]:
            yield ("jobs", number, "name"), name, "this name has been given before"


def _loose_ends(known: list[str], links: Numbered) -> Iterator[Mistake]:
    for number, link in links:
        for side, end in _names(link.get("between")).items():
            if known and end not in known:
                text = f"expected one of {', '.join(known)}"
                yield ("links", number, "between", side), end, text
        ends = list(_names(link.get("between")).values())
        for end in mapping(link, "toward"):
            if end not in ends:
                text = f"expected one of {', '.join(ends)}"
                yield ("links", number, "toward", end), {}, text


def _too_wide(
    switches: Iterable[str], document: dict[str, Any], jobs: Numbered
) -> Iterator[Mistake]:
    """Jobs that ask for wider slots than a switch has."""
    parts = mapping(document, "switches")
    for number, job in jobs:
        wanted = job.get("slot_bytes")
        for name in switches:
            widest = SwitchPart.model_fields["slot_bytes"].default
            widest = mapping(parts, name).get("slot_bytes", widest)
            if isinstance(wanted, int) and isinstance(widest, int) and wanted > widest:
                text = f"switches.{name}.slot_bytes allows {widest}"
                yield ("jobs", number, "slot_bytes"), wanted, text


def _too_many_slots(
    switches: dict[int, str], document: dict[str, Any], jobs: Numbered
) -> Iterator[Mistake]:
    """Jobs that together ask for more slots than the root has: all are there."""
    root = next(iter(switches.values()), "")
    allowed = SwitchPart.model_fields["num_slots"].default
    allowed = mapping(mapping(document, "switches"), root).get("num_slots", allowed)
    total = 0
    for number, job in jobs:
        wanted = job.get("num_slots", JobPart.model_fields["num_slots"].default)
        total += wanted if isinstance(wanted, int) else 0
        if isinstance(allowed, int) and total > allowed:
            text = f"switches.{root}.num_slots allows {allowed}, and jobs have {total}"
            yield ("jobs", number, "num_slots"), wanted, text
            return


def _unconnected(
    hosts: list[str], links: Numbered, jobs: Numbered
) -> Iterator[Mistake]:
    linked = {end for _, link in links for end in _names(link.get("between")).values()}
    for number, job in jobs:
        for rank, host in _names(job.get("workers")).items():
            place = ("jobs", number, "workers", rank)
            if host not in hosts:
                yield place, host, f"expected one of {', '.join(hosts)}"
            elif host not in linked:
                yield place, host, "no link leads to this host"


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
    return read_model(path, Topology, contradictions)
